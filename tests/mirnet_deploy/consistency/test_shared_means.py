"""Tiles that share their means: whole pictures from random and real networks, predictions, limits, videos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from artifacts import make_onnx, metadata
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.artifacts.context import Pools
from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.consistency import patches
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.errors import EngineError
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.context import PoolContext
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.reach import structural_reach

PAIRS = Path(__file__).parents[3] / "examples" / "pairs" / "low"
TINY = MIRNetConfig(8, 1, 1)


class NetworkEngine(HostEngine):
    """A random network as an engine that keeps the shapes it is given."""

    device = backend = "torch"

    def __init__(self, seed: int, **values: Any) -> None:
        torch.manual_seed(seed)
        self.network = MIRNet(TINY).eval()
        halo = -(-structural_reach(TINY) // 4) * 4
        described = {"halo": halo, "context": TINY.context_size, "stages": TINY.pool_stages, "network": TINY.to_dict()}
        self.metadata: ArtifactMetadata = metadata(**{**described, **values})
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shapes.append(batch.shape)
        with torch.inference_mode():
            return np.asarray(self.network(torch.from_numpy(batch)).numpy())

    def run_pooled(self, batch: NDArray[np.float32], pools: Pools) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.shapes.append(batch.shape)
        context = PoolContext(*map(torch.from_numpy, pools))
        with torch.inference_mode():
            return self.network(torch.from_numpy(batch), context).numpy(), context.statistics.numpy()

    def close(self) -> None:
        pass


@pytest.fixture
def network() -> Any:
    """Opens a runtime over a `NetworkEngine`; `described` replaces values of its metadata."""

    def open_runtime(seed: int = 0, described: dict[str, Any] | None = None, **settings: Any) -> MIRNetRuntime:
        return MIRNetRuntime(NetworkEngine(seed, **(described or {})), **settings)

    return open_runtime


def picture(height: int = 165, width: int = 203) -> NDArray[np.float32]:
    """Its parts differ, so that a tile's own means are far from the whole picture's."""
    light = np.linspace(0.02, 0.6, width) * np.linspace(1, 0.3, height)[:, None]
    noise = np.random.default_rng(1).random((height, width, 3))
    return (light[..., None] + 0.1 * noise).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(2))
def test_as_many_passes_as_stages_give_the_whole_picture(network: Any, seed: int) -> None:
    """No prediction reaches the tolerance; the passes end all the same, and the result is exact to rounding."""
    expected = network(seed, tile="none").enhance(picture())
    result = network(seed, tile=160, tolerance=1000.0).enhance_with_info(picture())
    assert result.info.tiles == 6
    assert result.info.passes == TINY.pool_stages + 1
    np.testing.assert_allclose(result.pixels, expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_passes_end_as_soon_as_the_tolerance_is_kept(network: Any, seed: int) -> None:
    whole = network(seed, tile="none").enhance(picture())
    loose = network(seed, tile=160, tolerance=30.0).enhance_with_info(picture())
    strict = network(seed, tile=160, tolerance=80.0).enhance_with_info(picture())
    assert loose.info.passes < strict.info.passes <= TINY.pool_stages
    assert loose.info.within_tolerance
    assert strict.info.within_tolerance
    assert psnr(strict.pixels, whole) > 75
    assert np.abs(strict.pixels - whole).max() < 1 / 255


def test_an_engine_is_given_only_shapes_of_its_profile(network: Any) -> None:
    """A plan's profile holds for tiles, thumbnails and patches alike."""
    shapes = {"min": [1, 3, 40, 56], "opt": [1, 3, 160, 160], "max": [2, 3, 160, 160]}
    described = {"kind": "plan", "profile": {"input": shapes}}
    each = network(0, described, batch=2, tolerance=50.0)
    for size in ((30, 30), (165, 203), (20, 500)):
        result = each.enhance_with_info(picture(*size))
        assert result.info.within_tolerance is (None if result.info.tiles == 1 else True)
    engine = each._engine
    assert all(
        low <= side <= high
        for shape in engine.shapes
        for low, side, high in zip(shapes["min"], shape, shapes["max"], strict=True)
    )


def test_the_three_modes(tmp_path: Path) -> None:
    """A network that subtracts the mean, on a ramp: local is off by the tiles' own means, fast by the thumbnail's."""
    path = make_onnx(tmp_path / "mean.onnx", "mean")
    ramp = np.linspace(0.2, 1, 300, dtype=np.float32)[None, :, None].repeat(90, 0).repeat(3, 2)
    expected = (ramp - 0.6).clip(0, 1)
    results = {}
    for mode in ("local", "fast", "exact"):
        with MIRNetRuntime(path, tile=64, consistency=mode, tolerance=100.0) as each:
            results[mode] = each.enhance_with_info(ramp)
    assert np.abs(results["local"].pixels - expected).max() > 0.2
    assert np.abs(results["fast"].pixels - expected).max() < 0.01
    np.testing.assert_allclose(results["exact"].pixels, expected, atol=1e-5)
    local, fast, exact = (results[mode].info for mode in ("local", "fast", "exact"))
    assert (local.passes, local.predicted_psnr, local.within_tolerance) == (1, None, None)
    assert fast.passes == 1
    assert fast.predicted_psnr > 40
    assert exact.passes <= 2
    assert exact.predicted_psnr > 100
    assert exact.to_dict()["tiles"] == exact.tiles == 18


def test_a_whole_picture_needs_no_prediction(tmp_path: Path) -> None:
    with MIRNetRuntime(make_onnx(tmp_path / "mean.onnx", "mean")) as each:
        info = each.enhance_with_info(picture(40, 40)).info
    assert (info.tiles, info.passes, info.predicted_psnr, info.within_tolerance) == (1, 1, None, None)


def test_an_artifact_without_a_context_is_tiled_only_in_local_mode(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "plain.onnx", context=0, stages=None)
    with MIRNetRuntime(path, tile=64) as each:
        np.testing.assert_array_equal(each.enhance(picture(64, 64)), picture(64, 64))
        with pytest.raises(EngineError, match=r"plain was exported with --plain .* use consistency='local'"):
            each.enhance(picture(64, 65))
    with MIRNetRuntime(path, tile=64, consistency="local") as each:
        np.testing.assert_array_equal(each.enhance(picture(64, 65)), picture(64, 65))


# The bundled model on photographs


@pytest.fixture(scope="module")
def night() -> NDArray[np.uint8]:
    """Four photographs in one, uint8 [256,256,3]: dark, light, plain and full of detail."""
    photos = [np.asarray(Image.open(path))[:128, 128:256] for path in sorted(PAIRS.glob("*.jpg"))]
    return np.vstack([np.hstack(photos[:2]), np.hstack(photos[2:])])


@pytest.fixture(scope="module")
def whole(night: NDArray[np.uint8]) -> NDArray[np.float32]:
    with MIRNetRuntime("lite", tile="none") as each:
        return each.enhance(night.astype(np.float32) / np.float32(255))


def test_tiles_of_a_photograph_agree_with_the_whole_and_the_error_is_foreseen(
    night: NDArray[np.uint8], whole: NDArray[np.float32]
) -> None:
    with MIRNetRuntime("lite", tile=152) as each:
        result, info = each.enhance_with_info(night.astype(np.float32) / np.float32(255))
    assert info.tiles >= 9
    assert 1 < info.passes <= 3
    true = psnr(result, whole)
    assert true >= 60
    assert np.abs(result - whole).max() <= 1 / 255
    assert true >= info.predicted_psnr
    assert np.abs(result - whole).max() <= info.predicted_max_abs


def test_a_sample_of_patches_comes_close_in_one_pass(
    night: NDArray[np.uint8], whole: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With smaller patches, since a picture with enough of the usual size takes too long here."""
    monkeypatch.setattr(patches, "SAMPLE_COST", 9.0)
    monkeypatch.setattr(patches, "FEWEST", 1)
    monkeypatch.setattr(patches, "PATCH", 64)
    image = night.astype(np.float32) / np.float32(255)
    with MIRNetRuntime("lite", tile=200, tolerance=20.0) as each:
        result, info = each.enhance_with_info(image)
    with MIRNetRuntime("lite", tile=200, consistency="fast") as each:
        guessed = each.enhance(image)
    assert info.passes == 1
    assert 0.1 < info.sampled < 0.5
    assert psnr(result, whole) > psnr(guessed, whole) + 6
    with MIRNetRuntime("lite", tile=200, tolerance=60.0) as each:
        info = each.enhance_with_info(image).info
    assert 0.6 < info.sampled < 1, "all of so few are measured a second time"
    assert info.within_tolerance


def test_a_video_takes_one_pass_per_frame_and_notices_cuts(night: NDArray[np.uint8]) -> None:
    still = night[70:190, 30:230]
    shots = [still, np.roll(still, 3, 1), np.roll(still, 6, 1), (255 - still), (255 - still)]
    with MIRNetRuntime("lite", tile=152) as each:
        frames = list(each.frames(iter(shots)))
        alone = each.enhance_with_info(shots[2])
    # How many passes the first frame of a shot takes differs by the processor's rounding: 3 or 4.
    assert [min(frame.info.passes, 2) for frame in frames] == [2, 1, 1, 2, 1]
    assert alone.info.passes > 2
    assert psnr(frames[2].pixels / 255, alone.pixels / 255) > 45
    assert frames[4].info.predicted_psnr > 60


def test_a_frame_of_another_size_starts_a_scene(tmp_path: Path) -> None:
    with MIRNetRuntime(make_onnx(tmp_path / "mean.onnx", "mean"), tile=64, tolerance=100.0) as each:
        frames = [picture(90, 120), picture(90, 120), picture(120, 90)]
        assert [frame.info.passes for frame in each.frames(frames)] == [2, 1, 2]


def test_the_image_interface_counts_in_levels(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "mean.onnx", "mean", interface="image")
    ramp = cv2.resize(np.array([[150, 250]], np.uint8), (300, 90), interpolation=cv2.INTER_LINEAR)
    image = np.repeat(ramp[..., None], 3, axis=2)
    with MIRNetRuntime(path, tile=64) as tiled, MIRNetRuntime(path, tile="none") as whole:
        assert np.abs(tiled.enhance(image).astype(int) - whole.enhance(image)).max() <= 1


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """In dB, of values in [0, 1]."""
    return float(-10 * np.log10(max(np.mean((a.astype(np.float64) - b) ** 2), 1e-20)))


PEAK = """
import sys
import numpy as np
from mirnet_deploy import MIRNetRuntime
model, side = sys.argv[1], int(sys.argv[2])
with MIRNetRuntime(model, tile=256, device="cpu", threads=1, tolerance=100.0) as runtime:
    image = np.empty((side, side, 3), np.uint8)
    image[:] = np.linspace(60, 200, side).astype(np.uint8)[None, :, None]
    result = runtime.enhance(image)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak - image.nbytes - result.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_is_the_picture_the_result_and_a_constant(tmp_path: Path) -> None:
    """For 4 and for 64 megapixels, thumbnails and samples included."""
    model = make_onnx(tmp_path / "mean.onnx", "mean")
    command = [sys.executable, "-c", PEAK, str(model)]
    small, large = (int(subprocess.check_output([*command, side])) for side in ("2000", "8000"))
    assert abs(large - small) < 0.1 * small
