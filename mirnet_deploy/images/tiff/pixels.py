"""Reads TIFF files: in memory as a whole, or any part of their pixels at a time, always by the same decoder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from PIL import TiffImagePlugin

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.exif import reset_orientation
from mirnet_deploy.images.ifd import Directory
from mirnet_deploy.images.picture import Picture, Samples, check_size
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.codecs import SegmentDecoder
from mirnet_deploy.images.tiff.colours import Colours
from mirnet_deploy.images.tiff.directories import Found, main_picture
from mirnet_deploy.images.tiff.form import read_form
from mirnet_deploy.images.tiff.metadata import read_metadata

_BATCH = 1 << 22
"""Bytes of samples that are handed to a decoder at a time, where a segment has no more: each call costs 0.4 ms."""


class TiffPixels:
    """The pixels of one directory, a strip or tile (segment) at a time.

    Args:
        read: gives so many bytes (second argument) of the file from an offset (first) on.

    Raises:
        ImageError: it is of a kind that is not read, or damaged; the message does not name the file.
    """

    def __init__(self, directory: Directory, read: Callable[[int, int], bytes]) -> None:
        self._form = form = read_form(directory)
        self._read = read
        self._decoder, self._colours = SegmentDecoder(form, directory), Colours(form, directory)
        self.height, self.width, self.dtype, self.grey = (
            form.height,
            form.width,
            self._colours.dtype,
            self._colours.grey,
        )
        self.alpha = form.alpha is not None
        """Whether the picture has alpha."""
        self.lost = form.lost
        """A line for each channel that is not read."""
        self.rows, self.columns, self.across = form.rows, form.columns, form.across
        """Rows and columns of a segment, and how many lie side by side; they are numbered row by row."""
        self.segments = form.segments

    def decoded(self, indices: Iterable[int]) -> Iterator[tuple[int, Samples, Samples | None]]:
        """Yields segments: index; pixels, [h,w] grey or [h,w,3] RGB; alpha, [h,w], or None where there is none.

        A tile reaches over the edge of the picture; the last strip may have fewer rows than the others.

        Raises:
            ImageError: the data is damaged; the message does not name the file.
            Exception: what a decoder says of damaged bytes.
        """
        for batch in self._batches(indices):
            rows = [self._form.rows_of(index) for index in batch]
            planes = [
                self._decoder.decode([self._block(plane, index) for index in batch], rows)
                for plane in range(self._form.planes)
            ]
            pixels, alpha = self._colours.convert(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))
            top = 0
            for index, count in zip(batch, rows, strict=True):
                part = slice(top, top + count)
                yield index, pixels[part], None if alpha is None else alpha[part]
                top += count

    def _batches(self, indices: Iterable[int]) -> Iterator[Sequence[int]]:
        """Segments that are decoded together; only the last of a batch has fewer rows than the others."""
        form = self._form
        size = max(1, _BATCH // (form.rows * form.row_bytes()))
        batch: list[int] = []
        for index in indices:
            batch.append(index)
            if len(batch) == size or form.rows_of(index) < form.rows:
                yield batch
                batch = []
        if batch:
            yield batch

    def _block(self, plane: int, index: int) -> bytes:
        return self._read(*self._form.places[plane * self.segments + index])


def decode_tiff(directories: Sequence[Found], max_pixels: int) -> Picture:
    """The picture of a TIFF in memory, upright, with its alpha and metadata (see `Picture`).

    Args:
        directories: what `all_directories` finds in it.

    Raises:
        ImageError: it is of a kind that is not read, or damaged; the message does not name the file.
        Exception: what a decoder says of damaged bytes.
    """
    found, lost = main_picture(directories)
    directory, data = found.directory, bytes(found.directory.block)
    width, height = directory.integer(tags.WIDTH, 0), directory.integer(tags.HEIGHT, 0)
    check_size(width, height, max_pixels)
    if directory.integer(tags.COMPRESSION, tags.PLAIN) == tags.OLD_JPEG:
        pixels, alpha = _old_jpeg(data, directory), None
    else:
        source = TiffPixels(directory, lambda offset, length: data[offset : offset + length])
        pixels, alpha = _whole(source)
        lost += source.lost
    metadata = read_metadata(directories[0].directory, found)
    metadata.lost[:0] = lost
    return metadata.picture(pixels, alpha, "tiff")


def _whole(source: TiffPixels) -> tuple[Samples, Samples | None]:
    """All pixels and the alpha of a picture."""
    shape = source.height, source.width
    pixels = np.empty(shape if source.grey else (*shape, 3), source.dtype)
    alpha = np.empty(shape, source.dtype) if source.alpha else None
    for index, part, part_alpha in source.decoded(range(source.segments)):
        top, left = index // source.across * source.rows, index % source.across * source.columns
        target = pixels[top : top + source.rows, left : left + source.columns]
        target[...] = part[: target.shape[0], : target.shape[1]]
        if alpha is not None and part_alpha is not None:
            alpha[top : top + source.rows, left : left + source.columns] = part_alpha[
                : target.shape[0], : target.shape[1]
            ]
    return pixels, alpha


def _old_jpeg(data: bytes, directory: Directory) -> Samples:
    """Old-style JPEG, which is found through offsets all over the file: Pillow's libtiff reads it as a whole.

    Source: TIFF 6.0, section 22; withdrawn by Adobe's TIFF technical note 2.
    """
    header = directory.form.room
    at = slice(header, 2 * header)
    data = (
        data[: at.start]
        + directory.start.to_bytes(header, "little" if directory.order == "<" else "big")
        + data[at.stop :]
    )
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(reset_orientation(data)[0]))
    if image.mode not in ("L", "RGB", "YCbCr"):
        raise ImageError(f"is an old-style JPEG TIFF of mode {image.mode}; expected grey or RGB")
    return np.array(image if image.mode == "L" else image.convert("RGB"))
