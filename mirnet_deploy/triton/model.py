"""The model of whole pictures in Triton's Python backend: requests in, responses out. The work is in `serving`.

`TritonPythonModel` and its methods are named by Triton
(https://github.com/triton-inference-server/python_backend), which runs each instance in a process of its own.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.errors import ImageError, MirnetDeployError, UsageError, first_line, one_line
from mirnet_deploy.triton.config import ENHANCED_FILE, FILE, INFO, PICTURES, WISHES
from mirnet_deploy.triton.serving import WholePictures, settings_from, to_json


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the artifact that lies beside this version's `model.py`.

        Raises:
            TritonModelException: it cannot be opened, or a parameter is wrong; in one line.
        """
        import triton_python_backend_utils as triton
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # `JobSettings.max_pixels` judges
        self._triton = triton
        given = json.loads(args["model_config"]).get("parameters", {})
        folder = Path(args["model_repository"]) / args["model_version"]
        gpu = args["model_instance_kind"] == "GPU"
        try:
            settings = settings_from(
                {name: value["string_value"] for name, value in given.items()},
                f"cuda:{args['model_instance_device_id']}" if gpu else "cpu",
            )
            artifact = next(path for path in (folder / "model.plan", folder / "model.onnx") if path.is_file())
            self._pictures = WholePictures(artifact, settings)
        except StopIteration:
            raise triton.TritonModelException(f"{folder} holds neither model.onnx nor model.plan") from None
        except (MirnetDeployError, MemoryError, OSError) as error:
            raise triton.TritonModelException(_said(error)) from error

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; one that fails is an error of one line, and the others are answered."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Frees the model."""
        self._pictures.close()

    def _answer(self, request: Any) -> Any:
        triton = self._triton
        try:
            results = self._results(request)
        except Exception as error:  # whatever it is, the other requests are to be answered
            if not isinstance(error, MirnetDeployError | MemoryError | OSError):
                triton.Logger.log_error(traceback.format_exc())
            code = "INVALID_ARG" if isinstance(error, ImageError | UsageError) else "INTERNAL"
            return triton.InferenceResponse(error=triton.TritonError(_said(error), getattr(triton.TritonError, code)))
        wanted = set(request.requested_output_names())
        tensors = [triton.Tensor(name, value) for name, value in results.items() if name in wanted]
        return triton.InferenceResponse(tensors)

    def _results(self, request: Any) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs of a request by name, those that it did not ask for too."""
        sent = {name: self._value(request, name) for name in (*PICTURES, FILE, *WISHES)}
        pictures = [name for name in (*PICTURES, FILE) if sent[name] is not None]
        if len(pictures) != 1:
            found = f"the inputs {' and '.join(pictures)}" if pictures else "no picture"
            raise UsageError(f"the request has {found}; expected one of {', '.join((*PICTURES, FILE))}")
        (name,) = pictures
        wishes = {each: float(sent[each].item()) for each in WISHES if sent[each] is not None}
        if name == FILE:
            made = self._pictures.enhance_file(sent[FILE].item(), wishes)
            return {ENHANCED_FILE: _text(made.content), INFO: _text(to_json(made.info, made.notes).encode())}
        pixels, info = self._pictures.enhance(sent[name], wishes)
        return {PICTURES[name][0]: pixels, INFO: _text(to_json(info, []).encode())}

    def _value(self, request: Any, name: str) -> Any:
        tensor = self._triton.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, MirnetDeployError):
        return str(error)
    return one_line(f"{type(error).__name__}: {first_line(error)}")


def _text(content: bytes) -> np.ndarray[Any, Any]:
    return np.array([content], dtype=object)
