"""One picture, from file to file: in memory, or in bands where it does not fit there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mirnet_deploy.files import file_sha256
from mirnet_deploy.images.colour.conversion import Colour
from mirnet_deploy.images.formats import NAMES, SIXTEEN_BIT_FORMATS, Format, depth_in
from mirnet_deploy.images.picture import Picture, Samples, grey_of, to_8_bit
from mirnet_deploy.images.reading import decode_image, read_file
from mirnet_deploy.images.tiff.bands import BandedTiff, RawBands, bytes_in_memory, pack_bands
from mirnet_deploy.images.tiff.converted import ConvertedSource, RestoredResult
from mirnet_deploy.images.writing import check_encodable, depth_of, encode_image, holds_profile, unkept
from mirnet_deploy.jobs.colours import colour_of, recorded
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.progress import Passes, Show
from mirnet_deploy.jobs.record import Record, stamp_file, stamped
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.machine import available_memory

if TYPE_CHECKING:  # the runtime loads with the first picture
    from mirnet_deploy.pixels import Sink, Source
    from mirnet_deploy.results import PictureInfo


class Model(Protocol):
    """What a job needs of `MIRNetRuntime`."""

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        """Enhances `source`, [H,W,3] RGB uint8 or uint16, into `sink` of the same shape and dtype.

        Several threads call it at once. `advance` is told how many pixels were written, in every pass.
        """

    def takes(self, dtype: Any) -> bool:
        """Whether it takes pictures of this dtype."""


@dataclass
class Made:
    """A picture that was made."""

    info: PictureInfo
    height: int
    width: int
    notes: list[str] = field(default_factory=list)
    """What the user should know about it."""
    colour: Colour = field(default_factory=Colour)
    """How its colours were taken."""


def make_picture(
    task: Task, settings: JobSettings, targets: Targets, model: Model, show: Show, in_memory: int = 1
) -> Made:
    """Enhances the picture of a task and writes the result.

    Args:
        in_memory: pictures that share the memory.

    Raises:
        MirnetDeployError: the picture cannot be read or enhanced, or the target is the user's.
        OSError: a file cannot be read or written.
    """
    make = _in_bands if _needs_bands(task, in_memory, settings) else _in_memory
    return make(task, settings, targets, model, show)


def _in_memory(task: Task, settings: JobSettings, targets: Targets, model: Model, show: Show) -> Made:
    """A picture of any format to any format that can hold it; both are in memory as a whole."""
    data = read_file(task.source)
    picture = decode_image(data, str(task.source), max_pixels=settings.max_pixels)
    allow_8_bit = settings.target_format == task.format
    # Checked before the inference, which may take minutes.
    check_encodable(picture, task.format, allow_8_bit=allow_8_bit)
    _check_writable(task.target.parent)
    colour = colour_of(picture.icc, picture.pixels.dtype, picture.grey, settings, model)
    dark = picture.rgb() if colour.conversion is None else colour.conversion.there(picture.rgb())
    pixels = np.empty_like(dark)
    info = model.enhance_into(dark, pixels, _passes(dark, task, show))
    content = encode_image(
        _finished(picture, pixels, colour, task.format),
        task.format,
        quality=settings.quality,
        subsampling=settings.subsampling,
        allow_8_bit=allow_8_bit,
    )
    record = settings.record(hashlib.sha256(data).hexdigest(), task, recorded(colour, settings))
    with targets.replacing(task.target) as temporary:
        temporary.write_bytes(stamped(content, _with_way(record, info)))
    return Made(info, picture.height, picture.width, _notes(picture, colour, task.format), colour)


def _in_bands(task: Task, settings: JobSettings, targets: Targets, model: Model, show: Show) -> Made:
    """A TIFF to a TIFF. Only the rows in work are in memory, and of the source the strips or tiles that hold them."""
    folder = task.target.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (
        BandedTiff(task.source, settings.max_pixels) as source,
        TemporaryFile(dir=folder) as raw,  # beside the target: the system's temporary folder may lie in memory
        TemporaryFile(dir=folder) as strips,
    ):
        colour = colour_of(source.icc, source.dtype, source.grey, settings, model)
        record = settings.record(file_sha256(task.source), task, recorded(colour, settings))
        conversion = colour.conversion
        dark = source if conversion is None else ConvertedSource(source, conversion)
        pixels = RawBands(raw, dark)
        info = model.enhance_into(dark, pixels, _passes(dark, task, show))
        notes = [*source.lost, *([colour.problem] if colour.problem else [])]
        made = Made(info, *source.shape[:2], notes, colour)
        result = pixels if conversion is None else RestoredResult(pixels, source, conversion)
        head = pack_bands(result, source, strips)
        with targets.replacing(task.target) as temporary:
            with temporary.open("wb") as stream:
                stream.write(head)
                copyfileobj(strips, stream)
            stamp_file(temporary, _with_way(record, info))
        if settings.runtime.tones and dark.dtype == np.uint8:
            made.notes.append("its brightness was set in 8 bits, since it does not fit into memory: it may show steps")
        return made


def _with_way(record: Record, info: PictureInfo) -> Record:
    """A record that says in what way the result was computed."""
    tile_size = "whole" if info.tiles == 1 else "x".join(map(str, info.tile_size))
    return replace(record, backend=info.backend, tile_size=tile_size)


def _passes(source: Source, task: Task, show: Show) -> Callable[[int], None]:
    """The `advance` of `enhance_into` that shows the progress of a picture."""
    return Passes(task.source.name, source.shape[0] * source.shape[1], show).advance


def _check_writable(folder: Path) -> None:
    """Makes a folder if need be, and tries to write there.

    Raises:
        OSError: it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


def _needs_bands(task: Task, in_memory: int, settings: JobSettings) -> bool:
    """Whether a picture, from TIFF to TIFF, would take more than `JobSettings.in_memory`, or its share of half of the
    free memory; False if that is unknown."""
    if task.format != "tiff":
        return False
    most, free = settings.in_memory, None
    if most is None and (free := available_memory()) is not None:
        most = free // (2 * in_memory)
    return most is not None and bytes_in_memory(task.source, toned=settings.runtime.tones) > most


def _finished(picture: Picture, pixels: Samples, colour: Colour, target: Format) -> Picture:
    """The picture with the network's result, [H,W,3]: in its own colour space or, where a file of format `target`
    cannot hold its profile, in sRGB."""
    conversion = colour.conversion
    if conversion is None:
        return picture.with_rgb(pixels)
    if picture.grey:
        pixels = grey_of(pixels)
    if holds_profile(picture, target):
        return replace(picture, pixels=conversion.back(pixels, picture.pixels))
    return replace(picture, pixels=to_8_bit(pixels) if pixels.itemsize > picture.bits // 8 else pixels, icc=None)


def _notes(picture: Picture, colour: Colour, target: Format) -> list[str]:
    """One note per property of the picture that is lost because a file of format `target` cannot hold it, or that the
    network did not know of."""
    notes = [*picture.lost, *([colour.problem] if colour.problem else [])]
    if colour.conversion and not holds_profile(picture, target):
        notes.append("its colours became sRGB")
    if picture.bits == 16 and target not in SIXTEEN_BIT_FORMATS:
        notes.append(f"{depth_of(picture)} bit became 8, since {NAMES[target]} holds no more")
    depth = depth_in(target, picture.bits, picture.depth)
    if 8 < depth < (picture.depth or picture.bits):
        notes.append(f"{depth_of(picture)} bit became {depth}, since {NAMES[target]} holds no more")
    if target == "avif" and depth > 8 and not picture.grey and not (picture.lossless and picture.format == "avif"):
        notes.append("its colours have half the resolution (4:2:0), as OpenCV writes AVIF of more than 8 bit")
    return notes + unkept(picture, target)
