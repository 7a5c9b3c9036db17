"""The schema of an artifact's metadata, which lies inside an ONNX file and in the sidecar beside every artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from mirnet_deploy.errors import ArtifactError

if TYPE_CHECKING:  # the command line's options need this module and must not load an array library
    import numpy as np

FORMAT_VERSION = 1
"""Raised when a reader of the old format would misread the new one."""

METADATA_KEY = "mirnet_deploy"
"""The key in an ONNX file's `metadata_props` under which the same JSON lies, with null for the file's own hash."""

Kind = Literal["onnx", "plan"]
Interface = Literal["float", "image"]
Precision = Literal["fp32", "fp16"]
Builder = Literal["tensorrt", "tensorrt_rtx"]
ChannelOrder = Literal["rgb", "bgr"]

TENSOR_NAMES: Mapping[Interface, tuple[str, str]] = {"float": ("input", "output"), "image": ("image", "enhanced")}
"""Names of the picture that goes in and the one that comes out, by interface."""


@dataclass(frozen=True)
class Parity:
    """An artifact's error against the FP32 PyTorch network on real crops; None where no device could run it."""

    executed: str
    """What ran it, for example "onnxruntime 1.32.0 CPUExecutionProvider", or "not executed"."""
    crops: int = 0
    max_abs: float | None = None
    """Largest absolute difference: in [0, 1] units (float interface) or in 8-bit levels (image interface)."""
    psnr: float | None = None
    """PSNR in dB of the output against the reference output, data range 1 (float) or 255 (image)."""
    residual_psnr: float | None = None
    """PSNR in dB of output minus input; its peak is the largest absolute residual of the reference."""


@dataclass(frozen=True)
class ArtifactMetadata:
    """Everything the runtime must know about an artifact before it loads it.

    Raises:
        ArtifactError: a field holds a value that this version does not know.
    """

    kind: Kind
    name: str
    interface: Interface
    precision: Precision
    """As asked for."""
    precision_proof: str
    """What was proven of it, in words, for example "211 of 211 convolutions compute in HALF (network after parse)"."""
    network: Mapping[str, int]
    """Hyper-parameters: n_feat, n_rrg, n_msrb."""
    weights: Literal["ema", "plain"]
    tile: int
    """Side in pixels of the tile that the artifact was made for; a multiple of `size_multiple`."""
    halo: int
    """Pixels on each inner side of a tile that are computed and discarded."""
    reach: int | None = None
    """Pixels over which anything can be carried from input to output for any weights, the pools' means fixed
    (structural reach). The halo is smaller where these weights look less far. None where unknown."""
    size_multiple: int = 4
    """Height and width of what the network takes are multiples of it."""
    batch: int = 1
    """The most tiles that a plan takes at once."""
    profile: Mapping[str, Mapping[str, list[int]]] | None = None
    """Plan only: input name -> {"min": shape, "opt": shape, "max": shape}."""
    channel_order: ChannelOrder = "rgb"
    """Of the pictures that go in and come out."""
    context: int = 0
    """K, the length of the context (`CONTEXT_INPUTS`); 0 where the artifact takes the picture alone."""
    stages: int | None = None
    """The longest chain of global pools that depend on one another."""
    opset: int | None = None
    sha256: str | None = None
    """Of the artifact; None inside the artifact itself."""
    onnx_sha256: str | None = None
    """Plan only: of the ONNX file that it was built from."""
    checkpoint_sha256: str | None = None
    builder: Builder | None = None
    builder_version: str | None = None
    targets: list[str] | None = None
    """Plan only: compute capabilities such as "sm89", or the name of the GPU that it was built on."""
    parity: Parity | None = None
    tool_version: str = ""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ArtifactError(
                f"metadata has format version {self.format_version}; this mirnet-deploy reads {FORMAT_VERSION}"
            )
        choices: dict[str, tuple[Any, ...]] = {
            "kind": get_args(Kind),
            "interface": get_args(Interface),
            "precision": get_args(Precision),
            "builder": (None, *get_args(Builder)),
            "channel_order": get_args(ChannelOrder),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ArtifactError(f"metadata has {name} {getattr(self, name)!r}; expected one of {allowed}")
        for name in ("n_feat", "n_rrg", "n_msrb"):
            value = self.network.get(name) if isinstance(self.network, Mapping) else None
            if type(value) is not int or value < 1:
                raise ArtifactError(f"metadata has {name} {value!r} of the network; expected a whole number from 1")
        for name, least in (("tile", 1), ("halo", 0), ("size_multiple", 1), ("batch", 1), ("context", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ArtifactError(f"metadata has {name} {value!r}; expected a whole number from {least}")
        if self.tile < self.size_multiple or self.tile % self.size_multiple or self.halo % self.size_multiple:
            raise ArtifactError(
                f"metadata has tile {self.tile} and halo {self.halo}; expected multiples of {self.size_multiple}"
            )

    @property
    def batch_dtype(self) -> np.dtype[Any]:
        """Of the pictures that go in and come out: float32 or uint8, by the interface."""
        import numpy as np

        return np.dtype(np.float32 if self.interface == "float" else np.uint8)

    @property
    def batch_axes(self) -> tuple[int, int, int]:
        """The axes of number, height and width in a batch, [N,3,H,W] or [N,H,W,3], by the interface."""
        return (0, 2, 3) if self.interface == "float" else (0, 1, 2)

    def profile_shapes(self) -> tuple[list[int], list[int], list[int]]:
        """Min, opt and max shape of a plan's picture input: each [N,3,H,W] or [N,H,W,3], by the interface.

        Raises:
            ArtifactError: the metadata holds no such profile.
        """
        name = TENSOR_NAMES[self.interface][0]
        try:
            least, best, most = ([int(n) for n in (self.profile or {})[name][bound]] for bound in ("min", "opt", "max"))
            good = all(0 < a <= b <= c for a, b, c in zip(least, best, most, strict=True)) and len(least) == 4
        except (KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise ArtifactError(
                f"metadata has profile {self.profile!r}; a plan needs min, opt and max of {name!r}, each of 4 numbers"
            )
        return least, best, most

    def to_json(self) -> str:
        """The JSON text of a sidecar."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> ArtifactMetadata:
        """Reads what `to_json` wrote; `source` names it in errors.

        Raises:
            ArtifactError: not JSON, a field is missing, unknown or of a wrong value, or another format version.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not an object")
            version = values.get("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(f"format version {version}; this mirnet-deploy reads {FORMAT_VERSION}")
            unknown = sorted(set(values) - {field.name for field in fields(cls)})
            if unknown:
                raise ValueError(f"unknown fields {', '.join(unknown)}")
            if values.get("parity") is not None:
                values["parity"] = Parity(**values["parity"])
            return cls(**values)
        except (ValueError, TypeError, RecursionError, ArtifactError) as error:
            raise ArtifactError(f"{source} is not metadata of mirnet-deploy: {error}") from error
