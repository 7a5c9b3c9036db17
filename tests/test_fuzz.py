"""Damaged files of every kind, and odd command lines: refused in a line, or done (`support/fuzzing.py`)."""

from __future__ import annotations

import os
import sys
import time

import fuzzing
import pytest
from fuzz_targets import TARGETS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="waits for a pipe")


@pytest.fixture
def _codecs() -> None:
    for name in ("imagecodecs", "pillow_heif", "pylibjxl", "rawpy"):
        pytest.importorskip(name, reason="an extra is not installed")


@pytest.mark.usefixtures("_codecs")
def test_a_few_damaged_files_of_every_kind_are_no_faults() -> None:
    count, faults = fuzzing.fuzz(fuzzing.ALL, 22, 8 * len(TARGETS))
    assert count == 8 * len(TARGETS)
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.long
@pytest.mark.usefixtures("_codecs")
@pytest.mark.parametrize("target", TARGETS)
def test_many_damaged_files_are_no_faults(target: str) -> None:
    """`pytest -m long -k damaged_files`: ten minutes. Every run has other files, which a fault names."""
    _, faults = fuzzing.fuzz(target, int(time.time()), 10**9, 600 / len(TARGETS))
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is known from /proc")
def test_faults_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MOST_WAITING", 0.8)
    count, faults = fuzzing.fuzz(fuzzing.FAULTY, 1, 6)
    assert (count, [fault.number for fault in faults]) == (6, [0, 1, 2, 3, 4, 5])
    expected = ("prints b'hello", f"open of {fuzzing.__file__}", "takes 25", "KeyError: 'no'", "ended with -6")
    for fault, what in zip(faults, (*expected, "takes more than 1 seconds"), strict=True):
        assert what in fault.what
    assert "of processor time" in fuzzing._faults(lambda: sum(range(10**6)), most_seconds=0.0)[0]


def test_the_same_input_can_be_had_again() -> None:
    assert fuzzing.input_of("xmp", 3, 50) == fuzzing.input_of("xmp", 3, 50)
    assert fuzzing.input_of("xmp", 3, 50) != fuzzing.input_of("xmp", 4, 50)
