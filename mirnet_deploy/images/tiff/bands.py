"""TIFF files that are read and written a band of rows at a time, for pictures that do not fit into memory.

`BandedTiff` and `RawBands` stand in for arrays in the pipeline: the one gives windows, the other takes rows. A result
lies uncompressed in a temporary file until its last pass is over, since every pass overwrites the one before.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.metadata import Metadata
from mirnet_deploy.images.picture import check_size, grey_of
from mirnet_deploy.images.profiles import check_not_hdr
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.directories import CAMERA_RAW, Found, all_directories, is_camera_raw, main_picture
from mirnet_deploy.images.tiff.metadata import orientation_of, read_metadata
from mirnet_deploy.images.tiff.pixels import TiffPixels
from mirnet_deploy.images.tiff.writing import TiffLayout

Key = tuple[slice, slice] | slice
"""Rows and columns, or rows alone."""


class Shaped(Protocol):
    """A picture [H,W,3] that is worked on in bands."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def grey(self) -> bool:
        """Whether its three channels are one."""


class Banded(Shaped, Protocol):
    """A result, whose rows are read as they are stored."""

    def band(self, top: int, bottom: int) -> NDArray[Any]:
        """Rows from `top` to `bottom`, [n,W,1 or 3]."""


@contextmanager
def _mapped(path: Path) -> Iterator[list[Found]]:
    """The directories of a TIFF file, without reading the rest of it. Valid inside the block only.

    Raises:
        ValueError: the file is not a TIFF, or ends too early.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as block:
        yield all_directories(block)


def bytes_in_memory(path: Path, *, toned: bool) -> int:
    """Bytes of memory to enhance a TIFF file without bands: the file, its samples, and as many for the result.

    With an ICC profile, what the network takes and gives lies beside them (`colour`).

    Args:
        toned: whether its brightness is set; 8-bit pictures are then worked on in 16 bits.

    Returns:
        0 where the file is not a TIFF that can be read in bands.
    """
    try:
        with _mapped(path) as directories:
            if is_camera_raw(directories):
                return 0
            main = main_picture(directories)[0]
            found = main.directory
            channels = found.integer(tags.SAMPLES, 1)
            if found.integer(tags.PHOTOMETRIC, -1) == tags.PALETTE:
                channels += 2
            samples = found.integer(tags.WIDTH, 0) * found.integer(tags.HEIGHT, 0) * channels
            size = 2 if found.integer(tags.BITS, 1) > 8 else 1
            # There and back, in 16 bits.
            converted = _metadata(directories, main, grey=channels < 3).icc is not None
            return path.stat().st_size + 2 * samples * (size + (2 if converted or (toned and size == 1) else 0))
    except (ValueError, OSError, ImageError):
        return 0


def _metadata(directories: list[Found], found: Found, *, grey: bool) -> Metadata:
    """The metadata of a picture that is not turned."""
    metadata = read_metadata(directories[0].directory, found)
    width, height = found.directory.integer(tags.WIDTH, 0), found.directory.integer(tags.HEIGHT, 0)
    metadata.make_true(width, height, "tiff", grey=grey)
    return metadata


def profile_of_tiff(path: Path) -> tuple[bytes | None, bool]:
    """The ICC profile of a TIFF file, if there is one, and whether its picture is grey, by its header alone.

    Raises:
        ImageError: the file is damaged.
        OSError: the file cannot be read.
    """
    try:
        with _mapped(path) as directories:
            found = main_picture(directories)[0]
            grey = found.directory.integer(tags.PHOTOMETRIC, 1) in (0, 1)
            return _metadata(directories, found, grey=grey).icc, grey
    except ImageError as error:
        raise ImageError(f"{path} {error}") from error
    except ValueError as error:
        raise ImageError(f"{path} is damaged or cut short: it cannot be decoded ({error})") from error


class BandedTiff:
    """A TIFF file as a source of windows, [h,w,3] RGB, uint8 or uint16; grey is repeated in all three channels.

    Its strips or tiles are decoded as `read_image` decodes them, each as a whole, and kept as long as the windows that
    are asked for touch its rows.

    Raises:
        ImageError: it has more than `max_pixels`, is turned, or is of another kind that is not read in bands, or is
            damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        self._kept: dict[int, tuple[NDArray[Any], NDArray[Any] | None]] = {}
        """Index of a strip or tile, row by row -> its pixels and alpha."""
        self._file = path.open("rb")
        try:
            with _mapped(path) as directories:
                self._open(directories, max_pixels)
        except Exception as error:  # damaged bytes make the decoders raise nearly anything
            self.close()
            raise self._told(error) from error

    def _open(self, directories: list[Found], max_pixels: int) -> None:
        if is_camera_raw(directories):
            raise ImageError(CAMERA_RAW)
        found, lost = main_picture(directories)
        directory = found.directory
        check_size(directory.integer(tags.WIDTH, 0), directory.integer(tags.HEIGHT, 0), max_pixels)
        if orientation_of(found) != 1 or directory.integer(tags.COMPRESSION, 1) == tags.OLD_JPEG:
            raise ImageError("does not fit into memory, and a turned picture or old-style JPEG is not read in bands")
        self._pixels = TiffPixels(directory, self._read)
        metadata = _metadata(directories, found, grey=self._pixels.grey)
        self.exif, self.icc, self.xmp, self.iptc = metadata.exif, metadata.icc, metadata.xmp, metadata.iptc
        self.resolution = metadata.resolution
        check_not_hdr(self.icc)
        self.lost = (*lost, *self._pixels.lost, *metadata.lost)
        """See `Picture`, for this and the metadata."""
        self.dtype: np.dtype[Any] = self._pixels.dtype
        self.shape = self._pixels.height, self._pixels.width, 3
        """[H,W,3], also of a grey file."""
        self.grey, self.alpha = self._pixels.grey, self._pixels.alpha
        """Whether the file has one colour channel, and whether it has alpha."""

    def __getitem__(self, key: Key) -> NDArray[Any]:
        """A window of rows and columns (slices of step 1), [h,w,3], as a new array.

        Raises:
            ImageError: a strip or tile of it is damaged.
        """
        rows, cols = key if isinstance(key, tuple) else (key, slice(None))
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = cols.indices(self.shape[1])
        window = np.empty((bottom - top, right - left, 3), self.dtype)
        for pixels, _, target in self._parts(top, bottom, left, right):
            window[target] = pixels[..., None] if self.grey else pixels
        return window

    def alpha_band(self, top: int, bottom: int) -> NDArray[Any]:
        """The alpha of some rows, [bottom - top,W]. Only of a file that has alpha.

        Raises:
            ImageError: a strip or tile of it is damaged.
        """
        band = np.empty((bottom - top, self.shape[1]), self.dtype)
        for _, alpha, target in self._parts(top, bottom, 0, self.shape[1]):
            band[target] = alpha
        return band

    def _parts(
        self, top: int, bottom: int, left: int, right: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None, tuple[slice, slice]]]:
        """Yields pixels and alpha of a window by strips or tiles, with the place of each in the window."""
        height, width, across = self._pixels.rows, self._pixels.columns, self._pixels.across
        kept_rows = range(top // height, -(-bottom // height))
        self._kept = {index: part for index, part in self._kept.items() if index // across in kept_rows}
        wanted = [down * across + side for down in kept_rows for side in range(left // width, -(-right // width))]
        try:
            for index, pixels, alpha in self._pixels.decoded(index for index in wanted if index not in self._kept):
                self._kept[index] = pixels, alpha
        except Exception as error:  # damaged bytes make the decoders raise nearly anything
            raise self._told(error) from error
        for index in wanted:
            down, side = index // across * height, index % across * width
            rows = slice(max(top, down), min(bottom, down + height))
            columns = slice(max(left, side), min(right, side + width))
            inner = slice(rows.start - down, rows.stop - down), slice(columns.start - side, columns.stop - side)
            target = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
            pixels, alpha = self._kept[index]
            yield pixels[inner], None if alpha is None else alpha[inner], target

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> BandedTiff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def _told(self, error: Exception) -> Exception:
        """The error with the name of the file; what a decoder says of damaged bytes becomes an `ImageError`."""
        if isinstance(error, ImageError):
            return ImageError(f"{self._path} {error}")
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if isinstance(error, MemoryError):
            return ImageError(f"{self._path} does not fit into memory, not even in bands: its strips are too large")
        reason = " ".join(str(error).split()) or type(error).__name__
        return ImageError(f"{self._path} is damaged or cut short: it cannot be decoded ({reason})")


class RawBands:
    """A result of the shape and dtype of `source`, whose rows are written to `stream` uncompressed and read back.

    A grey result is stored as one channel, the rounded mean of the three that are written (`grey_of`).
    """

    def __init__(self, stream: BinaryIO, source: Shaped) -> None:
        self.shape, self.dtype, self.grey = source.shape, source.dtype, source.grey
        self._stream = stream
        self._row = self.shape[1] * (1 if self.grey else 3) * self.dtype.itemsize
        stream.truncate(self.shape[0] * self._row)

    def __setitem__(self, rows: slice, pixels: NDArray[Any]) -> None:
        self._stream.seek(rows.start * self._row)
        self._stream.write(np.ascontiguousarray(grey_of(pixels) if self.grey else pixels).data)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Rows as the pipeline wrote them, [n,W,3], read-only; of a grey result, the stored channel three times."""
        band = self.band(rows.start, rows.stop)
        return np.broadcast_to(band, (*band.shape[:2], 3))

    def band(self, top: int, bottom: int) -> NDArray[Any]:
        """Rows from `top` to `bottom` as they are stored, [n,W,1 or 3], read-only."""
        self._stream.seek(top * self._row)
        data = self._stream.read((bottom - top) * self._row)
        return np.frombuffer(data, self.dtype).reshape(bottom - top, self.shape[1], -1)


def pack_bands(result: Banded, source: BandedTiff, strips: BinaryIO) -> bytes:
    """Packs a result as `encode_tiff` does, with the source's alpha and metadata.

    Args:
        strips: an empty file that takes the compressed strips; it is rewound at the end.

    Returns:
        The bytes that come before the strips: header and directory.

    Raises:
        ImageError: the source is damaged.
        OSError: a temporary file cannot be read or written, as when the disk is full.
    """

    def band(top: int, bottom: int) -> NDArray[Any]:
        pixels = result.band(top, bottom)
        return np.dstack([pixels, source.alpha_band(top, bottom)]) if source.alpha else pixels

    shape = *result.shape[:2], (1 if result.grey else 3) + source.alpha
    layout = TiffLayout(shape, result.dtype, source, alpha=source.alpha)
    head = layout.head([strips.write(strip) for strip in layout.strips(band)])
    strips.seek(0)
    return head
