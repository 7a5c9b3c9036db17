"""How close tiles come to the whole picture: local, fast and exact, on photographs, with the time that each takes.

A picture is compared with its whole result; one that would not fit into memory whole (`subjects.need`),
with exact tiles of `REFERENCE_TILE` pixels, at a tolerance of `REFERENCE_TOLERANCE` dB. All results are
float32 and are compared before they are rounded (a model of the interface `image` rounds by itself): rounding to 8 bits
would hide the differences in question. Figures after rounding are reported beside the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.benchmarks.borders import Pixels, largest_step
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.subjects.need import too_much
from mirnet_deploy.consistency.prediction import difference
from mirnet_deploy.errors import DataError, DeviceMemoryError, UsageError
from mirnet_deploy.images.formats import SUFFIXES
from mirnet_deploy.machine import describe_machine
from mirnet_deploy.pairs import images_in, read_rgb8
from mirnet_deploy.results import Enhanced
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import Consistency, RuntimeSettings, TileSetting

REFERENCE_TILE = 1024
REFERENCE_TOLERANCE = 80.0
MODES: tuple[Consistency, ...] = ("local", "fast", "exact")


@dataclass(frozen=True)
class TilingSettings:
    """What to compare.

    Raises:
        UsageError: a mode is unknown, or the tile is "none".
    """

    pictures: Path
    """A picture, or a folder of them."""
    middle: Size | None = None
    """Larger pictures are cut to a middle of this size."""
    modes: tuple[str, ...] = MODES
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    """Its `tile` is the side to measure in pixels, or "auto" for 256 and 512."""

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise UsageError(f"--modes names {mode!r}; expected {', '.join(MODES)}")
        if self.runtime.tile == "none":
            raise UsageError("--tile none cuts no tiles; expected auto or a side in pixels")

    @property
    def tiles(self) -> tuple[int, ...]:
        """Sides of the tiles to measure, in pixels."""
        return (256, 512) if isinstance(self.runtime.tile, str) else (self.runtime.tile,)

    def open(self, model: str, **settings: Any) -> MIRNetRuntime:
        """A runtime of `model` with `runtime`, except for some `settings` that replace it."""
        return MIRNetRuntime(model, self.runtime, **settings)


@dataclass(frozen=True)
class TilingRow:
    """One picture in tiles of one size in one mode, against its reference."""

    picture: str
    width: int
    height: int
    reference: str
    """What the result was compared with (`reference_of`)."""
    tile: int
    tiles: int
    """Side of a tile in pixels, as asked for, and number of tiles."""
    mode: Consistency
    psnr: float
    """dB, of unrounded results in [0, 1]."""
    psnr_8_bit: float | None
    """dB, of both results rounded to 8 bits; None where these are equal."""
    max_abs: float
    """Largest difference, in 8-bit levels."""
    step: float
    """Largest step across a border between two tiles, in 8-bit levels (`largest_step`)."""
    predicted_psnr: float | None
    """dB; None where nothing was predicted, also below."""
    predicted_max_abs: float | None
    """In 8-bit levels."""
    passes: int
    sampled: float
    """Share of the picture that was measured beside the passes."""
    seconds: float
    ratio: float | None
    """`seconds` divided by those of local for the same picture and tile; None for local itself, and where local was not
    measured before."""

    @property
    def foreseen(self) -> bool | None:
        """Whether the true error is at or under the predicted one, in both measures; None without a prediction."""
        if self.predicted_psnr is None or self.predicted_max_abs is None:
            return None
        return self.psnr >= self.predicted_psnr and self.max_abs <= self.predicted_max_abs


@dataclass
class TilingReport:
    """Everything that one run of `mirnet-deploy bench --tiling` measured."""

    model: str
    backend: str
    machine: dict[str, Any]
    commit: str | None = field(default_factory=running_commit)
    """Of the code that measured: see `artifacts.version.commit_of`."""
    rows: list[TilingRow] = field(default_factory=list)

    @property
    def worst(self) -> TilingRow | None:
        """The exact result of several tiles that is furthest from its reference; None where there is none."""
        exact = [row for row in self.rows if row.mode == "exact" and row.tiles > 1]
        return min(exact, key=lambda row: row.psnr, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": "mirnet-deploy bench --tiling", "tool_version": __version__, **asdict(self)}

    def to_json(self) -> str:
        """The JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"


def pictures_below(place: Path) -> list[Path]:
    """The pictures in a folder and below, or the one picture that `place` is.

    Raises:
        DataError: there is none.
    """
    found = [place] if place.is_file() else images_in(place, recursive=True)
    if not found:
        raise DataError(f"{place} holds no pictures; expected {', '.join(SUFFIXES)}")
    return found


def picture_name(path: Path, pictures: Path) -> str:
    """The name of a picture in reports: its path below the folder `pictures`, or its file name if it is `pictures`."""
    return path.name if path == pictures else path.relative_to(pictures).as_posix()


def measure_tiling(
    model: str, paths: Sequence[Path], settings: TilingSettings, advance: Callable[[], None]
) -> TilingReport:
    """Runs every picture with every tile in every mode, one after the other. `advance` is called once per picture.

    Raises:
        MirnetDeployError: a picture cannot be read, or the model cannot be opened or run.
    """
    with settings.open(model) as runtime:
        report = TilingReport(str(model), runtime.info.backend, describe_machine().to_dict())
        halo = runtime.info.metadata.halo
    for path in paths:
        name = picture_name(path, settings.pictures)
        image = read_middle(path, settings.middle)
        reference = reference_of(model, image, settings)
        for tile in settings.tiles:
            local: float | None = None
            for mode in settings.modes:
                result = tiled(model, image, tile, mode, settings)
                local = result.info.seconds if mode == "local" else local
                report.rows.append(_row(name, image, reference, (tile, halo), result, local))
        advance()
    return report


def tiled(model: str, image: Pixels, tile: int, mode: str, settings: TilingSettings) -> Enhanced:
    """`image` enhanced in tiles of side `tile`; its info has the time, without that of opening the model."""
    with settings.open(model, tile=tile, consistency=mode) as runtime:
        _enhance(runtime, image[:tile, :tile])  # so that what a library does once for a shape is not timed
        return _enhance(runtime, image)


def _enhance(runtime: MIRNetRuntime, image: Pixels) -> Enhanced:
    """Enhances a float32 picture to a float32 one; with the interface `image` by way of uint8 on both sides."""
    if runtime.info.metadata.interface == "float":
        return runtime.enhance_with_info(image)
    result, info = runtime.enhance_with_info(np.rint(image * 255).astype(np.uint8))
    return Enhanced(result.astype(np.float32) / np.float32(255), info)


def read_middle(path: Path, middle: Size | None) -> Pixels:
    """The picture at `path` as `read_rgb8` gives it, cut to its middle where it is larger than `middle`.

    Raises:
        ImageError: the file cannot be read.
    """
    pixels = read_rgb8(path)
    if middle:
        top, left = max(0, pixels.shape[0] - middle.height) // 2, max(0, pixels.shape[1] - middle.width) // 2
        pixels = pixels[top : top + middle.height, left : left + middle.width]
    return pixels.astype(np.float32) / np.float32(255)


def reference_of(model: str, image: Pixels, settings: TilingSettings) -> tuple[str, Pixels]:
    """What tiles of `image` are compared with: its kind in words, and the pixels."""
    with suppress(DeviceMemoryError), settings.open(model, tile="none") as runtime:
        if _fits_whole(runtime, image):
            return "whole", _enhance(runtime, image).pixels
    tile: TileSetting = "auto" if Path(model).suffix == ".plan" else REFERENCE_TILE  # a plan's own, its largest
    with settings.open(model, tile=tile, tolerance=REFERENCE_TOLERANCE, consistency="exact") as runtime:
        result, info = _enhance(runtime, image)
    if info.tiles == 1:
        return "whole", result
    predicted = "" if info.predicted_psnr is None else f" to {info.predicted_psnr:.0f} dB"
    return f"tiles of {max(info.tile_size)}{predicted}", result


def _fits_whole(runtime: MIRNetRuntime, image: Pixels) -> bool:
    """Whether a plan takes the picture at once, and on a CPU memory holds it; a GPU says so by itself."""
    try:
        need = runtime.memory_plan(image.shape[0], image.shape[1], image.dtype).total
    except UsageError:
        return False
    return runtime.info.device != "cpu" or too_much(need) is None


def _row(
    picture: str,
    image: Pixels,
    reference: tuple[str, Pixels],
    geometry: tuple[int, int],
    result: Enhanced,
    local: float | None,
) -> TilingRow:
    """The figures of a result. `geometry` is tile and halo in pixels, `local` the seconds that local took, if known."""
    info = result.info
    psnr, max_abs = difference(result.pixels, reference[1])
    rounded = (np.rint(result.pixels * 255) / 255).astype(np.float32)
    expected = (np.rint(reference[1] * 255) / 255).astype(np.float32)
    return TilingRow(
        picture=picture,
        width=image.shape[1],
        height=image.shape[0],
        reference=reference[0],
        tile=geometry[0],
        tiles=info.tiles,
        mode=info.settings.consistency,
        psnr=psnr,
        psnr_8_bit=None if np.array_equal(rounded, expected) else difference(rounded, expected)[0],
        max_abs=255 * max_abs,
        step=255 * largest_step(result.pixels - reference[1], *geometry),
        predicted_psnr=info.predicted_psnr,
        predicted_max_abs=None if info.predicted_max_abs is None else 255 * info.predicted_max_abs,
        passes=info.passes,
        sampled=info.sampled,
        seconds=info.seconds,
        ratio=None if local is None or info.settings.consistency == "local" else info.seconds / local,
    )


def print_tiling(report: TilingReport, console: Any) -> None:
    """Prints the table, in how many rows the prediction held, and the worst exact result."""
    from rich.table import Table

    table = Table(title=f"Tiles against the whole picture: {report.model}, {report.backend}")
    heads = ("picture", "size", "tile", "mode", "PSNR", "8 bit", "max", "step", "predicted", "passes", "ratio")
    for head in heads:
        table.add_column(head, justify="left" if head in ("picture", "mode") else "right")
    for row in report.rows:
        predicted = "" if row.predicted_psnr is None else f"{row.predicted_psnr:.1f} / {row.predicted_max_abs:.2f}"
        table.add_row(
            row.picture,
            f"{row.width}x{row.height}",
            f"{row.tile} ({row.tiles})",
            row.mode,
            f"{row.psnr:.1f}",
            "equal" if row.psnr_8_bit is None else f"{row.psnr_8_bit:.1f}",
            f"{row.max_abs:.2f}",
            f"{row.step:.2f}",
            predicted,
            f"{row.passes}" + (f" + {row.sampled:.2f}" if row.sampled else ""),
            "" if row.ratio is None else f"{row.ratio:.2f}",
        )
    console.print(table)
    foreseen = [row.foreseen for row in report.rows if row.foreseen is not None and row.tiles > 1]
    if foreseen:
        console.print(f"true error at or under the prediction: {sum(foreseen)} of {len(foreseen)}")
    if report.worst:
        console.print(
            f"worst exact result: {report.worst.psnr:.1f} dB, {report.worst.picture}, tile {report.worst.tile}"
        )
