"""TensorRT and TensorRT-RTX as libraries: how they are imported, and the one logger that each has per process."""

from __future__ import annotations

import importlib
import threading
from collections import deque
from typing import Any

from mirnet_deploy.artifacts.metadata import Builder
from mirnet_deploy.errors import MissingDependencyError, first_line
from mirnet_deploy.machine import TENSORRT_MODULES

RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""Compute capabilities that TensorRT-RTX 1.7 builds for."""
INSTALL: dict[Builder, str] = {
    "tensorrt": 'pip install "mirnet-deploy[tensorrt]"',
    "tensorrt_rtx": 'pip install "mirnet-deploy[rtx]"',
}
"""The command that installs each library."""
_loggers: dict[Any, Any] = {}
_loggers_lock = threading.Lock()


def import_library(name: Builder, what: str) -> Any:
    """The module of the library `name`.

    Args:
        what: the thing that needs the library, for the error's text.

    Raises:
        MissingDependencyError: it is not installed; or it does not load, and the error that says why is the cause.
    """
    broken: Exception | None = None
    for module in TENSORRT_MODULES[name]:
        try:
            return importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == module):
                broken = error
    problem = f" ({first_line(broken)})" if broken else ""
    raise MissingDependencyError(f"{what} needs {name}, which is not here{problem}: {INSTALL[name]}") from broken


def target_of(builder: Builder, capability: str, name: str) -> str:
    """How plans call a GPU that they are for (`ArtifactMetadata.targets`): TensorRT-RTX builds for compute
    capabilities, such as "sm89", TensorRT for one model of GPU, by its name. Neither library loads a plan for another
    target, or one that another version of it built."""
    return capability if builder == "tensorrt_rtx" else name


def logger_of(trt: Any) -> Any:
    """The one logger per library and process. It is never freed: TensorRT uses it even after the objects made with it
    are gone."""
    with _loggers_lock:
        if trt not in _loggers:
            _loggers[trt] = _make_logger(trt)
        return _loggers[trt]


def _make_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps the last warnings and errors. TensorRT calls `log` from any of its threads; a deque allows that."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # super().__init__ does not reach the binding
            self.messages: deque[tuple[bool, str]] = deque(maxlen=64)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.WARNING:
                self.messages.append((severity <= trt.ILogger.ERROR, message))

        def drain(self) -> tuple[list[str], list[str]]:
            """The errors and the warnings since the last call, oldest first."""
            errors: list[str] = []
            warnings: list[str] = []
            while self.messages:
                is_error, message = self.messages.popleft()
                (errors if is_error else warnings).append(message)
            return errors, warnings

        def reason(self) -> str:
            """The last error since `drain` or `reason` was called before, in one line."""
            errors = [text.strip() for text in self.drain()[0] if text.strip()]
            return errors[-1].splitlines()[0] if errors else "TensorRT gave no reason"

    return Logger()
