"""The primary context of a CUDA device through pycuda, for whoever drives it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mirnet_deploy.engines.base import first_line
from mirnet_deploy.errors import EngineError, MissingDependencyError


class Gpu:
    """The primary context of one device, current only inside `active`."""

    def __init__(self, index: int) -> None:
        try:
            self.driver: Any = importlib.import_module("pycuda.driver")
        except ImportError as error:
            raise MissingDependencyError(
                f'plans need pycuda ({first_line(error)}): pip install "mirnet-deploy[tensorrt]"'
            ) from error
        try:
            self.driver.init()
            self.device: Any = self.driver.Device(index)
            self._primary: Any = self.device.retain_primary_context()
        except self.driver.Error as error:
            raise EngineError(
                f"cuda:{index} cannot be used: {first_line(error)}; see `mirnet-deploy doctor`"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether the context is still held."""
        return self._primary is not None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the context current for this thread, and puts back what was."""
        if self._primary is None:
            raise EngineError("the engine is closed; open a new one")
        self._primary.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def release(self) -> None:
        """Gives the context back; torch and others may hold it still."""
        self._primary.detach()
        self._primary = None
