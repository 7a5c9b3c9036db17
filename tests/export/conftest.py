"""Exports of one tiny network, each (interface, precision) made once per session."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from export_types import Export
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.export import onnx_file
from mirnet_deploy.export.pipeline import Exported
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.checkpoint import LoadedCheckpoint, load_checkpoint

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "published_layout" / "model.pth"


@pytest.fixture(autouse=True)
def _shared(shared_traces: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def checkpoint() -> LoadedCheckpoint:
    """n_feat 8, one group, one block."""
    torch.set_num_threads(1)  # more only wait for each other where the whole suite has one core
    return load_checkpoint(CHECKPOINT)


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a file of their own, for the command line."""
    return Path(shutil.copy(CHECKPOINT, tmp_path_factory.mktemp("checkpoint") / "tiny.pth"))


@pytest.fixture(scope="session")
def crops() -> list[NDArray[np.uint8]]:
    """Corners of the two crops that ship in the package: real pictures, and quick."""
    return [np.ascontiguousarray(crop[:96, :128]) for crop in read_crops(None)]


@pytest.fixture(scope="session")
def exported(
    checkpoint: LoadedCheckpoint, crops: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """An ONNX artifact by interface and precision, exported when it is first asked for."""
    folder = tmp_path_factory.mktemp("exported")
    made: dict[tuple[Interface, Precision], Exported] = {}

    def export(interface: Interface, precision: Precision) -> Exported:
        if (interface, precision) not in made:
            path = folder / f"{interface}.{precision}.onnx"
            settings = ExportSettings(interface=interface, tile=64, halo=8)
            metadata = onnx_file.export_onnx(checkpoint, path, settings, precision, crops)
            made[interface, precision] = Exported(path, metadata)
        return made[interface, precision]

    return export
