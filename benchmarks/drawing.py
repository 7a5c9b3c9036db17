"""Tables, figures and small plots of text."""

from __future__ import annotations

from collections.abc import Sequence
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


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits behind the point."""
    return MISSING if value is None else f"{value:.{digits}f}"


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
