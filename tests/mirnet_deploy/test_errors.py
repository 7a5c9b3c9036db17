"""Warnings point at the user's line, wherever that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirnet_deploy.errors import (
    ImageError,
    MirnetDeployWarning,
    MissingDependencyError,
    extra_module,
    missing,
    not_loaded,
    warn,
)
from mirnet_deploy.pixels import check_picture


@pytest.mark.parametrize("names", [{}, {"__name__": "theirs"}])
def test_code_without_a_module_is_warned_too(names: dict[str, Any]) -> None:
    """As it is in an embedded interpreter, and in `exec`."""
    with pytest.warns(MirnetDeployWarning, match="hello"):
        exec("warn('hello')", names | {"warn": warn})


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nextafter(np.float32(1), np.float32(2)), "0 to 1.0000001"), (1.5, "0 to 1.5"), (-1e-9, "-1e-09 to 0")],
)
def test_a_value_just_beyond_its_range_is_told_from_the_range(value: float, said: str) -> None:
    picture = np.zeros((2, 2, 3), np.float32)
    picture[0, 0, 0] = value
    with pytest.raises(ImageError, match=f"float32 values from {said}; expected"):
        check_picture(picture, "float")


def test_a_library_that_is_there_and_does_not_load_is_not_called_missing() -> None:
    missed = missing("A needs B", ModuleNotFoundError("No module named 'b'"), "cpu")
    assert str(missed) == """A needs B (No module named 'b'): pip install "mirnet-deploy[cpu]\""""
    broken = ImportError("IMPORTANT: READ THIS\n\n20 lines\nb.so: cannot allocate memory\n\n")
    assert str(missing("A needs B", broken, "cpu")) == (
        "A needs B, and a library cannot be loaded: b.so: cannot allocate memory"
    )
    assert not_loaded(ImportError()) == "a library cannot be loaded: ImportError"


def test_the_library_of_an_extra_is_broken_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_codec.py").write_text("raise ImportError('libcodec.so.3: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError) as caught:
        extra_module("broken_codec", "A needs B", "heif")
    assert str(caught.value) == "A needs B, and a library cannot be loaded: libcodec.so.3: no such file"
    with pytest.raises(MissingDependencyError) as caught:
        extra_module("no_such_codec", "A needs B", "heif")
    assert str(caught.value) == """A needs B (No module named 'no_such_codec'): pip install "mirnet-deploy[heif]\""""


def test_an_error_is_one_line_whatever_a_file_or_its_name_holds() -> None:
    assert str(ImageError("a\nb.png is coded as \x00\x1b[2J\u2028; é\udcff")) == (
        r"a\nb.png is coded as \x00\x1b[2J\u2028; é" + "\udcff"
    )
