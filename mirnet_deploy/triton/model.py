"""The model of whole pictures in Triton's Python backend: requests in, responses out. The work is in `whole`.

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
from mirnet_deploy.settings import FINISHING
from mirnet_deploy.triton.config import ENHANCED_FILE, FILE, INFO, PICTURE_TENSORS
from mirnet_deploy.triton.whole import WholePictures, settings_from, to_json


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the artifact that lies beside this version's `model.py`.

        Raises:
            TritonModelException: it cannot be opened, or a parameter is wrong; in one line.
        """
        import triton_python_backend_utils as triton
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # the parameter max_pixels judges
        self._triton = triton
        given = json.loads(args["model_config"]).get("parameters", {})
        folder = Path(args["model_repository"]) / args["model_version"]
        kind = args["model_instance_kind"]
        if kind not in ("CPU", "GPU"):
            raise triton.TritonModelException(f"the instance is of KIND_{kind}; expected KIND_CPU or KIND_GPU")
        try:
            settings, max_pixels = settings_from(
                {name: value["string_value"] for name, value in given.items()},
                f"cuda:{args['model_instance_device_id']}" if kind == "GPU" else "cpu",
            )
            artifact = next(path for path in (folder / "model.plan", folder / "model.onnx") if path.is_file())
            self._pictures = WholePictures(artifact, settings, max_pixels)
        except StopIteration:
            raise triton.TritonModelException(f"{folder} holds neither model.onnx nor model.plan") from None
        except OSError as error:  # with its path: the server's log alone has it
            raise triton.TritonModelException(one_line(str(error))) from error
        except (MirnetDeployError, MemoryError) as error:
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
            tensors = self._results(request)
        except Exception as error:  # whatever it is, the other requests are to be answered
            if not isinstance(error, MirnetDeployError | MemoryError):
                triton.Logger.log_error(traceback.format_exc())
            code = "INVALID_ARG" if isinstance(error, ImageError | UsageError) else "INTERNAL"
            return triton.InferenceResponse(error=triton.TritonError(_said(error), getattr(triton.TritonError, code)))
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in tensors.items()])

    def _results(self, request: Any) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs by name that a request asks for and its input has."""
        sent = {name: self._value(request, name) for name in (*PICTURE_TENSORS, FILE, *FINISHING)}
        pictures = [name for name in (*PICTURE_TENSORS, FILE) if sent[name] is not None]
        if len(pictures) != 1:
            found = f"the inputs {' and '.join(pictures)}" if pictures else "no picture"
            raise UsageError(f"the request has {found}; expected one of {', '.join((*PICTURE_TENSORS, FILE))}")
        (name,) = pictures
        result = ENHANCED_FILE if name == FILE else PICTURE_TENSORS[name][0]
        wanted = {result, INFO} & set(request.requested_output_names())
        if not wanted:
            raise UsageError(f"the request has the input {name} and asks for neither {result} nor {INFO}")
        finish = {each: float(sent[each].item()) for each in FINISHING if sent[each] is not None}
        if name == FILE:
            made = self._pictures.enhance_file(sent[FILE].item(), finish)
            value, said = _text(made.content), to_json(made.info, made.notes)
        else:
            value, info = self._pictures.enhance(sent[name], finish)
            said = to_json(info, [])
        outputs = {result: value, INFO: _text(said.encode())}
        return {each: outputs[each] for each in outputs if each in wanted}

    def _value(self, request: Any, name: str) -> Any:
        tensor = self._triton.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, MirnetDeployError):
        return str(error)
    if isinstance(error, OSError):
        return one_line(error.strerror or type(error).__name__)  # the client is told no paths of the server
    return one_line(f"{type(error).__name__}: {first_line(error)}")


def _text(content: bytes) -> np.ndarray[Any, Any]:
    return np.array([content], dtype=object)
