"""Two processes under torchrun give the result of one process with twice the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import train

from mirnet_deploy.errors import TrainingError
from mirnet_deploy.training.distributed import join_processes

SIZE = "--n-feat 8 --n-rrg 1 --n-msrb 1 --crop 16 --precision fp32 --seed 1 --threads 1".split()
PACE = "--steps 5 --validate-every 3 --validate-limit 1 --save-every 5".split()


def test_two_gloo_ranks_equal_one_process_with_twice_the_batch(lol_folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    arguments = [str(lol_folder), *SIZE, *PACE, "--mixup", "0.3"]
    code, output = train(*arguments, "-o", str(one), "--batch", "8")
    assert code == 0, output
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, "-m", "mirnet_deploy", "train", *arguments, "-o", str(two), "--batch", "4"],
        check=True,
        capture_output=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    a, b = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, two))
    assert a["training"]["samples"] == b["training"]["samples"]
    for weights in ("network", "ema"):
        for name, value in a[weights].items():
            torch.testing.assert_close(b[weights][name], value, atol=1e-6, rtol=0, msg=f"{weights} {name}")


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_not_there_is_an_error(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="no such CUDA device"), join_processes(device):
        pass


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_unknown_devices_are_named(device: str) -> None:
    with pytest.raises(TrainingError, match="expected auto, cpu, cuda"), join_processes(device):
        pass
