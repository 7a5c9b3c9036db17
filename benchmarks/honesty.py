"""What a PSNR means: how much of it is brightness alone, and which figure a PSNR from elsewhere really is.

Two traps make figures of low-light enhancement incomparable. A data range of 255 on values in [0, 1] adds
20 log10(255) = 48.13 dB. And a PSNR taken after the output's mean was scaled to the target's ("GT-mean") uses the
target; printed as plain PSNR it looks 3 to 5 dB better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mirnet_deploy.benchmarks.quality import QualityMean

RANGE_TRAP = 20 * math.log10(255)
"""dB that a data range of 255 adds on values in [0, 1]."""
ALIKE = 0.25
"""dB by which two figures of the same thing may differ, because of resizing or rounding."""


def explained_lines(means: Sequence[QualityMean]) -> list[str]:
    """A line for each engine that has the figures: how far brightness alone explains its plain PSNR."""
    return [
        f"{mean.engine}: {100 * max(0.0, mean.brightness_share):.0f} % of the squared error behind its plain PSNR is "
        f"brightness alone; where it is off, a picture perfect but for that would have {mean.brightness_psnr:.2f} dB"
        for mean in means
        if mean.brightness_share is not None and mean.brightness_psnr is not None
    ]


def claim_line(claimed: float, mean: QualityMean) -> str:
    """Says which figure of `mean` a PSNR is that somebody claims, in dB, for this engine on these pictures."""
    if mean.psnr is None or mean.gt_mean_psnr is None:
        return f"claimed {claimed:.2f} dB: {mean.engine} has no figure to hold it against"
    said = "WARNING: it is"
    known = [  # the most harmless first, so that nobody is accused where two figures are close
        (mean.psnr, "it is the plain PSNR"),
        (mean.gt_mean_psnr, f"{said} the GT-mean PSNR, which uses the target; the plain one is {mean.psnr:.2f} dB"),
        (
            mean.psnr + RANGE_TRAP,
            f"{said} the plain PSNR of {mean.psnr:.2f} dB and {RANGE_TRAP:.2f} dB more: a data range of 255 on values "
            "in [0, 1]",
        ),
        (
            mean.gt_mean_psnr + RANGE_TRAP,
            f"{said} the GT-mean PSNR and {RANGE_TRAP:.2f} dB more: both traps; the plain one is {mean.psnr:.2f} dB",
        ),
    ]
    verdicts = (verdict for figure, verdict in known if abs(figure - claimed) <= ALIKE)
    verdict = next(verdicts, "it is none of the figures measured here")
    return f"claimed {claimed:.2f} dB for {mean.engine}: {verdict}"
