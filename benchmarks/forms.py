"""The forms in which one checkpoint can be run: PyTorch, ONNX files, a plan, the model that ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mirnet_deploy.machine import cuda_devices, describe_processor

REFERENCE = "PyTorch FP32"
"""The form that all others are compared with."""
HALF_FLAGS = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})
"""Of a processor that computes in half precision: on another one, PyTorch takes many times as long as in float32."""


@dataclass(frozen=True)
class Form:
    """A form, and how it is run."""

    name: str
    engine: str | None = None
    """As `SubjectSpec.engine`; None where it cannot be run."""
    failure: str | None = None
    """Why it cannot be run."""


@dataclass(frozen=True)
class FormFile:
    """An artifact of a checkpoint, or why there is none."""

    path: Path | None
    failure: str | None = None

    def form(self, name: str, how: str = "") -> Form:
        """The form of that name, in which the file is run as `how` says."""
        return Form(name, failure=self.failure) if self.path is None else Form(name, f"{self.path}{how}")


@dataclass(frozen=True)
class FormFiles:
    """What there is of one checkpoint."""

    checkpoint: Path
    fp32: FormFile
    """Its ONNX files, and its plan."""
    fp16: FormFile
    plan: FormFile
    bundled: str | None
    """The name of the model of the package that was exported from it."""


@dataclass(frozen=True)
class FormRow:
    """A form, as it was measured at one size. Where `failure` is set there are no figures, or not all."""

    form: str
    engine: str | None = None
    """Its name among the report's engines, or among the means of its quality; None where it was not run."""
    device: str | None = None
    bytes: int | None = None
    """Size of its file."""
    precision: str | None = None
    precision_proof: str | None = None
    p50_ms: float | None = None
    ratio: float | None = None
    """p50 over that of `REFERENCE`: above 1 is slower."""
    ratio_interval: tuple[float, float] | None = None
    """95 %; see `ratios.ratio_interval`."""
    psnr: float | None = None
    """dB, mean over the pictures of the data, against their ground truth."""
    difference_psnr: float | None = None
    """dB against the result of `REFERENCE`, of the picture where it is least; None where all results are equal
    (`max_levels` is 0), and where none was compared (`max_levels` is None)."""
    max_levels: int | None = None
    """Largest difference from the result of `REFERENCE` at any pixel, of 255."""
    failure: str | None = None


def forms_of(files: FormFiles, device: str) -> list[Form]:
    """Every form, the reference first. What is known not to run here has the reason; the others tell when opened.

    torch.compile is not among them: it takes a compiler and minutes, and `bench peers` has it.

    Args:
        device: as in `RuntimeSettings`.
    """
    checkpoint = str(files.checkpoint)
    half = _lacks_half(checkpoint) if device == "cpu" or not cuda_devices() else None
    return [
        Form(REFERENCE, checkpoint),
        Form(f"{REFERENCE}, channels last", f"{checkpoint}@channels-last"),
        Form("PyTorch FP16", None if half else f"{checkpoint}@fp16", half),
        files.fp32.form("ONNX FP32, ONNX Runtime", "@onnxruntime"),
        files.fp16.form("ONNX FP16, ONNX Runtime", "@onnxruntime"),
        files.fp32.form("ONNX FP32, OpenVINO", "@openvino"),
        files.fp32.form("ONNX FP32, OpenVINO in bfloat16", "@bf16"),
        files.plan.form("TensorRT plan"),
        Form(f"bundled {files.bundled}", files.bundled)
        if files.bundled
        else Form("bundled model", failure=f"no model of this package was made from {checkpoint}"),
    ]


def _lacks_half(checkpoint: str) -> str | None:
    """Why half precision is left out on this processor; None where it has it."""
    if HALF_FLAGS & set(describe_processor()["flags"] or ()):
        return None
    return (
        f"this processor is not known to compute in half precision (none of {', '.join(sorted(HALF_FLAGS))}), without "
        f"which PyTorch takes far longer than in FP32; to measure it all the same: --engine {checkpoint}@fp16"
    )
