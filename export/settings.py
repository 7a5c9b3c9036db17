"""What an export is asked to make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from mirnet_deploy.artifacts.metadata import ArtifactMetadata, ChannelOrder, Interface
from mirnet_deploy.errors import UsageError
from mirnet_deploy.training.config import SIZE_MULTIPLE, MIRNetConfig

DEFAULT_OPSET = 20
OPSETS = range(18, 24)
"""Below 18 the exporter would have to convert down; above 23 the TensorRT parsers in use cannot read the graph."""


@dataclass(frozen=True)
class ExportSettings:
    """Names, shapes and interface of the artifacts of one export.

    Raises:
        UsageError: a value is out of its range.
    """

    interface: Interface = "image"
    """`image`: uint8 [N,H,W,3] in and out. `float`: float32 [N,3,H,W], in [0, 1] going in, not clamped coming out."""
    name: str = "mirnet"
    """Stem of the files: `NAME.onnx`, `NAME.fp16.onnx`, `NAME.plan`."""
    tile: int = 512
    """Side in pixels of the largest picture that a plan takes, and the one it is tuned for."""
    halo: int = 0
    """Pixels on each inner side of a tile that the runtime computes and discards; 0 until the weights are measured."""
    batch: int = 1
    """Largest number of tiles that a plan takes at once."""
    opset: int = DEFAULT_OPSET
    plain: bool = False
    """Artifacts take the picture alone: without context inputs and the statistics output, tiles cannot share means."""

    channel_order: ChannelOrder = "rgb"
    """Order of the channels in the pictures that artifacts take and give."""

    @classmethod
    def of(cls, metadata: ArtifactMetadata) -> ExportSettings:
        """The settings of which an artifact was made."""
        names = ("interface", "name", "tile", "halo", "batch", "channel_order")
        opset = DEFAULT_OPSET if metadata.opset is None else metadata.opset
        given = {name: getattr(metadata, name) for name in names}
        return cls(plain=not metadata.context, opset=opset, **given)

    def context(self, config: MIRNetConfig) -> int:
        """Number of values in the context that artifacts of such a network take; 0 for plain ones."""
        return 0 if self.plain else config.context_size

    def __post_init__(self) -> None:
        if self.interface not in get_args(Interface):
            raise UsageError(f"interface is {self.interface!r}; expected one of {', '.join(get_args(Interface))}")
        if self.channel_order not in get_args(ChannelOrder):
            raise UsageError(f"channel order is {self.channel_order!r}; expected rgb or bgr")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", self.name):
            raise UsageError(f"name is {self.name!r}; expected letters, digits, '_', '-' and '.', at most 64 of them")
        if suffix := re.search(r"(\.fp16)?\.(onnx|plan|json)$|\.fp16$", self.name, re.IGNORECASE):
            stem = self.name[: suffix.start()] or "mirnet"
            raise UsageError(
                f"name is {self.name!r}; expected the stem of the files: {stem} makes {stem}.onnx and so on"
            )
        for field, value in (("tile", self.tile), ("halo", self.halo)):
            if value % SIZE_MULTIPLE:
                raise UsageError(f"{field} is {value}; expected a multiple of {SIZE_MULTIPLE}")
        if self.halo < 0 or self.tile < SIZE_MULTIPLE or self.tile <= 2 * self.halo:
            raise UsageError(f"tile is {self.tile} with halo {self.halo}; expected a tile larger than two halos")
        if self.batch < 1:
            raise UsageError(f"batch is {self.batch}; expected at least 1")
        if self.opset not in OPSETS:
            raise UsageError(f"opset is {self.opset}; expected {OPSETS.start} to {OPSETS.stop - 1}")
