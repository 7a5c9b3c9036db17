"""Quality: the figures equal scikit-image's, the means say what they leave out, a bad picture costs one row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mirnet_deploy.benchmarks.baselines import Baseline, baselines
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows, measure_pairs, measure_picture
from mirnet_deploy.pairs import find_pairs


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for side in ("low", "high"):
        (tmp_path / side).mkdir()
    for index, (height, width) in enumerate([(40, 48), (33, 27), (24, 24)]):
        rows, cols = np.mgrid[0:height, 0:width]
        high = np.stack([rows * 5 % 256, cols * 4 % 256, (rows + cols) * 3 % 256], 2).astype(np.uint8)
        low = np.clip(high * 0.2 + rng.normal(3, 2, high.shape), 0, 255).astype(np.uint8)
        Image.fromarray(high).save(tmp_path / "high" / f"p{index}.png")
        Image.fromarray(low).save(tmp_path / "low" / f"p{index}.png")
    return tmp_path


def by_skimage(output: NDArray[np.uint8], target: NDArray[np.uint8]) -> tuple[float, float]:
    return (
        peak_signal_noise_ratio(target, output, data_range=255),
        structural_similarity(
            target,
            output,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=2,
        ),
    )


def test_figures_and_means_are_those_of_a_direct_computation(pairs_folder: Path) -> None:
    doubled = Baseline("doubled", lambda image: np.clip(image.astype(int) * 2, 0, 255).astype(np.uint8))
    pairs = find_pairs(pairs_folder)
    rows = [row for pair in measure_pairs(pairs, [doubled], lambda: None) for row in pair.rows]
    expected = []
    for pair in pairs:
        low, high = (np.asarray(Image.open(path).convert("RGB")) for path in (pair.low, pair.high))
        output = doubled.enhance(low)
        aligned = np.rint(np.clip(output * (high.mean() / output.mean()), 0, 255)).astype(np.uint8)
        expected.append([*by_skimage(output, high), *by_skimage(aligned, high)])
    figures = [[row.psnr, row.ssim, row.gt_mean_psnr, row.gt_mean_ssim] for row in rows]
    assert np.allclose(np.array(figures, float), expected, atol=1e-9)
    (mean,) = mean_rows(rows)
    assert (mean.engine, mean.pictures, mean.of, mean.identical) == ("doubled", 3, 3, 0)
    assert np.allclose(
        np.array([mean.psnr, mean.ssim, mean.gt_mean_psnr, mean.gt_mean_ssim], float), np.mean(expected, axis=0)
    )


def test_an_output_equal_to_its_target_has_no_finite_psnr_and_is_counted() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    equal = measure_picture("e", "a", picture, picture.copy())
    assert (equal.psnr, equal.gt_mean_psnr, equal.identical) == (None, None, True)
    assert equal.ssim == pytest.approx(1)
    other = QualityRow("e", "b", 20.0, 0.5, 22.0, 0.6)
    (mean,) = mean_rows([equal, other])
    assert (mean.psnr, mean.gt_mean_psnr, mean.identical, mean.pictures) == (20.0, 22.0, 1, 2)
    assert mean.ssim == pytest.approx(0.75)


def test_a_failed_picture_is_left_out_of_the_mean_and_counted() -> None:
    (mean,) = mean_rows([QualityRow("e", "a", 20.0, 0.5, 22.0, 0.6), QualityRow("e", "b", failure="no room")])
    assert (mean.psnr, mean.pictures, mean.of) == (20.0, 1, 2)
    (empty,) = mean_rows([QualityRow("e", "b", failure="no room")])
    assert (empty.psnr, empty.ssim, empty.pictures, empty.of) == (None, None, 0, 1)


def test_one_bad_engine_and_one_bad_file_cost_their_rows_only(pairs_folder: Path) -> None:
    def broken(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape[0] == 33:
            raise MemoryError("no room")
        return image

    (pairs_folder / "low" / "p2.png").write_bytes(b"not a picture")
    advanced: list[int] = []
    engines = [Baseline("broken", broken), baselines()[0]]
    measured = list(measure_pairs(find_pairs(pairs_folder), engines, lambda: advanced.append(1)))
    failures = {(row.engine, row.picture): row.failure for pair in measured for row in pair.rows}
    assert failures["broken", "p0"] is None
    assert failures["broken", "p1"] == "MemoryError: no room"
    assert failures["input", "p1"] is None
    assert "p2.png" in (failures["broken", "p2"] or "")
    assert "p2.png" in (failures["input", "p2"] or "")
    assert measured[1].outputs[0] is None
    assert measured[1].outputs[1] is not None
    assert len(advanced) == 6


def test_a_pair_of_two_sizes_fails_and_both_are_named(pairs_folder: Path) -> None:
    Image.new("RGB", (50, 40)).save(pairs_folder / "high" / "p0.png")
    first = next(iter(measure_pairs(find_pairs(pairs_folder), baselines(), lambda: None)))
    assert "48x40" in (first.rows[0].failure or "")
    assert "50x40" in (first.rows[0].failure or "")
