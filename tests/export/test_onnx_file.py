"""ONNX artifacts: their results, their metadata, and that nothing is saved that misses its bound."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_types import Export
from graph_faults import ignore_given_means
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.artifacts.context import GIVEN
from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata, Interface, Parity, Precision
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export import onnx_file, parity
from mirnet_deploy.export.onnx_file import export_onnx
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.checkpoint import LoadedCheckpoint
from mirnet_deploy.training.context import OwnMeans, PoolContext
from mirnet_deploy.training.reach import structural_reach

ALL: list[tuple[Interface, Precision]] = [(i, p) for i in ("float", "image") for p in ("fp32", "fp16")]
SIZES = [(1, 4, 4), (1, 8, 4), (3, 12, 20), (2, 64, 36), (1, 100, 76)]
"""Batch, height and width; the export saw none of them."""


def run(path: Path, batch: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return output


def reference(checkpoint: LoadedCheckpoint, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        output: NDArray[np.float32] = checkpoint.network(torch.from_numpy(batch)).numpy()
    return output


def floats(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


@pytest.mark.parametrize(("interface", "precision"), ALL)
def test_tensors_have_our_names_types_and_axes(exported: Export, interface: Interface, precision: Precision) -> None:
    model = onnx.load(exported(interface, precision).path)
    onnx.checker.check_model(model, full_check=True)
    (source, *given), (target, measured) = model.graph.input, model.graph.output
    axes = ["batch", 3, "height", "width"] if interface == "float" else ["batch", "height", "width", 3]
    names = ["input", "output"] if interface == "float" else ["image", "enhanced"]
    dtype = onnx.TensorProto.FLOAT if interface == "float" else onnx.TensorProto.UINT8
    assert [source.name, target.name] == names
    for value in (source, target):
        tensor = value.type.tensor_type
        assert tensor.elem_type == dtype  # half precision stays inside
        assert [dim.dim_param or dim.dim_value for dim in tensor.shape.dim] == axes
    shapes = {"context": [1, 176], "mode": [2], "rows": ["batch", "height"], "cols": ["batch", "width"]}
    for value in (*given, measured):
        tensor = value.type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.FLOAT
        sides = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        assert sides == shapes.pop(value.name, ["batch", 176])
    assert shapes == {}
    assert measured.name == "statistics"
    assert {entry.version for entry in model.opset_import if not entry.domain} == {20}


@pytest.mark.parametrize(("batch", "height", "width"), SIZES)
def test_fp32_float_agrees_at_every_size(
    exported: Export, checkpoint: LoadedCheckpoint, batch: int, height: int, width: int
) -> None:
    x = np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32)
    output = run(exported("float", "fp32").path, x)
    np.testing.assert_allclose(output, reference(checkpoint, x), rtol=0, atol=1e-4)
    assert np.abs(output - x).max() > 0.05  # it does something


@pytest.mark.parametrize(("batch", "height", "width"), SIZES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_image_agrees_to_one_level_at_every_size(
    exported: Export, checkpoint: LoadedCheckpoint, precision: Precision, batch: int, height: int, width: int
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    x = image.transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected = np.rint(np.clip(reference(checkpoint, x), 0, 1) * 255).transpose(0, 2, 3, 1)
    output = run(exported("image", precision).path, image)
    assert output.dtype == np.uint8
    assert np.abs(output - expected).max() <= 1


def test_fp16_float_agrees_on_real_crops(exported: Export, checkpoint: LoadedCheckpoint) -> None:
    for crop in read_crops(None):
        x = floats(crop)
        expected, output = reference(checkpoint, x), run(exported("float", "fp16").path, x)
        residual, peak = expected - x, float(np.abs(expected - x).max())
        assert not np.array_equal(output, expected)  # it is not the FP32 graph
        assert peak_signal_noise_ratio(expected, output, data_range=1.0) >= 45
        assert peak_signal_noise_ratio(residual, output - x, data_range=peak) >= 45


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_figures_in_the_sidecar_equal_skimages(
    exported: Export, checkpoint: LoadedCheckpoint, crops: list[NDArray[np.uint8]], precision: Precision
) -> None:
    artifact = exported("float", precision)
    x = np.concatenate([floats(crop) for crop in crops])
    expected = reference(checkpoint, x).astype(np.float64)
    output = np.concatenate([run(artifact.path, sample[None]) for sample in x]).astype(np.float64)
    measured = artifact.metadata.parity
    assert measured is not None
    assert measured.executed.startswith("onnxruntime")
    assert measured.crops == 2
    assert measured.max_abs == pytest.approx(np.abs(output - expected).max(), rel=0.2)
    peak = float(np.abs(expected - x).max())
    assert measured.psnr == pytest.approx(peak_signal_noise_ratio(expected, output, data_range=1.0), abs=0.5)
    residual = peak_signal_noise_ratio(expected - x, output - x, data_range=peak)
    assert measured.residual_psnr == pytest.approx(residual, abs=0.5)


@pytest.mark.parametrize(("interface", "precision"), ALL)
def test_sidecar_and_file_say_the_same(
    exported: Export, checkpoint: LoadedCheckpoint, interface: Interface, precision: Precision
) -> None:
    artifact = exported(interface, precision)
    sidecar = read_sidecar(artifact.path)
    props = {entry.key: entry.value for entry in onnx.load(artifact.path).metadata_props}
    inside = ArtifactMetadata.from_json(props[METADATA_KEY], "the ONNX file")
    assert inside.sha256 is None
    assert sidecar.sha256 == hashlib.sha256(artifact.path.read_bytes()).hexdigest()
    assert vars(sidecar) | {"sha256": None} == vars(inside)
    assert (sidecar.interface, sidecar.precision, sidecar.tile, sidecar.halo) == (interface, precision, 64, 8)
    assert sidecar.reach == structural_reach(checkpoint.config)
    assert sidecar.network == {"n_feat": 8, "n_rrg": 1, "n_msrb": 1}
    assert sidecar.checkpoint_sha256 == checkpoint.sha256


def test_nodes_are_named_by_their_module_and_nothing_local_leaks(exported: Export) -> None:
    model = onnx.load(exported("float", "fp32").path)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert "groups.0.blocks.0.dau.0.conv1/Conv" in names
    assert "groups.0.blocks.0.dau.0.conv1/Conv#2" in names  # the second column: the same weights
    assert str(Path(onnx_file.__file__).parent).encode() not in model.SerializeToString()
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_fp16_weights_take_about_half_the_bytes(exported: Export) -> None:
    weights = {}
    for precision in ("fp32", "fp16"):
        model = onnx.load(exported("float", precision).path)
        weights[precision] = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    assert weights["fp16"] < 0.6 * weights["fp32"]


def test_a_step_that_misses_its_bound_saves_nothing(
    exported: Export,
    checkpoint: LoadedCheckpoint,
    crops: list[NDArray[np.uint8]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def brighten_one_weight(model: onnx.ModelProto) -> int:
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "conv_out.weight")
        weight.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), weight.name)
        )
        return 1

    monkeypatch.setattr(onnx_file, "REWRITES", (brighten_one_weight,))
    with pytest.raises(ExportError, match=r"wrong\.onnx does not agree .* max abs error .* expected at most 0\.0001"):
        export_onnx(checkpoint, tmp_path / "wrong.onnx", ExportSettings(interface="float"), "fp32", crops)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_ignores_given_means_is_caught(
    exported: Export, checkpoint: LoadedCheckpoint, crops: list[NDArray[np.uint8]]
) -> None:
    source = exported("float", "fp32")
    model = onnx.load(source.path)
    settings = checkpoint.network, "float", "fp32", crops[0], "deaf.onnx"
    parity.check_given(OnnxRuntimeEngine(model.SerializeToString(), source.metadata).run_pooled, *settings)
    ignore_given_means(model)
    deaf = OnnxRuntimeEngine(model.SerializeToString(), source.metadata)
    with pytest.raises(ExportError, match=r"deaf\.onnx, means given, does not agree with the PyTorch network"):
        parity.check_given(deaf.run_pooled, *settings)


def test_parity_is_measured_in_the_session_that_ships(
    checkpoint: LoadedCheckpoint, crops: list[NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the proof's session are those of the runtime's."""
    opened: list[tuple[object, ...]] = []
    real = onnxruntime.InferenceSession

    def record(data: bytes, options: Any, **more: Any) -> Any:
        names = ("use_deterministic_compute", "enable_mem_pattern", "graph_optimization_level", "intra_op_num_threads")
        opened.append((*(getattr(options, name) for name in names), str(more)))
        return real(data, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    path = tmp_path / "tiny.onnx"
    export_onnx(checkpoint, path, ExportSettings(interface="float", tile=64, halo=8), "fp32", crops)
    with MIRNetRuntime(path, device="cpu"):
        proof, shipped = opened
    assert proof == shipped


def test_a_network_that_does_nothing_is_caught_by_the_residual() -> None:
    crop = np.random.default_rng(0).integers(0, 200, (8, 8, 3), dtype=np.uint8)
    batch = parity.as_input(crop, "float")
    faint = batch + np.float32(0.001)  # a reference that hardly changes its input: 60 dB from doing nothing
    measured = parity.measure(lambda x: x, "nothing", "float", [crop], [faint])
    assert measured.psnr == pytest.approx(60, abs=0.1)
    with pytest.raises(ExportError, match=r"residual PSNR 0\.00 dB, expected at least 45"):
        parity.check(measured, "float", "fp16", "nothing.onnx")


def test_an_output_of_another_shape_or_with_nan_is_an_error() -> None:
    crop = np.zeros((8, 8, 3), np.uint8)
    expected = [parity.as_input(crop, "float")]
    with pytest.raises(ExportError, match=r"output is float32 \(1, 3, 8, 4\); expected float32 \(1, 3, 8, 8\)"):
        parity.measure(lambda x: x[..., :4], "half", "float", [crop], expected)
    with pytest.raises(ExportError, match="not finite"):
        parity.measure(lambda x: x * np.nan, "nan", "float", [crop], expected)


@pytest.mark.parametrize(("interface", "precision"), ALL)
def test_given_means_are_taken_and_measured_ones_reported(
    exported: Export, checkpoint: LoadedCheckpoint, interface: Interface, precision: Precision
) -> None:
    """Two tiles with cores of different sizes, at a size that the export has not seen, against the FP32 network."""
    image = np.stack([crop[40:104, 60:160] for crop in read_crops(None)])
    rows, cols = np.zeros((2, 64), np.float32), np.zeros((2, 100), np.float32)
    rows[0, 8:40], rows[1, :], cols[0, 12:100], cols[1, 4:64] = 1, 1, 1, 1
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    plain = OwnMeans()
    with torch.inference_mode():
        unlike = checkpoint.network(x, plain)
        context = 2 * plain.statistics.mean(dim=0, keepdim=True) + 0.3  # far from what either would measure
        pools = PoolContext(context, torch.tensor(GIVEN), torch.from_numpy(rows), torch.from_numpy(cols))
        expected = checkpoint.network(x, pools).numpy()
    assert np.abs(expected - unlike.numpy()).max() > 0.01
    session = onnxruntime.InferenceSession(exported(interface, precision).path, providers=["CPUExecutionProvider"])
    batch = image if interface == "image" else x.numpy()
    values = {"context": context.numpy(), "mode": np.float32(GIVEN), "rows": rows, "cols": cols}
    output, statistics = session.run(None, {session.get_inputs()[0].name: batch} | values)
    if interface == "image":
        output, expected = output / 255.0, np.rint(expected.clip(0, 1).transpose(0, 2, 3, 1) * 255) / 255
    single = 1.01 / 255 if interface == "image" else 2e-3
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 if (interface, precision) == ALL[0] else single)
    tolerance = 1e-5 if precision == "fp32" else 5e-3
    np.testing.assert_allclose(statistics, pools.statistics.numpy(), rtol=tolerance, atol=tolerance)


def test_plain_artifacts_take_the_picture_alone(
    checkpoint: LoadedCheckpoint, crops: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    path = tmp_path / "plain.onnx"
    settings = ExportSettings(interface="float", tile=64, halo=8, plain=True)
    metadata = export_onnx(checkpoint, path, settings, "fp32", crops)
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["output"]
    assert metadata.context == 0


def test_a_bgr_artifact_gives_the_same_picture(
    checkpoint: LoadedCheckpoint,
    crops: list[NDArray[np.uint8]],
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ExportSettings(interface="float", tile=64, halo=8, channel_order="bgr")
    path = tmp_path / "bgr.onnx"
    metadata = export_onnx(checkpoint, path, settings, "fp32", crops)
    assert (metadata.channel_order, read_sidecar(path).channel_order) == ("bgr", "bgr")
    rgb, crop = exported("float", "fp32").path, crops[0]
    np.testing.assert_allclose(run(path, floats(crop)[:, ::-1].copy())[:, ::-1], run(rgb, floats(crop)), atol=1e-5)
    with MIRNetRuntime(path, device="cpu", tile=64) as turned, MIRNetRuntime(rgb, device="cpu", tile=64) as plain:
        picture = crop.astype(np.float32) / 255  # in tiles, with a thumbnail; RGB for both runtimes
        np.testing.assert_allclose(turned.enhance(picture), plain.enhance(picture), atol=1e-4)
    monkeypatch.setattr(onnx_file, "in_channel_order", lambda network, order: network)
    with pytest.raises(ExportError, match="does not agree with the PyTorch network"):
        export_onnx(checkpoint, tmp_path / "wrong.onnx", settings, "fp32", crops)
    assert not (tmp_path / "wrong.onnx").exists()


def test_a_figure_that_nearly_keeps_its_bound_is_told_from_it() -> None:
    bounds = parity.BOUNDS["float", "fp32"]
    figures = (bounds.max_abs * 1.0001, bounds.psnr - 0.001, bounds.residual_psnr - 0.001)
    with pytest.raises(ExportError) as error:
        parity.check(Parity("measured", 1, *figures), "float", "fp32", "x.onnx")
    for bound in (bounds.max_abs, bounds.psnr, bounds.residual_psnr):
        found = re.search(rf"([\d.e-]+) [^\d,]*(of 1)?, expected at (most|least) {bound:g}[;:]", str(error.value))
        assert found is not None
        assert float(found[1]) != bound
