"""What of the CUDA driver shows without a GPU."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any

import pytest

from mirnet_deploy.devices.cuda import RUNTIMES, forget_runtime_error


def test_the_error_of_a_failed_capture_is_dropped_in_the_library_that_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no library is loaded for that."""
    asked: list[str] = []

    def loaded(name: str, mode: int) -> Any:
        assert mode == os.RTLD_NOLOAD
        if name != RUNTIMES[-1]:
            raise OSError(name)
        return SimpleNamespace(cudaGetLastError=lambda: asked.append(name))

    monkeypatch.setattr(ctypes, "CDLL", loaded)
    forget_runtime_error()
    assert asked == [RUNTIMES[-1]]
    monkeypatch.delattr(os, "RTLD_NOLOAD")  # Windows
    forget_runtime_error()
    assert asked == [RUNTIMES[-1]]
