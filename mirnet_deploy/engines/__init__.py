"""Engines: one small interface over ONNX Runtime and TensorRT. `open_engine` picks by the kind of the artifact."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from mirnet_deploy.engines.base import Engine
from mirnet_deploy.errors import ArtifactError, UsageError

__all__ = ["Engine", "bundled_models", "open_engine", "resolve_model"]

MODELS = Path(__file__).parent.parent / "models"
"""The folder of the models that ship in the package."""
OWN_MODELS = user_data_path("mirnet-deploy", appauthor=False) / "models"
"""The folder of the models that the user has exported from weights that are too large for the package."""


def bundled_models() -> list[str]:
    """Names of the models in the package, sorted; each stands for `models/NAME.onnx`."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def resolve_model(model: str | Path) -> Path:
    """The artifact that `model` means: a path, or a name (a text without suffix and folder), of a bundled model or of
    one in `OWN_MODELS`.

    Raises:
        ArtifactError: no such model; the text says how to get it, where its weights are at hand.
    """
    path = Path(model)
    if isinstance(model, Path) or path.suffix or path.name != model:
        return path
    for folder in (MODELS, OWN_MODELS):
        if (folder / f"{model}.onnx").is_file():
            return folder / f"{model}.onnx"
    stored = Path("weights") / f"{model}.safetensors"
    for weights in (stored, MODELS.parent.parent / stored):  # of a clone: the working directory, or where we run from
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


def open_engine(model: str | Path, device: str = "auto", threads: int | None = None, graphs: bool = True) -> Engine:
    """Loads an artifact of `mirnet-deploy export` after every check that needs no engine library.

    Args:
        model: a bundled model's name, an `.onnx` file (ONNX Runtime) or a `.plan` file (TensorRT).
        device: "auto" (the first GPU if the engine can use one, else the CPU), "cpu", "cuda" or "cuda:N".
        threads: threads that one run may use on the CPU; None leaves it to the library (all cores).
        graphs: replay a plan's batches as CUDA graphs, where it lets itself be done.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library or the device refuses.
        MissingDependencyError: the inference library is not installed.
        UsageError: `device` or `threads` is not a value it can have.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; expected at least 1")
    path = resolve_model(model)
    if path.suffix == ".plan":
        from mirnet_deploy.engines.tensorrt import TensorRTEngine

        return TensorRTEngine(path, device, graphs)
    if path.suffix == ".onnx":
        from mirnet_deploy.engines.onnxruntime import open_onnx

        return open_onnx(path, device, threads)
    raise ArtifactError(
        f"{path} is neither an .onnx nor a .plan file; turn a checkpoint into one with `mirnet-deploy export {path}`"
        if path.suffix in {".pt", ".pth", ".safetensors"}
        else f"{path} is neither an .onnx nor a .plan file of `mirnet-deploy export`"
    )
