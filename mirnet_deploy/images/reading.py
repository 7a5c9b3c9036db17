"""Reads picture files. The content of a file, not its name, decides its format.

Read: PNG, JPEG, WebP, TIFF and BMP of up to 8 bits per sample, and PNG and TIFF of 16. Palettes become RGB (with alpha
where they have transparency), 1-bit pictures become grey. The EXIF orientation is applied and set to 1, and the link to
the EXIF thumbnail, which shows the old picture, is removed. All other EXIF is kept, byte for byte or, from a TIFF,
field by field; so is the ICC profile. XMP, text chunks and comments are dropped. HEIC, AVIF, JPEG XL and camera RAW
have modules of their own.

Refused, each with one line: animations and several pages, CMYK, float and 32-bit samples, files that are cut short
(even if the decoders would not notice), pictures of more than `max_pixels` (by the header), and all other formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import integrity, png16, tiff
from mirnet_deploy.images.avif import decode_avif
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.heif import decode_heif
from mirnet_deploy.images.ifd import ORIENTATION, read_directory, reset_orientation, unlink_next
from mirnet_deploy.images.jxl import decode_jxl
from mirnet_deploy.images.picture import Picture, Samples, check_size
from mirnet_deploy.images.raw import decode_raw
from mirnet_deploy.images.raw_kinds import format_of_content

DEFAULT_MAX_PIXELS = 250_000_000
"""Enough for the 200-megapixel sensors of telephones, and a bound for a file of a few bytes that claims gigabytes.

In WebP and 8-bit TIFF, Pillow itself refuses more than twice `PIL.Image.MAX_IMAGE_PIXELS`, which makes 179 million,
unless the program changes that value (`mirnet-deploy enhance` does).
"""

_CMYK = "is CMYK; convert it to RGB first"
_ANIMATED = "is animated or has several pages; expected a single picture"


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
        return _DECODERS[format_of_content(data)](data, max_pixels)
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory; close other programs or make it smaller") from error
    except Exception as error:  # damaged bytes make the decoders raise nearly anything, from SyntaxError to KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is damaged or cut short: it cannot be decoded ({reason})") from error


def _decode_png(data: bytes, max_pixels: int) -> Picture:
    chunks = list(integrity.png_chunks(data))
    bodies = dict(chunks)
    if b"acTL" in bodies and int.from_bytes(bodies[b"acTL"][:4], "big") > 1:
        raise ImageError(_ANIMATED)
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels)
    # For 16-bit files too: this checks that the stream has every row, and finds metadata behind the pixels.
    image.load()
    depth = bodies[b"IHDR"][8]
    if depth in (2, 4) and isinstance(image.info.get("transparency"), int) and image.mode == "L":
        # Pillow spreads grey of 2 and 4 bits over 0 to 255, but leaves the transparent level as it stands in the file.
        image.info["transparency"] *= 255 // (2**depth - 1)
    if depth == 16:
        pixels, alpha = png16.decode_png16(chunks)
    else:
        pixels, alpha = _samples(image)
    return _finished(pixels, alpha, image, "png")


def _decode_jpeg(data: bytes, max_pixels: int) -> Picture:
    # Not Image.open, which takes the JPEGs of many telephones for multi-picture files.
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels)
    integrity.check_jpeg(data)
    return _finished(*_samples(image), image, "jpg", lossless=False)


def _decode_webp(data: bytes, max_pixels: int) -> Picture:
    width, height, animated, lossless = integrity.webp_header(data)
    if animated:
        raise ImageError(_ANIMATED)
    # Before the decoder is made, because making it allocates the whole canvas.
    check_size(width, height, max_pixels)
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    return _finished(*_samples(image), image, "webp", lossless=lossless)


def _decode_tiff(data: bytes, max_pixels: int) -> Picture:
    # Before any decoding, because cv2 and Pillow, each in cases of its own, turn a TIFF by themselves.
    data, orientation = reset_orientation(data)
    directory = read_directory(data)
    check_size(directory.integer(tiff.WIDTH, 0), directory.integer(tiff.HEIGHT, 0), max_pixels)
    integrity.check_tiff(directory)
    if directory.next:
        raise ImageError(_ANIMATED)
    if directory.integer(tiff.PHOTOMETRIC, -1) == 5:
        raise ImageError(_CMYK)
    bits = max(directory.integers(tiff.BITS, (1,)))
    if set(directory.integers(tiff.SAMPLE_FORMAT, (1,))) != {1} or bits not in (1, 2, 4, 8, 16):
        raise ImageError(f"has {bits}-bit float, signed or other samples; expected unsigned ones of 8 or 16 bit")
    if bits == 16:
        pixels, alpha = tiff.decode_tiff16(directory)
    else:
        pixels, alpha = _samples(TiffImagePlugin.TiffImageFile(io.BytesIO(data)))
    picture = Picture(pixels, alpha, tiff.exif_of_tiff(data), tiff.icc_of_tiff(directory), "tiff")
    return picture.upright(orientation)


def _decode_bmp(data: bytes, max_pixels: int) -> Picture:
    image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels)
    integrity.check_bmp(data)
    return _finished(*_samples(image), image, "bmp")


_DECODERS: dict[Format, Callable[[bytes, int], Picture]] = {
    "png": _decode_png,
    "jpg": _decode_jpeg,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": _decode_bmp,
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
        raise ImageError(_CMYK)
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


def _finished(
    pixels: Samples, alpha: Samples | None, image: Image.Image, kind: Format, *, lossless: bool = True
) -> Picture:
    """The upright picture of decoded samples; EXIF and ICC profile come from `image`, which Pillow has loaded."""
    exif, orientation = _exif(image)
    picture = Picture(pixels, alpha, exif, image.info.get("icc_profile") or None, kind, lossless)
    return picture.upright(orientation)


def _exif(image: Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block with orientation 1 and no thumbnail, and the orientation that it had.

    The block is None where there is none or it is damaged.
    """
    block = image.info.get("exif")
    try:
        if block is None and "Raw profile type exif" in image.info:  # PNGs of ImageMagick: title, length, hexadecimal
            block = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        if not block:
            return None, 1
        block, orientation = reset_orientation(block.removeprefix(b"Exif\0\0"))
        return unlink_next(block), orientation
    except ValueError:  # harms no pixel: damaged EXIF is dropped, except the orientation that viewers still find in it
        return None, _orientation_by_pillow(image)


def _orientation_by_pillow(image: Image.Image) -> int:
    """The orientation in a damaged EXIF block where Pillow, which is lenient, can find it; else 1."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged bytes make Pillow raise nearly anything
        return 1
    return orientation if isinstance(orientation, int) else 1
