"""Camera RAW developed, by rawpy (LibRaw): what the sensor saw becomes 16-bit sRGB.

The mosaic is filled in (AHD) in linear light; then come the camera's white balance, its colour matrix and the transfer
function of sRGB, for which the network was made. Nothing else: no brightening, sharpening or noise reduction.

Exposure: a grey that reaches the sensor's white level becomes white. White balance multiplies some colours by 2 or
more, so a red lamp that the sensor still told from white would clip. Where there is such a one, the whole picture is
made darker by as much as it takes, at most by the ratio of the factors of white balance. The lamp keeps its light and,
the brighter it is, the less of its colour; what the sensor itself clipped is white.

LibRaw goes on where compressed data are damaged, and then prints a line of its own.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from mirnet_deploy.errors import ImageError, extra_module
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.picture import Picture, Samples, check_size
from mirnet_deploy.images.raw.metadata import check_whole, metadata_of_raw
from mirnet_deploy.images.samples import from_linear
from mirnet_deploy.images.upright import upright_picture

_MAY_CLIP = 1e-4
"""Part of all samples that may be brighter than white: hot pixels, which would otherwise decide on the exposure."""


def library() -> Any:
    """The module rawpy.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return extra_module("rawpy", "camera RAW needs rawpy", "raw")


def decode_raw(data: bytes, max_pixels: int) -> Picture:
    """The picture in a RAW file, upright, uint16.

    Raises:
        ImageError: LibRaw does not know the camera, or it is too large, cut short or damaged; the message does not name
            the file.
        MissingDependencyError: rawpy is not installed.
    """
    check_whole(data)
    rawpy = library()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(raw.sizes.width, raw.sizes.height, max_pixels)
            pixels = _developed(rawpy, raw)
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError) as error:
        raise ImageError("is camera RAW of a kind that LibRaw does not read; convert it to DNG or TIFF") from error
    except rawpy.LibRawIOError as error:
        raise truncated("the RAW ends before its picture does") from error
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error
    exif, lost = metadata_of_raw(data)
    return upright_picture(pixels, None, "raw", exif=exif, lost=lost)


def _developed(rawpy: Any, raw: Any) -> Samples:
    """uint16 sRGB, [H,W,3], or [H,W] of a camera without colours; upright."""
    linear = raw.postprocess(
        use_camera_wb=True,
        no_auto_bright=True,
        output_bps=16,
        gamma=(1, 1),
        output_color=rawpy.ColorSpace.sRGB,
        # The largest factor of white balance is 1, so that nothing clips, and what one channel of the sensor may have
        # clipped loses colour: without that, white lamps are magenta.
        highlight_mode=rawpy.HighlightMode.Blend,
    )
    # The camera's factors of red, green and blue, or those of daylight where the file has none.
    factors = raw.camera_whitebalance if raw.camera_whitebalance[0] > 0 else raw.daylight_whitebalance
    used = [factor for factor in factors[:3] if factor > 0] or [1.0]
    gain = min(max(used) / min(used), 65535 / max(1, _brightest(linear)))
    curve = from_linear(np.arange(65536) * (max(gain, 1.0) / 65535))
    developed: Samples = curve[linear]
    return np.ascontiguousarray(developed[..., 0] if developed.shape[2] == 1 else developed)


def _brightest(linear: Samples) -> int:
    """The value that all but `_MAY_CLIP` of the samples are below or at."""
    counts = np.bincount(linear.ravel(), minlength=65536)
    above = linear.size - np.cumsum(counts)
    return int(np.argmax(above <= linear.size * _MAY_CLIP))
