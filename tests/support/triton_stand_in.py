"""A stand-in for `triton_python_backend_utils`, which exists in the processes of Triton's Python backend alone.

`pytest -m triton` holds the same program against the real one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        assert isinstance(value, np.ndarray)
        self._name, self._value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._value


class TritonError:
    INTERNAL, INVALID_ARG = "INTERNAL", "INVALID_ARG"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self.text, self.code = message, code


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class TritonModelException(Exception):
    pass


class Request:
    """What a client sent.

    Args:
        wanted: names of outputs; None for all that the model has.
    """

    def __init__(self, inputs: Mapping[str, np.ndarray], wanted: Sequence[str] | None = None) -> None:
        self.inputs, self.wanted = inputs, wanted

    def requested_output_names(self) -> set[str]:
        every = "enhanced enhanced_uint16 enhanced_float32 enhanced_file info"
        return set(every.split() if self.wanted is None else self.wanted)


def module(log: list[str]) -> Any:
    """The module; what is logged as an error is added to `log`."""
    made: Any = ModuleType("triton_python_backend_utils")
    made.Tensor, made.TritonError, made.InferenceResponse = Tensor, TritonError, InferenceResponse
    made.TritonModelException = TritonModelException
    made.Logger = SimpleNamespace(log_error=log.append)

    def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
        return Tensor(name, request.inputs[name]) if name in request.inputs else None

    made.get_input_tensor_by_name = get_input_tensor_by_name
    return made


def arguments(folder: Path, config: Any, version: int = 1, kind: str = "CPU") -> dict[str, str]:
    """What `initialize` is given for the model in `folder`, whose parsed configuration is `config`."""
    parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
    return {
        "model_config": json.dumps({"parameters": parameters}),
        "model_repository": str(folder),
        "model_version": str(version),
        "model_instance_kind": kind,
        "model_instance_device_id": "0",
    }
