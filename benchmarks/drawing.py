"""Tables, figures and small plots of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "–"
HEIGHTS = " ▁▂▃▄▅▆▇█"
"""Blocks of nothing to eight eighths of a line's height."""
WIDTHS = "▏▎▍▌▋▊▉█"
"""Blocks of one to eight eighths of a column's width."""
BINS = 24
FIGURES: Mapping[str, tuple[str, int]] = {
    "p50_ms": ("p50 ms", 1),
    "p90_ms": ("p90 ms", 1),
    "p99_ms": ("p99 ms", 1),
    "std_ms": ("std ms", 1),
    "images_per_s": ("images/s", 3),
    "megapixels_per_s": ("MP/s", 3),
    "ratio": ("ratio", 2),
    "cold_start_s": ("cold start s", 2),
    "ms_per_megapixel": ("ms/MP", 1),
    "intensity": ("MAC/byte", 0),
    "product_gmacs": ("GMAC/s", 0),
    "copy_gbytes": ("GB/s", 1),
    "floor_ms": ("floor ms", 1),
    "peak_rss_mib": ("peak MiB", 0),
    "peak_gpu_mib": ("GPU MiB", 0),
    "psnr": ("PSNR dB", 2),
    "ssim": ("SSIM", 4),
    "flip": ("FLIP", 3),
    "niqe": ("NIQE", 2),
    "brisque": ("BRISQUE", 1),
    "gt_mean_psnr": ("GT-mean PSNR dB", 2),
    "gt_mean_ssim": ("GT-mean SSIM", 4),
    "brightness_psnr": ("brightness dB", 2),
}
"""Field of a report -> heading and digits, in the terminal and on a page."""


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits behind the point; `MISSING` where there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent.

    >>> share(0.4768), share(None)
    ('48 %', '–')
    """
    return MISSING if value is None else f"{100 * value:.0f} %"


def interval(bounds: Sequence[float] | None, digits: int, sign: str = "") -> str:
    """Both ends of an interval; `sign` "+" where both have one.

    >>> interval((-0.25, 1), 1, "+"), interval(None, 1)
    ('-0.2 to +1.0', '–')
    """
    return MISSING if not bounds else " to ".join(f"{bound:{sign}.{digits}f}" for bound in bounds)


def probability(value: float | None) -> str:
    """A p value; the JSON has those below 0.001."""
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def empty_table(title: str, columns: Sequence[str], text: int = 1) -> Table:
    """A table whose first `text` columns hold words (folded, never cut), and whose others hold figures."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        words = position < text
        table.add_column(column, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    return table


def histogram(values: Sequence[float], bins: int = BINS) -> str:
    """How often values lie in each of `bins` equal parts of their range, as one block a part; the fullest part is a
    whole block, and a part with a value is never blank.

    >>> histogram([0, 0, 0, 0, 1, 9, 10, 10], bins=5)
    '█   ▅'
    """
    counts, _ = np.histogram(values, bins)
    top = len(HEIGHTS) - 1
    return "".join(HEIGHTS[-(-int(count) * top // int(counts.max()))] for count in counts)


def bar(value: float, most: float, width: int) -> str:
    """A bar of `width` columns for `most`, in steps of an eighth of a column, one of them at least.

    >>> bar(1.5, 6, 8), bar(1.25, 10, 5)
    ('██', '▋')
    """
    eighths = max(1, round(8 * width * value / most))
    return "█" * (eighths // 8) + (WIDTHS[eighths % 8 - 1] if eighths % 8 else "")
