"""PSNR, SSIM, FLIP and GT-mean of an enhanced picture against its ground truth, `target`.

Pictures are uint8 [H,W,3] RGB: what is measured is what a user would save, rounded to 8 bits. `data_range` has no
default, because a wrong one gives a wrong figure without a warning (255 in place of 1 adds 48 dB).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError, MissingDependencyError, UsageError, missing

SSIM_WINDOW = 11
"""Side in pixels of the Gaussian window: sigma 1.5, cut at 3.5 sigma, as in Wang et al."""

SSIM_SIGMA = 1.5
PIXELS_PER_DEGREE = 67.0
"""Of the eye, in FLIP: 0.7 m before a display of 0.7 m and 3840 pixels, the package's default."""


def psnr(output: NDArray[np.uint8], target: NDArray[np.uint8], *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels together: 10 log10(data_range² / MSE).

    Both pictures are uint8 [H,W,3] RGB; `data_range` is 255 for them. Equal pictures give `inf`.

    Raises:
        ImageError: the pictures are not uint8 [H,W,3] of one shape.
        UsageError: `data_range` is not positive.
        MissingDependencyError: scikit-image is not installed.
    """
    _check(output, target, data_range)
    metrics = skimage_metrics()
    with np.errstate(divide="ignore"):  # equal pictures divide by 0, and inf is the answer
        return float(metrics.peak_signal_noise_ratio(target, output, data_range=data_range))


def ssim(output: NDArray[np.uint8], target: NDArray[np.uint8], *, data_range: float) -> float:
    """Mean structural similarity in [-1, 1] (Wang et al., IEEE TIP 13(4), 2004), averaged over the three channels.

    An 11x11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population covariance, and the mean over the pixels
    whose window lies inside the picture: the paper's setting. Both pictures are uint8 [H,W,3] RGB; `data_range`
    is 255 for them.

    Raises:
        ImageError: the pictures are not uint8 [H,W,3] of one shape, or a side is shorter than the window.
        UsageError: `data_range` is not positive.
        MissingDependencyError: scikit-image is not installed.
    """
    _check(output, target, data_range)
    height, width = output.shape[:2]
    if min(height, width) < SSIM_WINDOW:
        raise ImageError(
            f"a picture of {width}x{height} has no SSIM: its window is {SSIM_WINDOW}x{SSIM_WINDOW}; use larger pictures"
        )
    value = skimage_metrics().structural_similarity(
        target,
        output,
        data_range=data_range,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        channel_axis=2,
    )
    return float(value)


def flip(output: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Mean LDR-FLIP in [0, 1]: how different two pictures look that take turns on a screen; 0 is equal.

    Andersson et al., "FLIP: A Difference Evaluator for Alternating Images", ACM CGIT 3(2), 2020, at `PIXELS_PER_DEGREE`
    of the eye, by its authors' package. Both pictures are uint8 [H,W,3] RGB.

    Raises:
        ImageError: the pictures are not uint8 [H,W,3] of one shape.
        MissingDependencyError: flip-evaluator is not installed.
    """
    _check(output, target, 255)
    scaled = [picture.astype(np.float32) / 255 for picture in (target, output)]
    parameters = {"ppd": PIXELS_PER_DEGREE}
    error_map, _, _ = flip_evaluator().evaluate(*scaled, "LDR", applyMagma=False, parameters=parameters)
    return float(error_map.mean(dtype=np.float64))


def gt_mean(output: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`output` scaled by mean(target) / mean(output), clipped to [0, 255] and rounded: uint8 [H,W,3].

    The means are over all pixels and channels, so there is one factor for the picture. It takes the brightness, which
    a network can only guess, out of a comparison. It uses the target to do so, so a figure taken after it belongs in a
    column of its own. A picture that is black throughout stays black, whatever the factor.

    Raises:
        ImageError: the pictures are not uint8 [H,W,3] of one shape.
    """
    _check(output, target, 255)
    mean = float(output.mean(dtype=np.float64))
    factor = float(target.mean(dtype=np.float64)) / mean if mean else 1.0
    scaled: NDArray[np.uint8] = np.rint(np.clip(output * factor, 0, 255)).astype(np.uint8)
    return scaled


def _check(output: NDArray[Any], target: NDArray[Any], data_range: float) -> None:
    for name, picture in (("output", output), ("target", target)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ImageError(
                f"the {name} is {picture.dtype} {list(picture.shape)}; metrics take uint8 [H,W,3] RGB pictures"
            )
    if output.shape != target.shape:
        raise ImageError(
            f"the output is {list(output.shape)} and the target {list(target.shape)}; metrics take one shape"
        )
    if not data_range > 0:
        raise UsageError(f"data_range is {data_range}; expected the largest value a pixel can have (255 for uint8)")


def skimage_metrics() -> Any:
    """The module `skimage.metrics`; call it before long work whose end needs the figures.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    try:
        from skimage import metrics
    except ImportError as error:
        raise MissingDependencyError(
            'PSNR and SSIM need scikit-image: pip install "mirnet-deploy[bench]" (a clone: pip install -e ".[bench]")'
        ) from error
    return metrics


def flip_evaluator() -> Any:
    """The module `flip_evaluator`; call it before long work whose end needs the figures.

    Raises:
        MissingDependencyError: flip-evaluator cannot be imported.
    """
    try:
        import flip_evaluator
    except ImportError as error:
        raise missing("FLIP needs flip-evaluator", error, "bench") from error
    return flip_evaluator
