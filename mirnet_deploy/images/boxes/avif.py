"""AVIF, by OpenCV (libavif): 8, 10 and 12 bit, read and written.

Pillow, which reads it too, makes 8 bits of 10 and 12 without a word. OpenCV gives the samples alone; the rest comes
from the file's boxes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, features

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images.boxes.picture import IsoPicture, read_iso_picture, turned
from mirnet_deploy.images.ifd import ORIENTATION, read_directory
from mirnet_deploy.images.opencv import decode_by_opencv, silent_opencv
from mirnet_deploy.images.picture import Picture, Samples, check_size
from mirnet_deploy.images.samples import from_16_bit, straight, to_16_bit

LARGEST_SIDE = 32768
"""Pixels a side, and in all, which libavif decodes as OpenCV sets it up."""
_MOST_PIXELS = 1 << 28


def library() -> Any:
    """The module cv2.

    Raises:
        MissingDependencyError: it is older than 4.13, the first that writes grey and metadata.
    """
    import cv2

    version = tuple(int(part) for part in cv2.__version__.split(".")[:2])
    if version < (4, 13) or not cv2.haveImageWriter("a.avif"):
        raise MissingDependencyError(
            f'AVIF needs OpenCV 4.13 or newer (here is {cv2.__version__}): pip install "mirnet-deploy[avif]"'
        )
    return cv2


def check_avif() -> None:
    """Checks that AVIF can be written, before any work goes into it.

    Raises:
        MissingDependencyError: OpenCV or Pillow is too old.
    """
    library()
    if not features.check("avif"):
        raise MissingDependencyError('AVIF needs Pillow 11.3 or newer: pip install "mirnet-deploy[avif]"')


def decode_avif(data: bytes, max_pixels: int) -> Picture:
    """The primary picture of an AVIF file.

    Raises:
        ImageError: as `read_iso_picture`, or it is too large or damaged.
        MissingDependencyError: OpenCV is too old.
    """
    about = read_iso_picture(data)
    check_size(about.width, about.height, max_pixels)
    if about.coding != b"av01":
        raise ImageError(f"is a HEIF file whose picture is coded as {about.coding.decode('latin-1')}; expected AV1")
    if max(about.width, about.height) > LARGEST_SIDE or about.width * about.height > _MOST_PIXELS:
        raise ImageError(
            f"is {about.width}x{about.height}, and OpenCV reads AVIF of at most 32768 a side and 268 megapixels"
        )
    if about.alpha is not None and about.grey:
        # OpenCV 5.0 reads all kinds but this one, so its two pictures are read one after the other.
        grey, transparency = (_decoded(file, about) for file in _as_two(data, about))
        return about.picture(straight(grey, transparency) if about.premultiplied else grey, transparency, "avif")
    samples = _decoded(data, about)
    if samples.ndim == 2:
        return about.picture(samples, None, "avif")
    alpha = np.ascontiguousarray(samples[..., 3]) if samples.shape[2] == 4 else None
    return about.picture(np.ascontiguousarray(samples[..., 2::-1]), alpha, "avif")


def _decoded(data: bytes, about: IsoPicture) -> Samples:
    """The upright samples, uint8 or uint16, [H,W] grey, [H,W,3] BGR or [H,W,4] BGRA, not premultiplied."""
    library()
    samples = decode_by_opencv(data)
    if samples is None or samples.shape[:2] != (about.height, about.width):
        raise ImageError("is damaged or cut short: its AV1 data cannot be decoded")
    return turned(to_16_bit(samples, about.depth) if about.depth > 8 else samples, about.transforms)


def _as_two(data: bytes, about: IsoPicture) -> Iterator[bytes]:
    """Yields the file without its auxiliary pictures, and then with its alpha as the picture that is shown."""
    alone = bytearray(data)
    for place in about.places.auxiliary:
        alone[place : place + 4] = b"none"
    yield bytes(alone)
    first, last = about.places.primary
    alone[first:last] = (about.alpha or 0).to_bytes(last - first, "big")
    yield bytes(alone)


def encode_avif(picture: Picture, depth: int, quality: int, subsampling: str) -> bytes:
    """The bytes of an AVIF file.

    Args:
        picture: its profile, if any, is for the channels that are written.
        depth: bits per sample: 8 for a picture of 8 bits, and 10 or 12 for one of 16.
        quality: 1 to 100.
        subsampling: of the colour channels of a picture of 8 bits; those of 10 and 12 have half the resolution (4:2:0).
            Grey with alpha is written in colours, since many readers know no other.

    Raises:
        ImageError: the library refuses it.
        MissingDependencyError: OpenCV is too old.
    """
    lossless = picture.lossless and picture.format == "avif"
    if depth == 8 and not lossless:
        return _encode_by_pillow(picture, quality, subsampling)
    cv2 = library()
    samples = picture.pixels if picture.grey and picture.alpha is None else picture.rgb()[..., ::-1]
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    if depth > 8:
        samples = from_16_bit(samples, depth)
    blocks = {
        cv2.IMAGE_METADATA_EXIF: picture.exif,
        cv2.IMAGE_METADATA_XMP: picture.xmp,
        cv2.IMAGE_METADATA_ICCP: picture.icc,
    }
    kept = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    # Under 100 the library is lossy; at 100 it neither quantizes nor transforms the colours.
    settings = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100 if lossless else min(quality, 99)]
    with silent_opencv():
        made, data = cv2.imencodeWithMetadata(
            ".avif", np.ascontiguousarray(samples), list(kept), list(kept.values()), settings
        )
    if not made:
        raise ImageError("cannot be encoded as AVIF")
    return bytes(data.tobytes())


def _encode_by_pillow(picture: Picture, quality: int, subsampling: str) -> bytes:
    """An 8-bit picture, not lossless: only Pillow lets the colour channels have their whole resolution."""
    samples = picture.pixels if picture.alpha is None else np.dstack([picture.rgb(), picture.alpha])
    file = io.BytesIO()
    try:
        Image.fromarray(samples).save(
            file,
            "AVIF",
            quality=quality,
            subsampling="4:0:0" if samples.ndim == 2 else subsampling,
            icc_profile=picture.icc or b"",
            exif=_without_orientation(picture.exif) if picture.exif else b"",
            xmp=picture.xmp or b"",
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"cannot be encoded as AVIF: {' '.join(str(error).split())}") from error
    return file.getvalue()


def _without_orientation(exif: bytes) -> bytes:
    """The EXIF block without its orientation, which is 1, as it is where the tag is absent; empty if no field is left.

    Where the tag is there, Pillow writes the block anew: it garbles texts in UTF-8 and moves maker notes. Here the
    fields behind it move up, and no value moves that lies outside of the directory.

    Raises:
        ValueError: its directory is damaged.
    """
    directory = read_directory(exif)
    form, end = directory.form, directory.next_position + directory.form.room
    first = directory.start + struct.calcsize(form.count)
    fields = [exif[place : place + form.entry] for place in range(first, directory.next_position, form.entry)]
    kept = [field for field in fields if struct.unpack_from(f"{directory.order}H", field)[0] != ORIENTATION]
    if not kept:
        return b""
    table = struct.pack(f"{directory.order}{form.count}", len(kept)) + b"".join(kept)
    table += exif[directory.next_position : end]
    return exif[: directory.start] + table.ljust(end - directory.start, b"\0") + exif[end:]
