"""Fixtures that several test modules share. Slow ones are tiny and made once per session."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import Pages
from PIL import Image

# The commands on our pages run beside the tests (`pages`): threads that spin while they wait would starve both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test races backends, and none depends on what was fastest here.
os.environ.setdefault("MIRNET_DEPLOY_BACKEND", "onnxruntime")
# What tests keep is not the user's; but what pip keeps may be.
os.environ.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
if "MIRNET_DEPLOY_TEST_CACHE" not in os.environ:
    os.environ["MIRNET_DEPLOY_TEST_CACHE"] = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mirnet-cache-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
"""The cores that this process had at its start; None where the system does not tell."""


def pytest_configure(config: pytest.Config) -> None:
    """Leaves one core to the pages when the whole suite runs."""
    if CORES and len(CORES) > 1 and config.args == config.getini("testpaths"):
        os.sched_setaffinity(0, CORES - {max(CORES)})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Slow ones late, since a budget may end before them; blocks of pages last, since they run beside all others.
    items.sort(key=lambda item: (_is_block(item), item.get_closest_marker("slow") is not None))
    # What does not run here is deselected, not skipped: pytest counts it apart from what passed.
    there = {"gpu": shutil.which("nvidia-smi") is not None}
    for mark in ("gpu", "long", "ray", "stand_in", "triton"):
        if there.get(mark) or mark in config.getoption("markexpr"):
            continue
        left_out = [item for item in items if item.get_closest_marker(mark)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_block(item: pytest.Item) -> bool:
    """Whether a test waits for a block of a page."""
    return item.name.startswith("test_block[")


@pytest.fixture(scope="session", autouse=True)
def pages(request: pytest.FixtureRequest) -> Iterator[Pages | None]:
    """Starts with the first test of the session, also where the tests of the pages come later."""
    if not any(map(_is_block, request.session.items)):
        yield None
        return
    pairs: Path = request.getfixturevalue("lol_folder")
    running = Pages(request.getfixturevalue("tmp_path_factory").mktemp("pages"), pairs, CORES)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def shared_traces() -> Iterator[None]:
    """Every export of the session still runs from end to end, but a graph is traced only once (`support/traces`)."""
    from traces import Traces

    from mirnet_deploy.export import onnx_file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "trace", Traces())
        yield


@pytest.fixture(scope="session")
def lol_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven tiny pairs laid out as in LOL: smooth random pictures and a darkened, noisy copy of each."""
    root = tmp_path_factory.mktemp("lol")
    rng = np.random.default_rng(7)
    for split, names in {"our485": range(5), "eval15": range(5, 7)}.items():
        for side in ("low", "high"):
            (root / split / side).mkdir(parents=True)
        for name in names:
            coarse = Image.fromarray(rng.integers(60, 255, (6, 8, 3), dtype=np.uint8))
            high = np.asarray(coarse.resize((56, 44), Image.Resampling.BICUBIC))
            low = np.clip(high / 6 + rng.normal(0, 2, high.shape), 0, 255).astype(np.uint8)
            Image.fromarray(high).save(root / split / "high" / f"{name}.png")
            Image.fromarray(low).save(root / split / "low" / f"{name}.bmp")
    return root
