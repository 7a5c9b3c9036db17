"""Exports of one tiny network, each (interface, precision) traced once per session: a trace takes 10 to 20 s."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_types import Export
from numpy.typing import NDArray
from torch import nn

from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.export import onnx_file
from mirnet_deploy.export.pipeline import Exported
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.export.tracing import trace
from mirnet_deploy.training.checkpoint import LoadedCheckpoint, load_checkpoint

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "published_layout" / "model.pth"


@pytest.fixture(scope="session", autouse=True)
def shared_traces() -> Iterator[None]:
    """Every export of the session still runs from end to end, but equal traces are made only once."""
    traces: dict[tuple[object, ...], onnx.ModelProto] = {}

    def trace_once(module: nn.Module, interface: Interface, opset: int, context: int) -> onnx.ModelProto:
        weights = tuple(
            (name, str(value.dtype), hash(value.detach().numpy().tobytes()))
            for name, value in module.named_parameters()
        )
        key = (interface, opset, context, weights)
        if key not in traces:
            traces[key] = trace(module, interface, opset, context)
        copy = onnx.ModelProto()
        copy.CopyFrom(traces[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "trace", trace_once)
        yield


@pytest.fixture(scope="session")
def checkpoint() -> LoadedCheckpoint:
    """n_feat 8, one group, one block."""
    torch.set_num_threads(2)
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
