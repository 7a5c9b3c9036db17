"""On a full disk a run ends with one line that names the file and the cause, and its last good checkpoint stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.checkpoint import save_checkpoint
from mirnet_deploy.training.logs import COLUMNS, RunLog
from mirnet_deploy.training.unpacking import unpack

resource = pytest.importorskip("resource")


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: a real failure of the system's, at any place within a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, 30_000, 70_000])
def test_a_checkpoint_is_whole_or_the_old_one(tmp_path: Path, size: int) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    content = {"first": torch.zeros(5000), "second": torch.zeros(20_000)}
    with room(size), pytest.raises(CheckpointError) as error:
        save_checkpoint(path, content)
    assert str(error.value) == f"{path} cannot be written: {os.strerror(errno.EFBIG)}"
    assert unpack(path).content["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_is_in_the_log_or_not(tmp_path: Path) -> None:
    log = RunLog(tmp_path, [])
    row = dict.fromkeys(COLUMNS, 1.5)
    log.add(row)
    before = (tmp_path / "log.csv").read_text()
    with room(len(before) + 5), pytest.raises(OSError, match="too large"):
        log.add(row)
    assert (tmp_path / "log.csv").read_text() == before
    log.close()
