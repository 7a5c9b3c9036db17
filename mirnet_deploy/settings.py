"""What a user may ask of a runtime: one frozen value, from the command line down to the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeGuard, cast, get_args

from mirnet_deploy.artifacts.metadata import ChannelOrder
from mirnet_deploy.errors import UsageError

Consistency = Literal["exact", "fast", "local"]
TileSetting = int | Literal["auto", "none"]
Brightness = float | Literal["auto"]
Backend = Literal["auto", "onnxruntime", "openvino"]
Precision = Literal["auto", "fp32", "bf16"]

_RECORDED = {"recorded": True}
"""Marks a field that decides how a result looks, and therefore belongs in its record."""


FINISHING = ("brightness", "strength")
"""The fields that act on results, after the network."""
MOST_THREADS = 4096
"""More than any machine has processors, and few enough for libraries to begin with."""


@dataclass(frozen=True)
class RuntimeSettings:
    """How a runtime enhances pictures.

    Every field is checked when a value is made.

    Raises:
        UsageError: a field has a value that it cannot have.
    """

    device: str = "auto"
    """"auto" (the first GPU if the engine can use one, else the CPU), "cpu", "cuda" or "cuda:N"."""
    backend: Backend = field(default="auto", metadata=_RECORDED)
    """The library that runs an ONNX file: "onnxruntime", or on the CPU "openvino"; their results differ by rounding.
    "auto" is ONNX Runtime on a GPU, and on the CPU the one that was fastest here (`engines.choice`)."""
    precision: Precision = field(default="auto", metadata=_RECORDED)
    """In which the CPU computes: "fp32", or "bf16" (bfloat16, by OpenVINO, on processors that have it); "auto" is fp32
    with a backend that is named, and otherwise what was fastest here with a result within 50 dB of FP32. A GPU computes
    as the file was exported."""
    tile: TileSetting = field(default="auto", metadata=_RECORDED)
    """"auto", "none" (always whole), or a side in pixels: a multiple of 4 and more than twice the model's halo. With
    "auto" an ONNX model takes a picture whole that fits into `limits.whole_bytes`, else in square tiles of side
    `limits.TILE_SIDE`, or of what memory holds; a plan takes its largest shape."""
    consistency: Consistency = field(default="exact", metadata=_RECORDED)
    """How tiles agree. "exact": as if the picture ran whole; passes are made until the result is predicted to be within
    `tolerance`. "fast": with means guessed from a thumbnail, in one pass. "local": every tile by itself, as in other
    tools."""
    tolerance: float = field(default=60.0, metadata=_RECORDED)
    """PSNR in dB that "exact" must reach before rounding. At 60 no pixel may be off by more than 1/255 either; at other
    values that limit changes in proportion, but not below 0.2/255, twice `tiling.BORDER_ERROR`. In bfloat16 its own
    rounding is allowed beside both: 56.4 dB instead of 60, and 4/256 (`consistency.prediction`)."""
    brightness: Brightness = field(default="auto", metadata=_RECORDED)
    """Mean of every result over pixels and channels, in [0, 1], set by a tone curve that lets highlights roll off
    (`mirnet_deploy.brightness`); "auto" leaves it to the network."""
    strength: float = field(default=1.0, metadata=_RECORDED)
    """Share of the result, in [0, 1], in its blend with the picture as it was; applied after `brightness`."""
    channel_order: ChannelOrder = "rgb"
    """Of every picture: "rgb", or "bgr" as in OpenCV. Neither costs a pass over the picture."""
    batch: int = 1
    """Tiles of one picture to run at once; memory grows with it."""
    threads: int | None = None
    """Threads that one run may use on the CPU; None leaves it to the library (all cores)."""
    max_memory: int | None = None
    """Bytes that one picture may take, of the GPU's memory or else of the host's; None for all that there is. Tiles get
    smaller and pictures go through in bands until the memory plan (`MIRNetRuntime.memory_plan`) stays within it. More
    than `limits.WHOLE_BYTES` is also what a picture may run whole in, up to half of the free memory."""
    whole_pixels: int | None = None
    """Pixels up to which an ONNX model takes a picture whole with the tile "auto", however much memory is free: then
    the tiles, and with them the result, are the same on every machine. None for what "auto" says above."""
    alone: bool = False
    """Whether pictures come one at a time, and nothing else on this machine enhances any meanwhile: then "auto" takes
    larger ones whole in OpenVINO (`limits.WHOLE_BYTES_ALONE`), where much memory is free. The command `enhance` sets it
    where no other one holds its lock."""
    graphs: bool = True
    """Whether a GPU replays batches that come again as CUDA graphs. Where that is refused, a warning and
    `MIRNetRuntime.graphs` say so."""

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        if self.device != "auto":
            device_index(self.device)
        if not _is_one_of(self.tile, ("auto", "none")) and not _is_count(self.tile):
            raise UsageError(f"tile is {self.tile!r}; expected 'auto', 'none' or a whole number of pixels")
        for name, choices in (
            ("backend", get_args(Backend)),
            ("precision", get_args(Precision)),
            ("consistency", get_args(Consistency)),
            ("channel_order", get_args(ChannelOrder)),
        ):
            if not _is_one_of(getattr(self, name), choices):
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if not (_is_number(self.tolerance) and 0 < self.tolerance < float("inf")):
            raise UsageError(f"tolerance is {self.tolerance!r}; expected a PSNR in dB, above 0")
        if not _is_one_of(self.brightness, ("auto",)) and not _is_share(self.brightness):
            raise UsageError(f"brightness is {self.brightness!r}; expected 'auto' or a number from 0 to 1")
        if not _is_share(self.strength):
            raise UsageError(f"strength is {self.strength!r}; expected a number from 0 to 1")
        if not _is_count(self.batch):
            raise UsageError(f"batch is {self.batch!r}; expected a whole number of at least 1")
        for name, unit in (
            ("threads", "a whole number"),
            ("max_memory", "a whole number of bytes"),
            ("whole_pixels", "a whole number of pixels"),
        ):
            value = getattr(self, name)
            if value is not None and not (_is_count(value) and (name != "threads" or value <= MOST_THREADS)):
                most = f" and at most {MOST_THREADS}" if _is_count(value) else ""
                raise UsageError(f"{name} is {value!r}; expected {unit}, at least 1{most}")
        if neither := [name for name in ("alone", "graphs") if not isinstance(getattr(self, name), bool)]:
            raise UsageError(f"{neither[0]} is {getattr(self, neither[0])!r}; expected True or False")

    @property
    def tones(self) -> bool:
        """Whether a tone curve changes the brightness of results."""
        return self.brightness != "auto"

    @property
    def finishes(self) -> bool:
        """Whether anything is done to results after the network."""
        return self.tones or self.strength != 1

    @property
    def only_on_cpu(self) -> bool:
        """Whether nothing but the CPU can do what they ask for, so that the device "auto" is the CPU."""
        return self.backend == "openvino" or self.precision == "bf16"

    def finishing(self, changes: Mapping[str, float]) -> Self:
        """These settings with another `brightness` or `strength`: all that may differ from picture to picture.

        Raises:
            TypeError: another field should change.
            UsageError: a value is out of range.
        """
        if unknown := sorted(set(changes) - set(FINISHING)):
            raise TypeError(f"{unknown[0]!r} is not a picture's own; expected {' or '.join(FINISHING)}")
        return self.changed(changes) if changes else self

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These settings with some fields changed.

        Raises:
            TypeError: there is no field of that name.
            UsageError: a field has a value that it cannot have.
        """
        known = [each.name for each in fields(self)]
        if unknown := sorted(set(changes) - set(known)):
            raise TypeError(f"no setting {unknown[0]!r}; expected {', '.join(known)}")
        return replace(self, **changes)

    def recorded(self) -> dict[str, str | int | float | None]:
        """The settings that decide how a result looks, as a record stores them.

        A setting that the first version lacked is left out at its default, so that what older versions made stays done.

        >>> RuntimeSettings(consistency="fast").recorded()
        {'consistency': 'fast', 'tile': 'auto'}
        >>> RuntimeSettings(brightness=0.4).recorded()
        {'brightness': 0.4, 'tolerance': 60.0, 'strength': 1.0, 'tile': 'auto', 'consistency': 'exact'}
        """
        values = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.metadata.get("recorded") and getattr(self, each.name) != each.default
        }
        values.pop("tolerance", None)
        if self.consistency == "exact":
            values["tolerance"] = self.tolerance
        if self.finishes:
            values |= {"brightness": self.brightness, "strength": self.strength}
        return {**values, "tile": str(self.tile), "consistency": self.consistency}


def device_index(device: str) -> int | None:
    """The number of a CUDA device; None for the CPU.

    >>> device_index("cpu"), device_index("cuda"), device_index("cuda:1")
    (None, 0, 1)

    Raises:
        UsageError: the text is something else, "auto" included.
    """
    if device == "cpu":
        return None
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind == "cuda" and (device == "cuda" or (index.isascii() and index.isdigit())):
        return int(index or 0)
    raise UsageError(f"device is {device!r}; expected auto, cpu, cuda or cuda:N")


def parse_tile(text: str) -> TileSetting:
    """A tile as a user writes it.

    >>> parse_tile("auto"), parse_tile("512")
    ('auto', 512)

    Raises:
        UsageError: the text is something else.
    """
    if text in ("auto", "none"):
        return cast(Literal["auto", "none"], text)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"tile is {text!r}; expected auto, none or a side in pixels, for example 512")
    return int(text)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python, which JSON and ONNX Runtime take; anything else as it is."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _is_one_of(value: object, choices: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in choices


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1
