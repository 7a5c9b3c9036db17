"""HEIC: HEVC pictures in HEIF files, by pillow-heif (libheif, libde265, x265), 8, 10 and 12 bit.

The decoder crops, turns and mirrors by the file's properties.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from mirnet_deploy.errors import ImageError, extra_module
from mirnet_deploy.images.boxes.picture import read_iso_picture
from mirnet_deploy.images.picture import Picture, check_size
from mirnet_deploy.images.samples import from_16_bit, straight, to_16_bit

_LOSSLESS = {"quality": -1, "matrix_coefficients": 0}
"""Settings under which every sample comes back: of the quantizer, and of the colour transform, which is none."""


def library() -> Any:
    """The module pillow_heif.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return extra_module("pillow_heif", "HEIC needs pillow-heif", "heif")


def decode_heif(data: bytes, max_pixels: int) -> Picture:
    """The primary picture of a HEIF file.

    Raises:
        ImageError: as `read_iso_picture`, or its coding is not HEVC, or it is too large or damaged.
        MissingDependencyError: pillow-heif is not installed.
    """
    about = read_iso_picture(data)
    check_size(about.width, about.height, max_pixels)
    if about.coding != b"hvc1":
        raise ImageError(f"is a HEIF file whose picture is coded as {about.coding.decode('latin-1')}; expected HEVC")
    file = library().open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    samples, mode = np.array(file), file.mode.partition(";")[0]  # a copy: the memory is the library's
    if about.depth > 8:
        samples = to_16_bit(samples, about.depth)
    alpha = np.ascontiguousarray(samples[..., -1]) if mode[-1] in "Aa" else None
    pixels = samples if alpha is None else samples[..., : samples.shape[2] - 1]
    if mode.endswith("a") and alpha is not None:
        pixels = straight(pixels, alpha)
    if about.grey and pixels.ndim == 3:  # grey with alpha comes as RGBA
        pixels = pixels[..., 0]
    return about.picture(np.ascontiguousarray(pixels), alpha, "heic")


def encode_heif(picture: Picture, depth: int, quality: int, subsampling: str) -> bytes:
    """The bytes of a HEIC file.

    Args:
        depth: bits per sample: 8 for a picture of 8 bits, and 10 or 12 for one of 16.
        quality: 1 to 100.
        subsampling: of the colour channels: 4:4:4, 4:2:2 or 4:2:0.

    Raises:
        ImageError: the library refuses it.
        MissingDependencyError: pillow-heif is not installed.
    """
    channels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    mode = ("L" if picture.grey else "RGB") + ("" if picture.alpha is None else "A")
    samples = channels if depth == 8 else from_16_bit(channels, depth)
    options: dict[str, Any] = {"quality": quality, "chroma": subsampling.replace(":", ""), "bit_depth": depth}
    if picture.lossless and picture.format == "heic":
        options |= {**_LOSSLESS, "chroma": "444"}
    if picture.icc:
        options["icc_profile"] = picture.icc
    # As plain items: in what it knows as EXIF and XMP, pillow-heif looks for orientations by their names alone, also in
    # what XMP says of other pictures, and turns the picture by them.
    described = [("Exif", "", b"\0\0\0\6Exif\0\0" + picture.exif)] if picture.exif else []
    described += [("mime", "application/rdf+xml", picture.xmp)] if picture.xmp else []
    options["metadata"] = [{"type": kind, "content_type": content, "data": data} for kind, content, data in described]
    file = io.BytesIO()
    try:
        made = library().from_bytes(
            mode if depth == 8 else f"{mode};{depth}", (picture.width, picture.height), samples.tobytes()
        )
        made.save(file, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"cannot be encoded as HEIC: {' '.join(str(error).split())}") from error
    return file.getvalue()
