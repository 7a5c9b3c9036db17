"""Pictures of formats whose decoders turn them: HEIC, AVIF, JPEG XL and camera RAW."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.metadata import Metadata
from mirnet_deploy.images.picture import Picture, Samples


def upright_picture(
    pixels: Samples,
    alpha: Samples | None,
    kind: Format,
    *,
    exif: bytes | None = None,
    icc: bytes | None = None,
    xmp: bytes | None = None,
    lossless: bool = True,
    depth: int | None = None,
    lost: Sequence[str] = (),
) -> Picture:
    """The picture of upright samples. The orientation that EXIF gives is not applied: it becomes 1.

    Such a file says by itself how its picture is turned, and in these formats EXIF's orientation has no say (ISO/IEC
    23008-12, A.2.2; 18181-2, 9.4): telephones write both, and a reader that follows both turns a picture twice. Camera
    RAW states it in EXIF alone, and there the developer of its picture has followed it already.

    Args:
        exif: from the TIFF header on, or with EXIF's name before it.
        depth: bits per sample in the file.
    """
    finer = depth if depth and 8 < depth < 16 else None
    metadata = Metadata(exif, icc, xmp, lost=list(lost))
    picture = metadata.picture(pixels, alpha, kind, lossless=lossless, turned=True)
    return replace(picture, depth=finer)
