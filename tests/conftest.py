"""What several test modules share. Slow things are made once a session, tiny."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A GPU test on a machine without one is deselected, which pytest counts aloud; it never passes by skipping.
    if shutil.which("nvidia-smi") or "gpu" in config.getoption("markexpr"):
        return
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=gpu)
    items[:] = [item for item in items if item not in gpu]


@pytest.fixture(scope="session")
def lol_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven tiny pairs laid out as LOL: smooth random pictures and a darkened, noisy copy of each."""
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
