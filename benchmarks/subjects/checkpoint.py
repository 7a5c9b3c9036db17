"""Checkpoints run by PyTorch, as something to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.subjects.base import HOW, SubjectReport, SubjectSpec, size_of
from mirnet_deploy.errors import EngineError, MissingDependencyError
from mirnet_deploy.pixels import padded


class CheckpointSubject:
    """A checkpoint run by PyTorch, always on the whole picture: in float32, the reference that artifacts are compared
    with; or, as `HOW` says, channels last, in half precision, compiled as well, or with pools that see only what is
    near.

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
                f'{spec.model} is a checkpoint and needs torch: pip install "mirnet-deploy[export]"'
            ) from error
        from mirnet_deploy.benchmarks.subjects.local_pools import LocalPools
        from mirnet_deploy.training.checkpoint import load_checkpoint

        if spec.settings.threads is not None:
            torch.set_num_threads(spec.settings.threads)
        torch.backends.cudnn.allow_tf32 = False  # it rounds to 10 bits of mantissa, which is not float32
        loaded = load_checkpoint(Path(spec.model))
        device = spec.settings.device
        if device == "auto":
            device = "cuda:0" if torch.cuda.is_available() else "cpu"
        network: Any = loaded.network
        how = spec.how or ""
        half, self._compiled = how in ("fp16", "compiled"), how.startswith("compiled")
        self.concurrent = not self._compiled  # what is compiled has one set of buffers
        self.pools: object = LocalPools(int(how[-3:])) if how.startswith("local") else None
        self._format = torch.contiguous_format if not how or self.pools else torch.channels_last
        if half:
            network = network.half_with_islands()
        network = network.to(memory_format=self._format)
        try:
            self._network = network.to(device)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(
                f"device {device} is not there for PyTorch {torch.__version__}; use --device cpu"
            ) from error
        self._device = device
        self.network = self._network
        """As it is before it is compiled."""
        if self._compiled:
            # On CUDA, its CUDA graphs too: without them it is the launches that are measured. Shapes are fixed, since
            # what is compiled for any shape is slower.
            mode = "reduce-overhead" if device.startswith("cuda") else "default"
            self._network = torch.compile(self._network, mode=mode, dynamic=False)
        types = {str(parameter.dtype).removeprefix("torch.") for parameter in self._network.parameters()}
        self.report = SubjectReport(
            name=spec.engine,
            path=spec.model,
            sha256=loaded.sha256,
            kind="checkpoint",
            interface="float",
            precision="fp16" if half else "fp32",
            precision_proof=f"all parameters {', '.join(sorted(types))}",
            weights=loaded.weights,
            network=loaded.config.to_dict(),
            backend=f"torch {torch.__version__}{', ' + HOW[spec.how] if spec.how else ''}",
            device=device,
            tile="none",
            file_bytes=size_of(spec.model),
        )

    @property
    def name(self) -> str:
        """See `Subject.name`."""
        return self.report.name

    graphs = "off"
    batch = 1

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Subject.enhance`: padded to multiples of 4 as the runtime pads, run whole, clamped, rounded."""
        import torch

        from mirnet_deploy.training.config import SIZE_MULTIPLE

        height, width = image.shape[:2]
        batch = torch.from_numpy(padded(image, SIZE_MULTIPLE)).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            batch = batch.contiguous(memory_format=self._format)
            output = (self._network(batch, self.pools)[0].float().clamp(0, 1) * 255).round().to(torch.uint8)
        pixels: NDArray[np.uint8] = output.permute(1, 2, 0)[:height, :width].contiguous().cpu().numpy()
        return pixels

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """See `Subject.shapes_of`."""
        from mirnet_deploy.training.config import SIZE_MULTIPLE

        self.enhance(image)
        return [{"input": (1, 3, *padded(image, SIZE_MULTIPLE).shape[:2])}]

    def computes_in(self) -> str:
        """See `Subject.computes_in`: that of its parameters, on any device."""
        return self.report.precision

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._network, self.network
        if self._compiled:
            import torch

            torch.compiler.reset()  # with 8 versions of a function it would give up compiling, and only warn
