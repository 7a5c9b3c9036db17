"""Warnings point at the user's line, wherever that is."""

from __future__ import annotations

from typing import Any

import pytest

from mirnet_deploy.errors import MirnetDeployWarning, missing, not_loaded, warn


@pytest.mark.parametrize("names", [{}, {"__name__": "theirs"}])
def test_code_without_a_module_is_warned_too(names: dict[str, Any]) -> None:
    """As it is in an embedded interpreter, and in `exec`."""
    with pytest.warns(MirnetDeployWarning, match="hello"):
        exec("warn('hello')", names | {"warn": warn})


def test_a_library_that_is_there_and_does_not_load_is_not_called_missing() -> None:
    missed = missing("A needs B", ModuleNotFoundError("No module named 'b'"), "cpu")
    assert str(missed) == """A needs B (No module named 'b'): pip install "mirnet-deploy[cpu]\""""
    broken = ImportError("IMPORTANT: READ THIS\n\n20 lines\nb.so: cannot allocate memory\n\n")
    assert str(missing("A needs B", broken, "cpu")) == (
        "A needs B, and a library cannot be loaded: b.so: cannot allocate memory"
    )
    assert not_loaded(ImportError()) == "a library cannot be loaded: ImportError"
