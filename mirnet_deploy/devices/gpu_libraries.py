"""The optional libraries that drive a GPU: pycuda, and NVIDIA's cuda-bindings and cuda-core."""

from __future__ import annotations

import importlib
from typing import Any

from mirnet_deploy.errors import missing


def imported(name: str) -> Any:
    """Imports the module `name` and returns it.

    Raises:
        MissingDependencyError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing("GPUs need pycuda, cuda-bindings and cuda-core", error, "pycuda") from error
