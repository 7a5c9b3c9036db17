"""NIQE and BRISQUE have the values that other code has on the same pictures and the same parameters."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks.naturalness import brisque as brisque_module
from mirnet_deploy.benchmarks.naturalness.brisque import brisque
from mirnet_deploy.benchmarks.naturalness.niqe import niqe

PARAMETERS = Path(__file__).parents[3] / "benchmarks" / "parameters"


def packaged(name: str) -> NDArray[np.uint8]:
    """A photograph of scikit-image's wheel as [H,W,3]."""
    with Image.open(Path(skimage.data.__file__).parent / f"{name}.png") as picture:
        return np.asarray(picture.convert("RGB"))


def waves(height: int = 400, width: int = 600) -> NDArray[np.uint8]:
    """Waves of many lengths, with noise: no area of one grey, on which rounding would decide."""
    rows, cols = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(5)
    lengths = zip(rng.uniform(0.002, 0.3, 60), rng.uniform(0, np.pi, 60), rng.uniform(0, 6.28, 60), strict=True)
    sum_of = np.zeros((height, width))
    for frequency, angle, phase in lengths:
        sum_of += np.sin(2 * np.pi * frequency * (rows * np.cos(angle) + cols * np.sin(angle)) + phase) / frequency
    level = (sum_of - sum_of.min()) / np.ptp(sum_of) * 200 + 25
    noise = rng.normal(0, 3, (height, width, 3))
    return np.rint(np.stack([level, level * 0.9 + 5, level * 0.8 + 10], 2) + noise).clip(0, 255).astype(np.uint8)


def test_niqe_is_that_of_mmagic() -> None:
    """Made once with `niqe_core` of mmagic 1.2.0, whose parameters these are, on the rounded BT.601 luma."""
    assert niqe(packaged("camera")) == pytest.approx(3.096202, abs=1e-4)
    assert niqe(packaged("coins")) == pytest.approx(3.622679, abs=1e-4)
    assert niqe(waves()) == pytest.approx(7.096023, abs=1e-3)


def test_brisque_is_that_of_the_authors_method_on_known_photographs() -> None:
    """Published by others, who followed the authors' MATLAB code and used LIBSVM with the same model: a fork of VMAF
    (docs/research, digest 1101)."""
    assert brisque(packaged("camera")) == pytest.approx(-13.7084, abs=1e-3)
    assert brisque(packaged("coins")) == pytest.approx(-5.1, abs=0.05)
    assert brisque(packaged("moon")) == pytest.approx(1.4, abs=0.06)


@pytest.mark.parametrize(
    ("place", "expected"),
    [(np.full(36, 0.5), 14.352117400322), (np.arange(36) / 35, 71.241302850855), (np.zeros(36), 128.425273428226)],
)
def test_the_support_vectors_give_what_libsvm_gives(place: NDArray[np.float64], expected: float) -> None:
    """Made once with the package `brisque` 0.2.0 and LIBSVM 3.37: features at a place between their ranges' ends."""
    model = brisque_module._model()
    assert model.vectors.shape == (770, 36)
    assert model.score(model.low + (model.high - model.low) * place) == pytest.approx(expected, abs=1e-8)


def test_the_parameters_are_those_whose_origin_is_stated() -> None:
    text = (PARAMETERS / "ORIGIN.txt").read_text()
    for name in ("niqe_pris_params.npz", "brisque_svm.txt"):
        stated = re.search(rf"^{re.escape(name)}$.*?SHA-256 ([0-9a-f]{{64}})", text, re.MULTILINE | re.DOTALL)
        assert stated is not None
        assert sha256((PARAMETERS / name).read_bytes()).hexdigest() == stated[1]
    assert "provided that the copyright notice in its entirety appear in all copies" in " ".join(text.split())


def test_blur_noise_and_compression_cost() -> None:
    picture = packaged("camera")
    noisy = picture + np.random.default_rng(0).normal(0, 25, picture.shape)
    blurred = cv2.GaussianBlur(picture, (0, 0), 3)
    packed = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR)
    for worse in (noisy.clip(0, 255).astype(np.uint8), blurred, packed):
        for measure in (niqe, brisque):
            assert (measure(worse) or 0) > (measure(picture) or 0) + 1


def test_pictures_that_are_too_small_or_empty_have_no_figure() -> None:
    picture = waves(200, 200)
    assert niqe(picture[:191]) is None
    assert niqe(picture[:192, :192]) is not None
    assert brisque(picture[:13]) is None
    assert brisque(picture[:14, :14]) is not None
    flat = np.full((200, 200, 3), 7, np.uint8)
    assert niqe(flat) is None
    dark = np.zeros((300, 300, 3), np.uint8)
    dark[:90, :90] = picture[:90, :90]
    assert niqe(dark) is None, "one block of content has no covariance"


def test_black_blocks_do_not_count_for_niqe() -> None:
    """Where a part of a night is black, the figure is that of the rest."""
    night = np.zeros((384, 480, 3), np.uint8)
    night[:, :280] = packaged("camera")[96:480, :280]
    assert niqe(night) == pytest.approx(niqe(night[:, :288]), rel=1e-9)
