"""`mirnet-deploy train` as a user meets it: what it leaves, what it says, what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import PACE, TINY, train

from mirnet_deploy.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def run_folder(lol_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run") / "new" / "folder"
    code, output = train(str(lol_folder), "-o", str(folder), *TINY, *PACE)
    assert code == 0, output
    assert "5 pairs" in output
    assert "step 10: loss" in output
    return folder


def test_a_run_leaves_checkpoints_log_events_and_curve(run_folder: Path) -> None:
    assert {path.name for path in run_folder.iterdir()} == {"last.pt", "best.pt", "log.csv", "curve.png", "tensorboard"}
    rows = list(csv.DictReader((run_folder / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [4, 8, 10]
    with Image.open(run_folder / "curve.png") as curve:
        assert len(curve.convert("RGB").getcolors(1 << 20) or []) > 10


def test_tensorboard_holds_the_same_figures(run_folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_folder / "tensorboard"))
    events.Reload()
    rows = list(csv.DictReader((run_folder / "log.csv").open()))
    found = {event.step: event.value for event in events.Scalars("psnr")}
    assert found == pytest.approx({int(row["step"]): float(row["psnr"]) for row in rows}, rel=1e-5)


def test_the_validation_figures_are_those_of_skimage(run_folder: Path, lol_folder: Path) -> None:
    """The last row, computed again from the checkpoint with skimage alone."""
    import numpy as np
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    network = load_checkpoint(run_folder / "last.pt").network
    psnr, ssim = [], []
    for name in (5, 6):
        low, high = (
            np.asarray(Image.open(lol_folder / "eval15" / side)) for side in (f"low/{name}.bmp", f"high/{name}.png")
        )
        with torch.no_grad():
            output = network(torch.from_numpy(low / np.float32(255)).permute(2, 0, 1)[None])[0]
        picture = (output.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        psnr.append(peak_signal_noise_ratio(high, picture, data_range=255))
        ssim.append(
            structural_similarity(
                high,
                picture,
                channel_axis=2,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
    row = list(csv.DictReader((run_folder / "log.csv").open()))[-1]
    assert float(row["psnr"]) == pytest.approx(np.mean(psnr), abs=0.02)
    assert float(row["ssim"]) == pytest.approx(np.mean(ssim), abs=1e-3)


def test_best_is_the_averaged_network_and_small(run_folder: Path) -> None:
    best = load_checkpoint(run_folder / "best.pt")
    assert best.weights == "ema"
    assert best.describe["recipe"].startswith("aligned")
    assert (run_folder / "best.pt").stat().st_size < (run_folder / "last.pt").stat().st_size / 3


def test_fine_tuning_starts_from_the_given_weights(run_folder: Path, lol_folder: Path, tmp_path: Path) -> None:
    short = "--steps 1 --lr 1e-9 --ema 0 --validate-limit 1 --precision fp32 --crop 16 --batch 1".split()
    code, output = train(
        str(lol_folder / "our485"), "-o", str(tmp_path / "tuned"), "--init", str(run_folder / "best.pt"), *short
    )
    assert code == 0, output
    assert "held out" in output
    start, tuned = (load_checkpoint(folder / "best.pt").network for folder in (run_folder, tmp_path / "tuned"))
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(value, start.state_dict()[name], atol=1e-7, rtol=0)


def test_training_without_pairs(lol_folder: Path, tmp_path: Path) -> None:
    code, output = train("--degrade", str(lol_folder / "our485" / "high"), "-o", str(tmp_path / "run"), *TINY, *PACE)
    assert code == 0, output
    assert "photographs" in output
    assert load_checkpoint(tmp_path / "run" / "best.pt").config.n_feat == 8


def test_precision_is_measured_and_said(lol_folder: Path, tmp_path: Path) -> None:
    size = "--n-feat 8 --n-rrg 1 --n-msrb 1 --crop 16 --batch 1 --threads 1 --steps 1 --validate-limit 1".split()
    code, output = train(str(lol_folder), "-o", str(tmp_path / "run"), *size)
    assert code == 0, output
    assert "times as fast as a float32 one here: training in" in output


def test_a_run_is_not_overwritten(run_folder: Path, lol_folder: Path) -> None:
    before = (run_folder / "last.pt").read_bytes()
    code, output = train(str(lol_folder), "-o", str(run_folder), *TINY, *PACE)
    assert code == 1
    assert "holds a run already; --resume continues it" in output
    assert (run_folder / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere holds no pairs"),
        ([], 2, "expected either DATA"),
        (["{lol}", "--degrade", "{lol}"], 2, "expected either DATA"),
        (["{lol}", "--n-feat", "9"], 2, "n_feat is 9"),
        (["{lol}", "--lr", "-1"], 2, "lr is -1"),
        (["{lol}", "--steps", "0"], 2, "steps is 0"),
        (["{lol}", "--resume"], 1, "last.pt is not a file"),
        (["{lol}", "--init", "none.pt"], 1, "none.pt is not a file"),
        (["{lol}", "--init", "none.pt", "--preset", "lite"], 2, "brings the size"),
        (["{lol}", "--device", "tpu"], 1, "expected auto, cpu"),
    ],
)
def test_mistakes_are_one_clear_line(
    lol_folder: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    filled = [argument.format(lol=lol_folder) for argument in arguments]
    exit_code, output = train(*filled, "-o", str(tmp_path / "run"), "--precision", "fp32")
    assert exit_code == code, output
    assert message in output
    assert not (tmp_path / "run").exists()


def test_resuming_on_other_data_is_refused(run_folder: Path, lol_folder: Path) -> None:
    code, output = train(str(lol_folder / "our485"), "-o", str(run_folder), "--resume")
    assert code == 1
    assert "was trained on other data" in output
