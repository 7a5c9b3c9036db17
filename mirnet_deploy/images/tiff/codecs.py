"""Decompresses the strips and tiles of TIFFs. Samples stay as stored: no photometric interpretation is applied.

A segment that a library must decode is handed to it as a small TIFF of its own: what the library makes of channels,
predictors, depths and orientation does not matter then (seen with OpenCV 5.0 and Pillow 13: 16-bit RGB is read as
8-bit, planes are scrambled, FillOrder is ignored). Libtiff comes with Pillow.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import Image, TiffImagePlugin, WebPImagePlugin

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Directory, Field, integer_field, movable_fields, pack_block
from mirnet_deploy.images.integrity import jpeg_end, truncated, webp_header
from mirnet_deploy.images.opencv import decode_by_opencv
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.form import Form
from mirnet_deploy.images.tiff.libtiff import errors_of_libtiff

_BY_BYTES = {tags.LZW: "tiff_lzw", tags.PACKBITS: "packbits", tags.LZMA: "lzma", tags.ZSTD: "zstd"}
"""Compressions of bytes, whatever they mean -> their names in Pillow."""
_CCITT = frozenset({tags.CCITT_RLE, tags.GROUP_3, tags.GROUP_4, tags.CCITT_RLE_WORDS})
_CODEC_TAGS = frozenset(
    {tags.T4_OPTIONS, tags.T6_OPTIONS, tags.JPEG_TABLES}
    | {tags.YCBCR_COEFFICIENTS, tags.YCBCR_SUBSAMPLING, tags.YCBCR_POSITIONING, tags.REFERENCE_BLACK_WHITE}
)
"""What a decoder must know beside the layout."""
_BY_TIFFFILE = frozenset(
    {*_BY_BYTES, tags.JPEG, tags.JPEG_2000, tags.WEBP, 22610, 33003, 33004, 33005, 33007, 34887, 34892, 34926, 34927}
    | {34933, 34934, 50002, 52546}
)
"""Compressions that tifffile decodes with imagecodecs, also where Pillow and OpenCV do not."""
_UNREVERSED = frozenset({tags.JPEG, tags.WEBP, tags.JPEG_2000})
"""Compressions whose bytes are never in reverse order of bits, whatever FillOrder says (as in libtiff)."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CHUNK = 1 << 20
"""Samples of few bits that are unpacked at a time: unpacking takes 17 bytes for each."""

Decoder = Callable[[Sequence[bytes], Sequence[int]], Samples]


class SegmentDecoder:
    """Decodes segments of one picture.

    Raises:
        ImageError: their compression is not read, or not without the `large` extra, which the text then names; it does
            not name the file.
    """

    def __init__(self, form: Form, directory: Directory) -> None:
        self._form = form
        self._order = directory.order
        _, fields = movable_fields(directory.block, directory.start)
        self._fields = {tag: field for tag, field in fields.items() if tag in _CODEC_TAGS}
        self._decode = self._choose()

    def decode(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        """Segments, one below the other, as [sum of rows, columns, depth], uint8 for up to 8 bits and uint16 beyond.

        Values are as stored, from 0 to 2^bits - 1; but YCbCr comes as RGB.

        Args:
            blocks: the bytes of each segment in the file.
            rows: rows that each of them holds; all but the last are equal.

        Raises:
            ImageError: they are damaged; the message does not name the file.
            Exception: what a decoder says of damaged bytes.
        """
        form = self._form
        if form.reversed_bits and form.compression not in _UNREVERSED:
            blocks = [block.translate(_REVERSED) for block in blocks]
        if form.compression == tags.JPEG:  # libjpeg fills what is missing with grey
            for block in blocks:
                jpeg_end(block)
        samples = self._decode(blocks, rows)
        if samples.shape != (sum(rows), form.columns, form.depth):
            height, width, *depth = samples.shape
            raise ImageError(
                f"is damaged: strips or tiles of the TIFF hold {width}x{height} pixels of {depth} channels, expected "
                f"{form.columns}x{sum(rows)} of {form.depth}"
            )
        return samples

    def _choose(self) -> Decoder:
        form, compression = self._form, self._form.compression
        plain = compression in (tags.PLAIN, tags.DEFLATE, tags.OLD_DEFLATE)
        by_bytes = compression in _BY_BYTES and _libtiff_knows(_BY_BYTES[compression])
        bytewise, ycbcr = form.bits == 8, form.photometric == tags.YCBCR
        choices = (
            (ycbcr and (plain or by_bytes), self._ycbcr),
            (plain, self._plain),
            (by_bytes, self._bytes_by_libtiff),
            (compression in _CCITT and form.bits == form.depth == 1, self._bilevel),
            (compression == tags.JPEG and bytewise and form.depth <= 4, self._jpeg),
            (compression == tags.WEBP and bytewise and form.depth in (3, 4), self._webp),
            (compression == tags.JPEG_2000 and not ycbcr and form.depth in (1, 3, 4), self._jpeg_2000),
        )
        for fits, decode in choices:
            if fits:
                return decode
        _check_tifffile(compression)
        return self._tifffile

    def _plain(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        row = self._form.row_bytes()
        if self._form.compression != tags.PLAIN:
            blocks = [zlib.decompressobj().decompress(block, row * n) for block, n in zip(blocks, rows, strict=True)]
        if any(len(block) < row * n for block, n in zip(blocks, rows, strict=True)):
            raise truncated("a strip or tile of the TIFF ends too early")
        return self._unpacked(b"".join(block[: row * n] for block, n in zip(blocks, rows, strict=True)), sum(rows))

    def _bytes_by_libtiff(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        file = self._small_tiff(blocks, rows, self._form.row_bytes(), 8, 1, tags.BLACK_IS_ZERO)
        return self._unpacked(np.asarray(_by_pillow(file)).tobytes(), sum(rows))

    def _unpacked(self, data: bytes, rows: int) -> Samples:
        form = self._form
        shape = rows, form.columns, form.depth
        if form.bits in (8, 16):
            values = np.frombuffer(data, np.uint8 if form.bits == 8 else f"{self._order}u2").reshape(shape)
            if form.predicted:
                return np.add.accumulate(values, axis=1, dtype=np.uint8 if form.bits == 8 else np.uint16)
            return values if form.bits == 8 else values.astype(np.uint16, copy=False)
        return _few_bits(np.frombuffer(data, np.uint8).reshape(rows, -1), form.bits, form.columns * form.depth).reshape(
            shape
        )

    def _bilevel(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        file = self._small_tiff(blocks, rows, self._form.columns, 1, 1, tags.BLACK_IS_ZERO)
        return np.asarray(_by_pillow(file)).astype(np.uint8)[..., None]

    def _jpeg(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        form = self._form
        photometric = form.photometric if form.depth >= 3 else tags.BLACK_IS_ZERO
        samples = np.asarray(_by_pillow(self._small_tiff(blocks, rows, form.columns, 8, form.depth, photometric)))
        return samples.reshape(*samples.shape[:2], -1)

    def _ycbcr(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        """Of any subsampling; libtiff makes it RGB."""
        more = {}
        if self._form.compression == tags.PLAIN:  # Pillow would read these bytes by itself, and take them for 4:4:4
            blocks = [zlib.compress(block, 1) for block in blocks]
            more[tags.COMPRESSION] = integer_field(self._order, "H", tags.DEFLATE)
        if self._form.predicted:
            more[tags.PREDICTOR] = integer_field(self._order, "H", tags.DIFFERENCES)
        file = self._small_tiff(blocks, rows, self._form.columns, 8, 3, tags.YCBCR, more)
        return np.asarray(_by_pillow(file).convert("RGB"))

    def _webp(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        parts = []
        for block, count in zip(blocks, rows, strict=True):
            if webp_header(block)[:2] != (self._form.columns, count):  # before the decoder allocates its canvas
                raise ImageError("is damaged: a WebP in the TIFF is not as large as its strip or tile")
            image = WebPImagePlugin.WebPImageFile(io.BytesIO(block))
            parts.append(np.asarray(image.convert("RGB" if self._form.depth == 3 else "RGBA")))
        return np.concatenate(parts)

    def _jpeg_2000(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        from PIL import Jpeg2KImagePlugin

        depth = self._form.depth
        parts = []
        for block, count in zip(blocks, rows, strict=True):
            if Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(block)).size != (self._form.columns, count):
                raise ImageError("is damaged: a JPEG 2000 in the TIFF is not as large as its strip or tile")
            samples = decode_by_opencv(block)
            if samples is None or samples.dtype != (np.uint8 if self._form.bits <= 8 else np.uint16):
                raise ImageError("is damaged: a JPEG 2000 in the TIFF cannot be decoded")
            samples = samples.reshape(*samples.shape[:2], -1)
            parts.append(samples if depth == 1 else samples[..., [2, 1, 0, 3][:depth]])
        return np.concatenate(parts)

    def _tifffile(self, blocks: Sequence[bytes], rows: Sequence[int]) -> Samples:
        import tifffile

        form, parts = self._form, []
        for block, count in zip(blocks, rows, strict=True):
            file = self._small_tiff([block], [count], form.columns, form.bits, form.depth, form.photometric)
            with tifffile.TiffFile(io.BytesIO(file)) as opened:
                parts.append(opened.pages[0].asarray().reshape(count, form.columns, form.depth))
        return np.concatenate(parts)

    def _small_tiff(
        self,
        blocks: Sequence[bytes],
        rows: Sequence[int],
        columns: int,
        bits: int,
        depth: int,
        photometric: int,
        more: dict[int, Field] | None = None,
    ) -> bytes:
        """A file whose strips are `blocks`."""
        order = self._order
        fields = self._fields | {
            tags.WIDTH: integer_field(order, "I", columns),
            tags.HEIGHT: integer_field(order, "I", sum(rows)),
            tags.BITS: integer_field(order, "H", *[bits] * depth),
            tags.COMPRESSION: integer_field(order, "H", self._form.compression),
            tags.PHOTOMETRIC: integer_field(order, "H", photometric),
            tags.SAMPLES: integer_field(order, "H", depth),
            tags.STRIP_ROWS: integer_field(order, "I", rows[0]),
            tags.STRIP_OFFSETS: integer_field(order, "I", *[0] * len(blocks)),
            tags.STRIP_COUNTS: integer_field(order, "I", *map(len, blocks)),
        }
        if depth in (2, 4):
            fields[tags.EXTRA_SAMPLES] = integer_field(order, "H", tags.STRAIGHT)
        fields |= more or {}
        start, offsets = len(pack_block(fields, order)), []
        for block in blocks:
            offsets.append(start)
            start += len(block)
        fields[tags.STRIP_OFFSETS] = integer_field(order, "I", *offsets)
        return pack_block(fields, order) + b"".join(blocks)


def _by_pillow(file: bytes) -> Image.Image:
    with errors_of_libtiff() as said:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(file))
        try:
            image.load()
        except Image.DecompressionBombError as error:
            raise ImageError("has a strip of more bytes than twice PIL.Image.MAX_IMAGE_PIXELS; raise that") from error
    if any(text.startswith("Uncompressed data") for text in said):  # ITU-T T.6, 2.3
        raise ImageError("is a TIFF of fax codes with an uncompressed part, a kind that is not read")
    if said:
        raise ImageError("is damaged: the codes in a strip or tile of the TIFF mean nothing")
    return image


@cache
def _libtiff_knows(compression: str) -> bool:
    """Whether Pillow's libtiff was built with a compression: it is asked to write a pixel."""
    try:
        Image.new("L", (1, 1)).save(io.BytesIO(), "TIFF", compression=compression)
    except OSError:
        return False
    return True


def _check_tifffile(compression: int) -> None:
    """Checks that a compression is one that tifffile decodes, and that it is installed with its codecs.

    Raises:
        ImageError: it is not.
    """
    name = tags.COMPRESSIONS.get(compression, f"method {compression}")
    if compression not in _BY_TIFFFILE:
        raise ImageError(f"is a TIFF with {name} compression, a kind that is not read")
    if not (find_spec("tifffile") and find_spec("imagecodecs")):
        raise ImageError(f'is a TIFF with {name} compression of a kind that takes: pip install "mirnet-deploy[large]"')


def _few_bits(lines: Samples, bits: int, count: int) -> Samples:
    """uint8 [rows,bytes] that hold samples of `bits` bits, the highest first -> [rows,count], uint8 or uint16."""
    whole = 8 if bits < 8 else 16
    samples = np.empty((len(lines), count), np.uint8 if whole == 8 else np.uint16)
    step = max(1, _CHUNK // count)
    for top in range(0, len(lines), step):
        part = np.unpackbits(lines[top : top + step], axis=1, count=count * bits).reshape(-1, count, bits)
        padded = np.zeros((*part.shape[:2], whole), np.uint8)
        padded[..., whole - bits :] = part
        samples[top : top + step] = np.packbits(padded, axis=2).view(samples.dtype.newbyteorder(">"))[..., 0]
    return samples
