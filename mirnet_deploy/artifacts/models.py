"""Models by name and by file: which file a name stands for, and which ONNX file lies beside a plan."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from mirnet_deploy.artifacts.fleet import is_fleet
from mirnet_deploy.errors import ArtifactError
from mirnet_deploy.files import file_sha256

PACKAGE = Path(__file__).parent.parent
MODELS = PACKAGE / "models"
"""The folder of the models that ship with the package."""
OWN_MODELS = user_data_path("mirnet-deploy", appauthor=False) / "models"
"""The folder of models that users export themselves, from weights that are too large for the package."""
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
"""Compared in lower case."""


def bundled_models() -> list[str]:
    """Names of the models in the package, sorted; each stands for `models/NAME.onnx`."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def is_checkpoint(path: Path) -> bool:
    """Whether the suffix is one of a checkpoint's."""
    return path.suffix.lower() in CHECKPOINT_SUFFIXES


def resolve_model(model: str | Path) -> Path:
    """The file, or the folder of a fleet, that `model` means: a path is taken as it is; a text without suffix or folder
    is the name of a model in `MODELS` or `OWN_MODELS`, or else of a fleet in the working directory.

    Raises:
        ArtifactError: no model has that name. Where its weights are at hand, the text holds the command that makes it.
    """
    path = Path(model)
    if isinstance(model, Path) or path.suffix or path.name != model:
        return path
    for folder in (MODELS, OWN_MODELS):
        if (folder / f"{model}.onnx").is_file():
            return folder / f"{model}.onnx"
    if is_fleet(path):
        return path
    stored = Path("weights") / f"{model}.safetensors"
    for weights in (stored, PACKAGE.parent / stored):  # of a clone: in the working directory, or beside the code
        if weights.is_file():
            raise ArtifactError(
                f"model {model!r} is too large for the package; make it once from its weights: mirnet-deploy export "
                f"{weights} --name {model} --interface float --builder none --output-dir {OWN_MODELS}"
            )
    known = ", ".join(bundled_models()) or "none in this installation"
    raise ArtifactError(
        f"no model {model!r}; expected a path to an .onnx or .plan file, or a bundled model: {known}; others are found "
        f"as {OWN_MODELS / model}.onnx, exported from {stored} of a clone of mirnet-deploy, where it has that"
    )


def lasting(model: str | Path) -> str | Path:
    """What stands for `model` in a process with another working directory: a name as it is, a path made absolute.

    Raises:
        ArtifactError: as `resolve_model`.
    """
    return Path(model).absolute() if resolve_model(model) == Path(model) else model


def onnx_beside(plan: Path, onnx_sha256: str | None) -> Path | None:
    """The ONNX file beside `plan` that runs without a GPU; None where there is none.

    That is `NAME.onnx` for `NAME.plan` (FP32, the faster one on a CPU), else the file that the plan was built from: the
    one with `onnx_sha256`.
    """
    namesake = plan.with_suffix(".onnx")
    if namesake.is_file():
        return namesake
    return onnx_source(plan, onnx_sha256)


def onnx_source(plan: Path, onnx_sha256: str | None) -> Path | None:
    """The ONNX file beside `plan` that it was built from, the one with `onnx_sha256`; None where there is none."""
    return next((path for path in sorted(plan.parent.glob("*.onnx")) if file_sha256(path) == onnx_sha256), None)
