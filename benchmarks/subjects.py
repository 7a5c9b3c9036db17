"""What can be measured: a bundled model, an ONNX file or a plan through the runtime, a checkpoint through PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ArtifactError, EngineError, MissingDependencyError
from mirnet_deploy.machine import cuda_device_count
from mirnet_deploy.metadata import read_sidecar

CHECKPOINT_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".safetensors"})


@dataclass(frozen=True)
class SubjectSpec:
    """How to open an engine, in plain values that travel to another process."""

    engine: str
    """A bundled model's name, an .onnx or .plan file, or a checkpoint."""
    device: str = "auto"
    tile: str | int = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class SubjectReport:
    """What was measured, as shown and as stored."""

    name: str
    path: str | None
    sha256: str | None
    kind: str
    """"onnx", "plan" or "checkpoint"."""
    interface: str
    precision: str
    precision_proof: str
    """From the sidecar, which holds what the export proved; of a checkpoint, its parameters' types."""
    weights: str
    """"ema" or "plain"."""
    network: Mapping[str, int]
    backend: str
    device: str
    tile: str
    """As asked for, and the size of the tiles of a picture that does not run whole."""


class Subject(Protocol):
    """An opened engine with its report; a context manager that closes it."""

    report: SubjectReport

    @property
    def name(self) -> str: ...

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[Any]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_subject(spec: SubjectSpec) -> Subject:
    """Opens what `spec.engine` names, by its suffix.

    Raises:
        EngineError: the device is not there; of a plan, the text names the command for its ONNX file.
        ArtifactError, CheckpointError, MissingDependencyError: the file or a library is missing or wrong.
    """
    path = Path(spec.engine)
    if path.suffix.lower() in CHECKPOINT_SUFFIXES:
        return CheckpointSubject(spec)
    if path.suffix == ".plan":
        _refuse_without_gpu(path)
    return RuntimeSubject(spec)


def _refuse_without_gpu(plan: Path) -> None:
    metadata = read_sidecar(plan)
    if cuda_device_count() == 0:
        onnx = _source_of(plan, metadata.onnx_sha256)
        raise EngineError(
            f"{plan} is a TensorRT plan and this machine has no CUDA GPU; "
            f"measure its ONNX file instead: mirnet-deploy bench --engine {onnx}"
        )


def _source_of(plan: Path, sha256: str | None) -> Path:
    """The ONNX file beside the plan that it was built from, by the sidecars' hashes; otherwise the one of its name."""
    for sidecar in sorted(plan.parent.glob("*.onnx.json")):
        onnx = sidecar.with_suffix("")
        try:
            if sha256 is not None and read_sidecar(onnx).sha256 == sha256:
                return onnx
        except ArtifactError:  # a file of another kind; it is not ours to judge here
            continue
    return plan.with_suffix(".onnx")


class CheckpointSubject:
    """A checkpoint run by PyTorch in float32: always the whole picture, the reference that artifacts are held against.

    Raises:
        CheckpointError: the file is not a MIRNet.
        EngineError: the device is not there.
        MissingDependencyError: torch is not installed.
    """

    def __init__(self, spec: SubjectSpec) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError(
                f'{spec.engine} is a checkpoint and needs torch: pip install "mirnet-deploy[export]"'
            ) from error
        from mirnet_deploy.training.checkpoint import load_checkpoint

        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        loaded = load_checkpoint(Path(spec.engine))
        device = ("cuda:0" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
        try:
            self._network = loaded.network.to(device)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(
                f"device {device} is not there for PyTorch {torch.__version__}; use --device cpu"
            ) from error
        self._device = device
        types = {str(parameter.dtype).removeprefix("torch.") for parameter in self._network.parameters()}
        self.report = SubjectReport(
            name=spec.engine,
            path=spec.engine,
            sha256=loaded.sha256,
            kind="checkpoint",
            interface="float",
            precision="fp32",
            precision_proof=f"all parameters {', '.join(sorted(types))}",
            weights=loaded.weights,
            network=loaded.config.to_dict(),
            backend=f"torch {torch.__version__}",
            device=device,
            tile="none",
        )

    @property
    def name(self) -> str:
        """As in the report."""
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H,W,3] RGB in and out: padded to multiples of 4 as the runtime pads, run whole, clamped, rounded."""
        import torch

        height, width = image.shape[:2]
        batch = torch.from_numpy(padded(image)).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            output = (self._network(batch)[0].clamp(0, 1) * 255).round().to(torch.uint8)
        pixels: NDArray[np.uint8] = output.permute(1, 2, 0)[:height, :width].contiguous().cpu().numpy()
        return pixels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._network


def padded(image: NDArray[np.uint8], multiple: int = 4) -> NDArray[np.uint8]:
    """[H,W,3] filled up to multiples of `multiple` at the bottom and the right: reflected, or repeated where a side
    is too short to reflect.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        missing = -length % multiple
        widths = [(0, missing if each == axis else 0) for each in range(3)]
        image = np.pad(image, widths, mode="reflect" if missing < length else "edge") if missing else image
    return image


class RuntimeSubject:
    """An artifact through `MIRNetRuntime`, as any user runs it.

    Raises:
        ArtifactError, EngineError, MissingDependencyError, UsageError: as `MIRNetRuntime` raises them.
    """

    def __init__(self, spec: SubjectSpec) -> None:
        from mirnet_deploy.runtime import MIRNetRuntime

        tile: Any = spec.tile
        self._runtime = MIRNetRuntime(spec.engine, device=spec.device, tile=tile, threads=spec.threads)
        info = self._runtime.info
        self.report = SubjectReport(
            name=spec.engine,
            path=info.path,
            sha256=info.metadata.sha256,
            kind=info.metadata.kind,
            interface=info.metadata.interface,
            precision=info.metadata.precision,
            precision_proof=info.metadata.precision_proof,
            weights=info.metadata.weights,
            network=dict(info.metadata.network),
            backend=info.backend,
            device=info.device,
            tile=f"{info.tile} (tiles {info.tile_size[1]}x{info.tile_size[0]})" if info.tile_size else str(info.tile),
        )

    @property
    def name(self) -> str:
        """As in the report."""
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H,W,3] RGB in and out, of any size."""
        output: NDArray[np.uint8] = self._runtime.enhance(image)
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.close()
