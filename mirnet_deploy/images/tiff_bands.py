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

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import tiff
from mirnet_deploy.images.ifd import ORIENTATION, Directory, read_directory
from mirnet_deploy.images.picture import check_size, grey_of

Key = tuple[slice, slice] | slice
"""Rows and columns, or rows alone."""


class Described(Protocol):
    """A picture [H,W,3] that is worked on in bands."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def grey(self) -> bool:
        """Whether its three channels are one."""


class Banded(Described, Protocol):
    """A result, whose rows are read as they are stored."""

    def band(self, top: int, bottom: int) -> NDArray[Any]:
        """Rows from `top` to `bottom`, [n,W,1 or 3]."""


@contextmanager
def mapped_directory(path: Path) -> Iterator[Directory]:
    """The first directory of a classic TIFF file, without reading the rest of it. Valid inside the block only.

    Raises:
        ValueError: the file is not a classic TIFF, or ends too early.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as block:
        yield read_directory(block)


def bytes_in_memory(path: Path, *, toned: bool) -> int:
    """Bytes of memory to enhance a TIFF file without bands: the file, its samples, and as many for the result.

    With an ICC profile, what the network takes and gives lies beside them (`colour`).

    Args:
        toned: whether its brightness is set; 8-bit pictures are then worked on in 16 bits.

    Returns:
        0 where the file is not a classic TIFF or cannot be read.
    """
    try:
        with mapped_directory(path) as found:
            samples = found.integer(tiff.WIDTH, 0) * found.integer(tiff.HEIGHT, 0) * found.integer(tiff.SAMPLES, 1)
            size = max(1, max(found.integers(tiff.BITS, (8,))) // 8)
            converted = tiff.ICC_PROFILE in found.fields  # there and back, in 16 bits
            return path.stat().st_size + 2 * samples * (size + (2 if converted or (toned and size == 1) else 0))
    except (ValueError, OSError):
        return 0


def profile_of_tiff(path: Path) -> tuple[bytes | None, bool]:
    """The ICC profile of a TIFF file, if there is one, and whether its picture is grey, by its header alone.

    Raises:
        ImageError: the file is damaged.
        OSError: the file cannot be read.
    """
    try:
        with mapped_directory(path) as found:
            return tiff.icc_of_tiff(found), found.integer(tiff.PHOTOMETRIC, 1) in (0, 1)
    except ValueError as error:
        raise ImageError(f"{path} is damaged or cut short: it cannot be decoded ({error})") from error


class BandedTiff:
    """A TIFF file as a source of windows, [h,w,3] RGB, uint8 or uint16; grey is repeated in all three channels.

    The file has strips or tiles, uncompressed or in any compression that tifffile knows. Each is decoded as a whole and
    kept as long as the windows that are asked for touch its rows.

    Raises:
        ImageError: it has more than `max_pixels`, or is not a single upright picture of interleaved 8- or 16-bit grey
            or RGB without alpha, or is damaged.
        MissingDependencyError: tifffile is not installed.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        try:
            import tifffile
        except ImportError as error:
            raise MissingDependencyError(
                f'{path} does not fit into memory, and to read it in bands takes: pip install "mirnet-deploy[large]"'
            ) from error
        self._path = path
        try:
            with mapped_directory(path) as found:
                self.exif, self.icc = tiff.exif_of_tiff(found.block), tiff.icc_of_tiff(found)
                width, height = found.integer(tiff.WIDTH, 0), found.integer(tiff.HEIGHT, 0)
                single_upright = found.integer(ORIENTATION, 1) == 1 and not found.next
        except ValueError as error:
            raise self._damaged(error) from error
        try:
            check_size(width, height, max_pixels)
        except ImageError as error:
            raise ImageError(f"{path} {error}") from error
        self._open(tifffile)
        if self._kind not in ((1, 1, 1), (2, 3, 1)) or self.dtype not in (np.uint8, np.uint16) or not single_upright:
            self.close()
            raise ImageError(
                f"{path} does not fit into memory, and only a single upright picture of interleaved 8- or 16-bit grey "
                "or RGB without alpha is read in bands"
            )
        self.grey = self._kind[1] == 1
        """Whether the file has one channel."""
        self._across = -(-self.shape[1] // self._segment[1])
        self._kept: dict[int, NDArray[Any]] = {}
        """Index of a strip or tile, row by row -> its samples (see `_decoded`)."""

    def __getitem__(self, key: Key) -> NDArray[Any]:
        """A window of rows and columns (slices of step 1), [h,w,3], as a new array.

        Raises:
            ImageError: a strip or tile of it is damaged.
        """
        rows, cols = key if isinstance(key, tuple) else (key, slice(None))
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = cols.indices(self.shape[1])
        window = np.empty((bottom - top, right - left, 3), self.dtype)
        height, width = self._segment
        kept_rows = range(top // height, -(-bottom // height))
        self._kept = {index: part for index, part in self._kept.items() if index // self._across in kept_rows}
        for down in kept_rows:
            for across in range(left // width, -(-right // width)):
                part = self._decoded(down * self._across + across)
                first = max(top, down * height), max(left, across * width)
                last = min(bottom, (down + 1) * height), min(right, (across + 1) * width)
                inner = part[
                    first[0] - down * height : last[0] - down * height,
                    first[1] - across * width : last[1] - across * width,
                ]
                try:
                    window[first[0] - top : last[0] - top, first[1] - left : last[1] - left] = inner
                except ValueError as error:  # it holds fewer rows or columns than its place takes
                    raise self._damaged(error) from error
        return window

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> BandedTiff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, tifffile: Any) -> None:
        """Opens the file and reads how its first page is stored."""
        try:
            self._file = tifffile.TiffFile(self._path)
        except Exception as error:  # damaged bytes make the decoder raise nearly anything
            raise self._damaged(error) from error
        try:
            page = self._page = self._file.pages[0]
            self._kind = int(page.photometric), int(page.samplesperpixel), int(page.planarconfig)
            self.dtype: np.dtype[Any] = np.dtype(page.dtype)
            self.shape = (int(page.imagelength), int(page.imagewidth), 3)
            """[H,W,3], also of a grey file."""
            self._segment = int(page.chunks[0]), int(page.chunks[1])
            """Height and width of a strip or tile."""
            if min(self._segment) < 1:
                raise ValueError(f"strips or tiles of {self._segment[1]}x{self._segment[0]}")
        except Exception as error:
            self.close()
            raise self._damaged(error) from error

    def _decoded(self, index: int) -> NDArray[Any]:
        """The samples of a strip or tile, [h,w,1 or 3]; the last strip may have fewer rows than the others."""
        if index not in self._kept:
            try:
                self._file.filehandle.seek(self._page.dataoffsets[index])
                data = self._file.filehandle.read(self._page.databytecounts[index])
                segment = self._page.decode(data, index)[0]
                self._kept[index] = np.asarray(segment)[0]
            except Exception as error:
                raise self._damaged(error) from error
        return self._kept[index]

    def _damaged(self, error: Exception) -> ImageError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return ImageError(f"{self._path} is damaged or cut short: it cannot be decoded ({reason})")


class RawBands:
    """A result of the shape and dtype of `source`, whose rows are written to `stream` uncompressed and read back.

    A grey result is stored as one channel, the rounded mean of the three that are written (`grey_of`).
    """

    def __init__(self, stream: BinaryIO, source: Described) -> None:
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
    """Packs a result as `encode_tiff` does, with the source's EXIF and ICC profile.

    Args:
        strips: an empty file that takes the compressed strips; it is rewound at the end.

    Returns:
        The bytes that come before the strips: header and directory.

    Raises:
        ImageError: the file would pass the 4 GB of a classic TIFF.
        OSError: a temporary file cannot be read or written, as when the disk is full.
    """
    shape = *result.shape[:2], 1 if result.grey else 3
    layout = tiff.TiffLayout(shape, result.dtype, source.exif, source.icc)
    head = layout.head([strips.write(strip) for strip in layout.strips(result.band)])
    strips.seek(0)
    return head
