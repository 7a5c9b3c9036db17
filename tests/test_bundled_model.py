"""The bundled model is the network that its card describes, and it is worth using."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from batches import open_batches
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mirnet_deploy import MIRNetRuntime, metrics
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.files import file_sha256
from mirnet_deploy.pairs import find_pairs
from mirnet_deploy.training.checkpoint import LoadedCheckpoint, load_checkpoint

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "weights" / "lite.pt"
PAIRS = find_pairs(ROOT / "examples" / "pairs")


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return load_checkpoint(CHECKPOINT)


def half(path: Path) -> NDArray[np.uint8]:
    """A picture at half its width and height, which takes a quarter of the time."""
    return np.asarray(Image.open(path).reduce(2))


@pytest.fixture(scope="module")
def outputs() -> list[NDArray[np.uint8]]:
    with MIRNetRuntime("lite") as runtime:
        return [runtime.enhance(half(pair.low)) for pair in PAIRS]


def test_the_bundled_model_is_lite_from_the_checkpoint_in_the_repository(checkpoint: LoadedCheckpoint) -> None:
    assert checkpoint.network.parameter_count() == 663_615
    assert checkpoint.weights == "ema"
    described = read_sidecar(resolve_model("lite"))
    assert (described.interface, described.precision, described.name) == ("float", "fp32", "lite")
    assert described.checkpoint_sha256 == file_sha256(CHECKPOINT)


def test_it_agrees_with_pytorch_on_real_crops(checkpoint: LoadedCheckpoint) -> None:
    """To 1e-4 of the output, and of output minus input, which would show a network that does nothing."""
    samples = sorted(resolve_model("lite").parent.with_name("samples").glob("*.png"))
    crops = np.stack([np.asarray(Image.open(path)) for path in samples])
    batch = np.ascontiguousarray(crops.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.inference_mode():
        expected = checkpoint.network(torch.from_numpy(batch)).numpy()
    engine = open_batches("lite", device="cpu")
    output = engine.run(batch)
    engine.close()
    assert np.abs(output - expected).max() < 1e-4
    residual = np.abs(expected - batch).max()
    assert residual > 0.2, "it should do something"
    assert np.abs((output - batch) - (expected - batch)).max() < 1e-4 * residual


def test_it_beats_the_input_autocontrast_and_gamma(outputs: list[NDArray[np.uint8]]) -> None:
    """By mean PSNR, on four pairs of a camera that it never saw; the gamma is 1/2.2."""

    def mean_psnr(pictures: list[NDArray[np.uint8]]) -> float:
        ground_truths = [half(pair.high) for pair in PAIRS]
        return fmean(metrics.psnr(p, t, data_range=255) for p, t in zip(pictures, ground_truths, strict=True))

    lows = [half(pair.low) for pair in PAIRS]
    baselines = {
        "input": lows,
        "autocontrast": [np.asarray(ImageOps.autocontrast(Image.fromarray(low))) for low in lows],
        "gamma": [np.rint(255 * (low / 255) ** (1 / 2.2)).astype(np.uint8) for low in lows],
    }
    ours = mean_psnr(outputs)
    for name, pictures in baselines.items():
        assert ours > mean_psnr(pictures), name


def test_the_holdout_weights_are_the_same_network_in_8_bits(checkpoint: LoadedCheckpoint) -> None:
    """`lite-holdout` loads, and has the bundled model's shape with other weights."""
    held_out = load_checkpoint(CHECKPOINT.with_name("lite-holdout.safetensors"))
    assert held_out.config == checkpoint.config
    assert held_out.describe["stored"].startswith("int8")
    ours, theirs = checkpoint.network.state_dict(), held_out.network.state_dict()
    apart = max(float((ours[name] - theirs[name]).abs().max() / ours[name].abs().max()) for name in ours)
    assert apart > 0.05, "rounding to 8 bits changes a weight by at most a two-hundredth of its slice's largest"
