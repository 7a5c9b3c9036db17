"""Reads picture files. The content of a file, not its name, decides its format.

Read: PNG, JPEG, WebP, TIFF and BMP of up to 8 bits per sample, PNG and TIFF of 16, and JPEG and BMP of more than 8 as
16. Palettes become RGB (with alpha where they have transparency) or grey, 1-bit pictures become grey. The EXIF
orientation is applied and set to 1, pixel sizes in EXIF and XMP are made true, and the link to the EXIF thumbnail,
which shows the old picture, is removed. All other EXIF is kept, byte for byte or, from a TIFF, field by field; so are
the ICC profile, XMP, IPTC, the resolution and texts. What a file says of its colours without a profile becomes one.
What is not kept has a line in `Picture.lost`. HEIC, AVIF, JPEG XL and camera RAW have modules of their own.

Refused, each with one line: animations and several pages, CMYK, HDR (PQ, HLG), float and 32-bit samples,
files that are cut short (even if the decoders would not notice), pictures of more than `max_pixels` (by the header),
and all other formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import integrity
from mirnet_deploy.images.bmp import decode_bmp
from mirnet_deploy.images.boxes.avif import decode_avif
from mirnet_deploy.images.boxes.heif import decode_heif
from mirnet_deploy.images.boxes.jxl import decode_jxl
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.jpeg_deep import decode_deep_jpeg
from mirnet_deploy.images.jpeg_metadata import Frame, jpeg_frame, jpeg_metadata
from mirnet_deploy.images.metadata import Metadata
from mirnet_deploy.images.picture import ANIMATED, CMYK, Picture, Samples, check_size
from mirnet_deploy.images.png import png16
from mirnet_deploy.images.png.metadata import png_metadata
from mirnet_deploy.images.profiles import check_not_hdr
from mirnet_deploy.images.raw.developing import decode_raw
from mirnet_deploy.images.raw.kinds import format_of_content
from mirnet_deploy.images.tiff import pixels as tiff
from mirnet_deploy.images.tiff.directories import all_directories

DEFAULT_MAX_PIXELS = 250_000_000
"""Enough for the 200-megapixel sensors of telephones, and a bound for a file of a few bytes that claims gigabytes.

In WebP, and in a strip or tile of most compressed TIFFs, Pillow itself refuses more than twice
`PIL.Image.MAX_IMAGE_PIXELS`, which makes 179 million, unless the program changes that value (`mirnet-deploy enhance`
does).
"""


def read_image(path: Path) -> Picture:
    """Reads a picture file, upright, with its alpha, EXIF and ICC profile.

    Raises:
        ImageError: the file cannot be read, or is not a picture that this module takes; the text is one line that
            names the file.
        MissingDependencyError: its format needs a library that is not installed; the text says which extra brings it.
    """
    return decode_image(read_file(path), str(path), max_pixels=DEFAULT_MAX_PIXELS)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        ImageError: the file is missing, not readable, a folder or a device; the text names it.
    """
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; expected a picture")
        if path.exists() and not path.is_file():
            raise ImageError(f"{path} is not a regular file; expected a picture")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error


def decode_image(data: bytes, name: str, *, max_pixels: int) -> Picture:
    """The picture in the bytes of a file, as `read_image` gives it; `name` stands for the file in errors.

    Raises:
        ImageError, MissingDependencyError: as `read_image`.
    """
    try:
        picture = _DECODERS[format_of_content(data)](data, max_pixels)
        check_not_hdr(picture.icc)
        return picture
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory; close other programs or make it smaller") from error
    except ImportError:  # of a library that the memory has no room for, for example
        raise
    except Exception as error:  # damaged bytes make the decoders raise nearly anything, from SyntaxError to KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is damaged or cut short: it cannot be decoded ({reason})") from error


def _decode_png(data: bytes, max_pixels: int) -> Picture:
    broken: list[bytes] = []
    chunks = list(integrity.png_chunks(data, broken))
    bodies = dict(chunks)
    if bodies.get(b"IHDR", b"")[10:] not in (b"\0\0\0", b"\0\0\1"):
        raise ImageError("is damaged: its header names no compression, filter and interlace method of a PNG")
    if b"acTL" in bodies and int.from_bytes(bodies[b"acTL"][:4], "big") > 1:
        raise ImageError(ANIMATED)
    # Without metadata: Pillow takes a file with more than a megabyte of text or profile for a damaged one.
    image = PngImagePlugin.PngImageFile(io.BytesIO(png16.pixels_alone(chunks)))
    check_size(*image.size, max_pixels)
    depth, colour = bodies[b"IHDR"][8:10]
    found = png_metadata(chunks, grey=colour in png16.GREY_TYPES)
    found.lost += [
        f"its {integrity.chunk_name(kind)} chunk does not match its checksum, and is left out" for kind in broken
    ]
    png16.check_rows(chunks)
    if depth == 16:
        return found.picture(*png16.decode_png16(chunks), "png")
    image.load()
    if depth in (2, 4) and isinstance(image.info.get("transparency"), int) and image.mode == "L":
        # Pillow spreads grey of 2 and 4 bits over 0 to 255, but leaves the transparent level as it stands in the file.
        image.info["transparency"] *= 255 // (2**depth - 1)
    return found.picture(*_samples(image), "png")


def _decode_jpeg(data: bytes, max_pixels: int) -> Picture:
    frame = jpeg_frame(data)
    if frame and frame.bits > 8:
        return _decode_deep_jpeg(data, frame, max_pixels)
    # Not Image.open, which takes the JPEGs of many telephones for multi-picture files.
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels)
    try:
        end = integrity.jpeg_end(data)
        pixels, alpha = _samples(image)
    except integrity.NoEndError as error:
        end, pixels, alpha = len(data), _without_end(data, error), None
    return jpeg_metadata(data, end).picture(pixels, alpha, "jpg", lossless=False)


def _decode_deep_jpeg(data: bytes, frame: Frame, max_pixels: int) -> Picture:
    check_size(frame.width, frame.height, max_pixels)
    if frame.channels == 4:
        raise ImageError(CMYK)
    end = integrity.jpeg_end(data)
    picture = jpeg_metadata(data, end).picture(decode_deep_jpeg(data, frame), None, "jpg", lossless=False)
    return replace(picture, depth=frame.bits if frame.bits < 16 else None)


def _without_end(data: bytes, error: ImageError) -> Samples:
    """The pixels of a JPEG without an end marker, if its coded data holds all of them.

    libjpeg fills what is missing. So the data is continued in several ways: where they all give the same picture,
    nothing of it comes from them. A progressive JPEG, which is whole after every scan, does not show what is missing.

    Raises:
        ImageError: `error`, where pixels are missing.
    """
    found: list[Samples] = []
    for byte in (0x00, 0x55, 0xAA):
        continued = data.removesuffix(b"\xff") + bytes([byte]) * 64 + b"\xff\xd9"
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(continued))
        if image.info.get("progressive"):
            raise error
        found.append(_samples(image)[0])
    if any((other != found[0]).any() for other in found):
        raise error
    return found[0]


def _decode_webp(data: bytes, max_pixels: int) -> Picture:
    width, height, animated, lossless = integrity.webp_header(data)
    if animated:
        raise ImageError(ANIMATED)
    # Before the decoder is made, because making it allocates the whole canvas.
    check_size(width, height, max_pixels)
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    pixels, alpha = _samples(image)
    info = image.info
    found = Metadata(info.get("exif"), info.get("icc_profile") or None, info.get("xmp"))
    return found.picture(pixels, alpha, "webp", lossless=lossless)


def _decode_tiff(data: bytes, max_pixels: int) -> Picture:
    return tiff.decode_tiff(all_directories(data), max_pixels)


_DECODERS: dict[Format, Callable[[bytes, int], Picture]] = {
    "png": _decode_png,
    "jpg": _decode_jpeg,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": decode_bmp,
    "heic": decode_heif,
    "avif": decode_avif,
    "jxl": decode_jxl,
    "raw": decode_raw,
}
"""Format -> its decoder, which takes the bytes of a file and the most pixels that are decoded.

The messages of their errors do not name the file; `decode_image` adds its name.
"""


def _samples(image: ImageFile.ImageFile) -> tuple[Samples, Samples | None]:
    """Decodes a Pillow picture whose samples have at most 8 bits.

    Returns:
        Pixels, uint8 HxWx3 RGB or HxW grey, and alpha, uint8 HxW, or None where there is none; C-contiguous.

    Raises:
        ImageError: it is CMYK, or of a mode that is not grey, RGB or a palette; the message does not name the file.
    """
    image.load()
    transparent = "transparency" in image.info
    if image.mode == "CMYK":
        raise ImageError(CMYK)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"):
        raise ImageError(f"has pixels of mode {image.mode}; expected grey, RGB or a palette")
    if image.mode in ("1", "L", "LA"):
        mode = "LA" if transparent or image.mode == "LA" else "L"
    else:
        mode = "RGBA" if transparent or image.mode in ("RGBA", "PA") else "RGB"
    samples = np.array(image.convert(mode), np.uint8)
    if mode in {"L", "RGB"}:
        return samples, None
    pixels = samples[..., 0] if mode == "LA" else samples[..., :3]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(samples[..., -1])
