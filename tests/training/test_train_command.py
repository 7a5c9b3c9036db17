"""`mirnet-deploy train` as a user sees it: what it writes, prints and refuses."""

from __future__ import annotations

import csv
import shutil
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


def test_the_validation_figures_equal_skimages(run_folder: Path, lol_folder: Path) -> None:
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


def test_photographs_alone_can_be_trained_on(lol_folder: Path, tmp_path: Path) -> None:
    code, output = train("--degrade", str(lol_folder / "our485" / "high"), "-o", str(tmp_path / "run"), *TINY, *PACE)
    assert code == 0, output
    assert "photographs" in output
    assert "synthetic 0.0" in output  # otherwise they would be darkened twice
    assert load_checkpoint(tmp_path / "run" / "best.pt").config.n_feat == 8


def test_the_precision_is_chosen_by_a_measurement_and_printed(lol_folder: Path, tmp_path: Path) -> None:
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
        (["nowhere"], 1, "nowhere does not exist"),
        ([], 2, "expected either DATA"),
        (["{lol}", "--degrade", "{lol}"], 2, "expected either DATA"),
        (["--degrade", "{lol}", "--synthetic", "0.5"], 2, "--synthetic needs DATA"),
        (["{lol}", "--n-feat", "9"], 2, "n_feat is 9"),
        (["{lol}", "--lr", "-1"], 2, "lr is -1"),
        (["{lol}", "--steps", "0"], 2, "steps is 0"),
        (["{lol}", "--threads", "0"], 2, "--threads"),
        (["{lol}", "--seed", "-1"], 2, "--seed"),
        (["{lol}", "--max-minutes", "0"], 2, "--max-minutes"),
        (["{lol}", "--resume"], 1, "last.pt is not a file"),
        (["{lol}", "--init", "none.pt"], 1, "none.pt is not a file"),
        (["{lol}", "--init", "none.pt", "--preset", "lite"], 2, "brings the size"),
        (["{lol}", "--device", "tpu"], 2, "expected auto, cpu"),
    ],
)
def test_mistakes_are_an_error_before_anything_is_written(
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


@pytest.mark.parametrize("change", [["--lr", "0.5"], ["--n-feat", "16"], ["--recipe", "plateau"], ["--seed", "4"]])
def test_resuming_with_other_settings_is_refused(run_folder: Path, lol_folder: Path, change: list[str]) -> None:
    code, output = train(str(lol_folder), "-o", str(run_folder), *TINY, *PACE, "--resume", *change)
    assert code == 2, output
    assert f"the run has {change[0]}" in output


def test_resuming_with_another_preset_is_refused(run_folder: Path, lol_folder: Path) -> None:
    code, output = train(str(lol_folder), "-o", str(run_folder), "--resume", "--preset", "lite")
    assert code == 2, output
    assert "another size than --preset lite" in output


def test_resuming_a_finished_run_with_its_own_command_is_allowed(run_folder: Path, lol_folder: Path) -> None:
    code, output = train(str(lol_folder), "-o", str(run_folder), *TINY, *PACE, "--resume")
    assert code == 0, output
    assert "done:" in output


@pytest.mark.parametrize("save_every", ["1", "2", "100"])
def test_a_diverged_run_ends_and_saves_no_broken_weights(lol_folder: Path, tmp_path: Path, save_every: str) -> None:
    """Also where the validation checks first, after which the sum of the losses starts from zero."""
    arguments = [*TINY, "--lr", "1e30", "--steps", "10", "--validate-every", "4", "--save-every", save_every]
    code, output = train(str(lol_folder), "-o", str(tmp_path), *arguments)
    assert code == 1, output
    assert "is not finite at step" in output
    found = list(tmp_path.glob("*.pt"))
    assert bool(found) == (save_every == "1")
    for path in found:
        load_checkpoint(path)  # refuses weights that are not finite


def test_a_folder_that_cannot_be_written_is_an_error(lol_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").mkdir()
    code, output = train(str(lol_folder), "-o", str(tmp_path), *TINY, *PACE)
    assert code == 1
    assert "cannot go on" in output
    assert "log.csv" in output


@pytest.mark.parametrize("split", ["our485", "eval15"])
def test_an_unreadable_picture_is_named(lol_folder: Path, tmp_path: Path, split: str) -> None:
    """In a loading thread, and in validation."""
    shutil.copytree(lol_folder, tmp_path / "lol")
    victim = next((tmp_path / "lol" / split / "low").iterdir())
    victim.write_bytes(victim.read_bytes()[:100])
    code, output = train(str(tmp_path / "lol"), "-o", str(tmp_path / "run"), *TINY, *PACE)
    assert code == 1
    assert f"error: {victim}" in output


def test_pictures_without_ssim_are_named_before_the_first_step(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder, tmp_path / "lol")
    for side, name in (("low", "5.bmp"), ("high", "5.png")):
        Image.new("RGB", (12, 8)).save(tmp_path / "lol" / "eval15" / side / name)
    code, output = train(str(tmp_path / "lol"), "-o", str(tmp_path / "run"), *TINY, *PACE)
    assert code == 1
    assert "low/5.bmp is 12x8; expected at least 11x11 pixels\n" in output
    assert "high/5.png is 12x8; expected at least 11x11 pixels\n" in output
    assert "error: 2 faults in the data" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "log.csv", "curve.png"])
def test_a_new_run_replaces_no_link_that_leads_nowhere(lol_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    code, output = train(str(lol_folder), "-o", str(tmp_path), *TINY, *PACE)
    assert (code, "--output" in output) == (1, True)
    assert list(tmp_path.iterdir()) == [tmp_path / name]
