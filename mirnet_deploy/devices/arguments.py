"""The arguments of the kernels of `kernels.cu`: the one place in Python that knows their order and types.

Each kernel has a tuple with the names and types of `kernels.cu`; a test compares the two. `kernels` and
`result_kernels` fill the tuples, and `host_kernels` computes the same from the same tuples.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

from mirnet_deploy.devices.base import Kernel

KINDS: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
"""The dtypes that a picture may have, and the number by which kernels are told."""
ORIGIN = np.dtype([("row", np.int32), ("col", np.int32)])
"""`struct Origin`: where a tile begins in the padded picture."""
CORE = np.dtype([(name, np.int32) for name in ("row", "col", "to_row", "to_col", "height", "width")])
"""`struct Core`: where a core begins in its tile (row, col) and in the picture (to_row, to_col), and its size."""

REPORT = np.dtype(
    [("low", np.float64), ("high", np.float64), ("squares", np.uint64), ("largest", np.float32), ("flaws", np.int32)]
)
"""`struct Report`: the natural logarithms between which the gain of the tone curve lies (equal where it was not looked
for), the sum of the squared differences of two pictures in units of 1 / `UNIT`, the largest difference, and the number
of NaN and infinite values."""
UNIT = 1 << 42
"""Squared differences are added up as whole numbers, so that their order does not matter."""
CANDIDATES, PARTS = 64, 64
"""Gains that are tried at once between two bounds, and parts of the histogram whose sums are formed by themselves."""

Pointer = Annotated[int, np.uintp]
Int64 = Annotated[int, np.int64]
Int32 = Annotated[int, np.int32]
Double = Annotated[float, np.float64]


class CutArguments(NamedTuple):
    """The arguments of `cut`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    padded_height: Int32
    padded_width: Int32
    origins: Pointer
    batch: Pointer
    planar: Int32
    tile_height: Int32
    tile_width: Int32


class PutArguments(NamedTuple):
    """The arguments of `put`."""

    batch: Pointer
    planar: Int32
    tile_height: Int32
    tile_width: Int32
    cores: Pointer
    source: Pointer
    source_pitch: Int64
    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    flaws: Pointer


class ShrinkArguments(NamedTuple):
    """The arguments of `shrink`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    small: Pointer
    small_pitch: Int64
    small_height: Int32
    small_width: Int32
    small_kind: Int32


class CorrectArguments(NamedTuple):
    """The arguments of `correct`."""

    measured: Pointer
    defect: Pointer
    context: Pointer
    size: Int32


class DefectArguments(NamedTuple):
    """The arguments of `defect`."""

    statistics: Pointer
    cores: Pointer
    tiles: Int32
    measured: Pointer
    defect: Pointer
    size: Int32


class ClearArguments(NamedTuple):
    """The arguments of `clear`."""

    values: Pointer
    size: Int32


class CheckArguments(NamedTuple):
    """The arguments of `check`."""

    values: Pointer
    size: Int32
    flaws: Pointer


class CountArguments(NamedTuple):
    """The arguments of `count`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bins: Pointer


class WeighArguments(NamedTuple):
    """The arguments of `weigh`."""

    bins: Pointer
    report: Pointer
    sums: Pointer


class NarrowArguments(NamedTuple):
    """The arguments of `narrow`."""

    sums: Pointer
    wanted: Double
    report: Pointer


class ToneArguments(NamedTuple):
    """The arguments of `tone`."""

    result: Pointer
    result_pitch: Int64
    result_channels: Int32
    result_kind: Int32
    result_bgr: Int32
    source: Pointer
    source_pitch: Int64
    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    report: Pointer
    curve: Int32
    strength: Double


class DifferArguments(NamedTuple):
    """The arguments of `differ`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    other: Pointer
    other_pitch: Int64
    report: Pointer


Arguments = (
    CutArguments
    | PutArguments
    | ShrinkArguments
    | CorrectArguments
    | DefectArguments
    | ClearArguments
    | CheckArguments
    | CountArguments
    | WeighArguments
    | NarrowArguments
    | ToneArguments
    | DifferArguments
)
ARGUMENTS: dict[Kernel, type[Arguments]] = {
    "cut": CutArguments,
    "put": PutArguments,
    "shrink": ShrinkArguments,
    "correct": CorrectArguments,
    "defect": DefectArguments,
    "clear": ClearArguments,
    "check": CheckArguments,
    "count": CountArguments,
    "weigh": WeighArguments,
    "narrow": NarrowArguments,
    "tone": ToneArguments,
    "differ": DifferArguments,
}


TYPES: dict[type[Any], tuple[Any, ...]] = {
    kind: tuple(hint.__metadata__[0] for hint in get_type_hints(kind, include_extras=True).values())
    for kind in ARGUMENTS.values()
}
"""The numpy types of the arguments, in order, by the kernel's tuple."""


def typed(arguments: Arguments) -> tuple[Any, ...]:
    """The arguments as numpy scalars of their types, as a CUDA kernel takes them."""
    return tuple(kind(value) for kind, value in zip(TYPES[type(arguments)], arguments, strict=True))
