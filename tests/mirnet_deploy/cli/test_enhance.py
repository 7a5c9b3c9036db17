"""`mirnet-deploy enhance`: what it writes, skips, refuses, prints and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from fleets import RTX, make_fleet
from pictures import write_image
from PIL import Image

from mirnet_deploy import MIRNetRuntime, files, machine
from mirnet_deploy.cli import main
from mirnet_deploy.files import file_sha256
from mirnet_deploy.images import Picture, read_image, reading
from mirnet_deploy.jobs.record import read_stamp
from mirnet_deploy.pipeline import limits
from mirnet_deploy.results import PictureInfo
from mirnet_deploy.settings import RuntimeSettings


class Brightener:
    """Stands in for the runtime: doubles every value, at most to white."""

    opened = 0
    info = PictureInfo(tiles=1, tile_size=(20, 30), settings=RuntimeSettings(), seconds=0.1)

    def __init__(self, *_: object, **__: object) -> None:
        type(self).opened += 1

    def __enter__(self) -> Brightener:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def takes(self, dtype: Any) -> bool:
        return True

    def enhance_into(self, image: np.ndarray[Any, Any], out: Any, advance: Any) -> PictureInfo:
        assert image.ndim == 3
        assert image.shape[2] == 3
        top = np.iinfo(image.dtype).max
        out[:] = np.minimum(image.astype(np.uint32) * 2, top).astype(image.dtype)
        return self.info


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file; the runtime that opens it is a `Brightener`."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(b"the fake's weights")
    monkeypatch.setattr("mirnet_deploy.runtime.MIRNetRuntime", Brightener)
    Brightener.opened = 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "sub/c.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 128, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def enhance(*arguments: object, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, ["enhance", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == expect, result.output
    return result


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def statuses(*arguments: object, expect: int = 0) -> dict[str, str]:
    report = json.loads(enhance(*arguments, "--json", expect=expect).stdout)
    return {Path(entry["input"]).name: entry["status"] for entry in report["pictures"]}


def test_pictures_become_brighter_beside_the_input(folder: Path, model: Path) -> None:
    result = enhance(folder, "--model", model)
    assert f"{folder / 'a.png'} -> {folder / 'a_enhanced.png'}" in result.stdout
    assert "2 enhanced, 0 skipped, 0 failed" in result.stdout
    assert result.stderr == ""
    source, made = (np.asarray(Image.open(folder / name)) for name in ("a.png", "a_enhanced.png"))
    np.testing.assert_array_equal(made, source * 2)
    assert names(folder) == ["a.png", "a_enhanced.png", "b.jpg", "b_enhanced.jpg", "sub"]


def test_the_model_is_opened_once_and_only_where_there_is_work(folder: Path, model: Path) -> None:
    enhance(folder, "--recursive", "--model", model)
    assert Brightener.opened == 1
    assert statuses(folder, "--recursive", "--model", model) == {
        "a.png": "skipped",
        "b.jpg": "skipped",
        "c.tiff": "skipped",
        "a_enhanced.png": "skipped",
        "b_enhanced.jpg": "skipped",
        "c_enhanced.tiff": "skipped",
    }
    assert Brightener.opened == 1


def test_the_report_names_the_file_of_a_fleet_that_ran(folder: Path, model: Path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "_cuda", tuple)
    fleet = make_fleet(folder / "fleet", ("sm89", *RTX))
    report = json.loads(enhance(folder / "a.png", "--model", fleet, "--json").stdout)
    assert report["pictures"][0]["model"] == str(fleet)
    ran = fleet / "tiny.onnx"
    assert (report["model_file"], report["model_sha256"]) == (str(ran), file_sha256(ran))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_second_run_skips_what_is_done_and_remakes_what_differs(tmp_path: Path, model: Path, suffix: str) -> None:
    source = tmp_path / f"a{suffix}"
    Image.new("RGB", (12, 9), (30, 40, 50)).save(source)
    common = (source, "-o", tmp_path / "out", "--model", model)
    assert statuses(*common) == {source.name: "done"}
    made = (tmp_path / f"out/a{suffix}").stat().st_mtime_ns
    assert statuses(*common) == {source.name: "skipped"}
    assert (tmp_path / f"out/a{suffix}").stat().st_mtime_ns == made
    assert statuses(*common, "--force") == {source.name: "done"}
    assert statuses(*common, "--tile", 64) == {source.name: "done"}
    assert statuses(*common, "--tile", 64) == {source.name: "skipped"}
    expected = "done" if suffix in (".jpg", ".webp") else "skipped"
    assert statuses(*common, "--tile", 64, "--quality", 80) == {source.name: expected}
    assert statuses(*common) == {source.name: "done"}
    model.write_bytes(b"other weights")
    assert statuses(*common) == {source.name: "done"}
    Image.new("RGB", (12, 9), (60, 40, 50)).save(source)
    assert statuses(*common) == {source.name: "done"}
    assert statuses(*common) == {source.name: "skipped"}
    # Threads, device and jobs do not change the picture.
    assert statuses(*common, "--threads", 1, "--jobs", 2, "--device", "cpu") == {source.name: "skipped"}


def test_renamed_outputs_are_recognised(folder: Path, model: Path) -> None:
    enhance(folder / "a.png", "--model", model)
    (folder / "a_enhanced.png").rename(folder / "holiday.png")
    assert statuses(folder / "holiday.png", "--model", model) == {"holiday.png": "skipped"}
    assert not (folder / "holiday_enhanced.png").exists()


def test_files_that_the_user_made_or_changed_are_not_replaced(folder: Path, model: Path) -> None:
    target = folder / "out/a.png"
    target.parent.mkdir()
    target.write_bytes(b"the user's")
    common = (folder / "a.png", "-o", folder / "out", "--model", model)
    result = enhance(*common, expect=1)
    assert "was not made by mirnet-deploy; pass --force" in result.stderr
    assert target.read_bytes() == b"the user's"
    enhance(*common, "--force")
    with Image.open(target) as image:  # retouched by hand, with the record carried over by the program
        retouched = bytearray(target.read_bytes())
        assert image.size == (30, 20)
    retouched[100] ^= 1
    target.write_bytes(retouched)
    result = enhance(*common, "--tile", 128, expect=1)
    assert "was changed since mirnet-deploy made it" in result.stderr
    assert target.read_bytes() == retouched


def test_bad_inputs_do_not_stop_the_rest_and_are_listed_at_the_end(folder: Path, model: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:500])
    (folder / "empty.jpg").touch()
    result = enhance(folder, folder / "gone.png", "--model", model, expect=1)
    assert "2 enhanced, 0 skipped, 3 failed" in result.stdout
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 3
    assert all(line.startswith("error: ") for line in errors)
    for name in ("cut.png is truncated", "empty.jpg is empty", "gone.png does not exist"):
        assert any(name in line for line in errors)
    assert not (folder / "cut_enhanced.png").exists()


def test_a_file_that_vanishes_is_an_error(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Vanishing(Brightener):
        def __init__(self, *_: object, **__: object) -> None:
            (folder / "b.jpg").unlink()

    monkeypatch.setattr("mirnet_deploy.runtime.MIRNetRuntime", Vanishing)
    result = enhance(folder, "--model", model, expect=1)
    assert f"error: {folder / 'b.jpg'} cannot be read: No such file" in result.stderr
    assert (folder / "a_enhanced.png").exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Brightener):
        def enhance_into(self, image: np.ndarray[Any, Any], out: Any, advance: Any) -> PictureInfo:
            (folder / "a_enhanced.png").write_bytes(b"the user's")
            return super().enhance_into(image, out, advance)

    monkeypatch.setattr("mirnet_deploy.runtime.MIRNetRuntime", Slow)
    result = enhance(folder / "a.png", "--model", model, expect=1)
    assert "was not made by mirnet-deploy" in result.stderr
    assert (folder / "a_enhanced.png").read_bytes() == b"the user's"


def test_a_folder_in_place_of_the_result_is_an_error(folder: Path, model: Path) -> None:
    (folder / "a_enhanced.png").mkdir()
    result = enhance(folder / "a.png", "--model", model, "--force", expect=1)
    assert "is in the way" in result.stderr
    (folder / "file").write_bytes(b"")
    result = enhance(folder / "a.png", "--model", model, "-o", folder / "file" / "below", expect=1)
    assert "cannot be written: " in result.stderr


def test_json_is_printed_even_without_pictures(tmp_path: Path, model: Path) -> None:
    report = json.loads(enhance(tmp_path / "gone.png", "--model", model, "--json", expect=1).stdout)
    assert "does not exist" in report["pictures"][0]["error"]


def test_the_summary_says_why_pictures_were_skipped(folder: Path, model: Path) -> None:
    enhance(folder / "a.png", "--model", model)
    again = enhance(folder / "a.png", folder / "a_enhanced.png", "--model", model).stdout
    assert "2 skipped (done before with this model and these settings: 1, an output of mirnet-deploy: 1)" in again


def test_debug_shows_where_a_picture_failed(folder: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:500])
    model = make_onnx(folder / "tiny.onnx")
    command = [sys.executable, "-m", "mirnet_deploy", "--debug", "enhance", folder / "cut.png", "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "error: " in done.stderr


def test_the_json_report_of_a_done_and_a_failed_picture(folder: Path, model: Path) -> None:
    report = json.loads(enhance(folder / "a.png", folder / "gone.png", "--model", model, "--json", expect=1).stdout)
    done, failed = report["pictures"]
    assert done.pop("seconds") >= 0
    assert done == {
        "input": str(folder / "a.png"),
        "output": str(folder / "a_enhanced.png"),
        "status": "done",
        "error": None,
        "note": None,
        "width": 30,
        "height": 20,
        "model": str(model),
        "made": Brightener.info.to_dict() | {"tile_size": [20, 30]},
        "colour": {"profile": None, "converted": False},
    }
    assert failed["status"] == "failed"
    assert "does not exist" in failed["error"]
    assert (report["done"], report["skipped"], report["failed"]) == (1, 0, 1)


def test_tiles_that_miss_the_tolerance_are_reported(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = replace(Brightener.info, tiles=9, passes=13, within_tolerance=False)
    info = replace(made, predicted_psnr=48.31, predicted_max_abs=5 / 255)
    monkeypatch.setattr(Brightener, "info", info)
    done = enhance(folder / "a.png", "--model", model)
    assert (
        "a_enhanced.png: its tiles agree to 48.3 dB, and the worst pixel to 5 levels, after 13 passes, which does not "
        "keep the tolerance of 60"
    ) in done.stderr
    fast = enhance(folder / "a.png", "--model", model, "--consistency", "fast")
    assert "note" not in fast.stderr
    assert "1 enhanced" in fast.stdout


def test_16_bit_grey_and_alpha_are_kept(tmp_path: Path, model: Path) -> None:
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 30000, (8, 9), dtype=np.uint16)
    alpha = rng.integers(0, 65536, (8, 9), dtype=np.uint16)
    for suffix in (".png", ".tiff"):
        write_image(Picture(grey, alpha), tmp_path / f"a{suffix}")
        enhance(tmp_path / f"a{suffix}", "--model", model)
        made = read_image(tmp_path / f"a_enhanced{suffix}")
        np.testing.assert_array_equal(made.pixels, grey * 2)
        np.testing.assert_array_equal(made.alpha, alpha)


def test_16_bit_becomes_8_only_on_request_and_with_a_note(tmp_path: Path, model: Path) -> None:
    write_image(Picture(np.full((5, 6, 3), 20000, np.uint16)), tmp_path / "a.png")
    common = (tmp_path / "a.png", "--model", model)
    result = enhance(*common, "-o", tmp_path / "x.jpg", expect=1)
    assert "has 16 bits a sample and a JPEG holds 8; write PNG or TIFF, or say --format jpg" in result.stderr
    result = enhance(*common, "--format", "jpg")
    assert "note:" in result.stderr
    assert "16 bit became 8" in result.stderr
    assert Image.open(tmp_path / "a_enhanced.jpg").mode == "RGB"


def test_alpha_in_a_jpeg_is_an_error(tmp_path: Path, model: Path) -> None:
    Image.new("RGBA", (5, 6)).save(tmp_path / "a.png")
    result = enhance(tmp_path / "a.png", "--format", "jpg", "--model", model, expect=1)
    assert f"error: {tmp_path / 'a.png'}: has transparency, which a JPEG cannot hold" in result.stderr


def test_max_pixels_is_a_limit(folder: Path, model: Path) -> None:
    result = enhance(folder / "a.png", "--max-pixels", 599, "--model", model, expect=1)
    assert "30x20" in result.stderr
    enhance(folder / "a.png", "--max-pixels", 600, "--model", model)


def test_one_picture_at_a_time_may_run_whole_where_several_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since several at once would each take that much memory: of one command, or of several."""
    monkeypatch.setattr(files, "cache_folder", lambda name: tmp_path / "cache" / name)
    tile = make_onnx(tmp_path / "tile.onnx", "mean")
    monkeypatch.setattr(limits, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "WHOLE_BYTES_ALONE", (64 << 20, 32 << 20))
    Image.new("RGB", (300, 200), (9, 9, 9)).save(tmp_path / "a.png")

    def tiles(*arguments: object) -> int:
        done = enhance(tmp_path / "a.png", "--force", "--json", "--model", tile, "--backend", "openvino", *arguments)
        made = json.loads(done.stdout)["pictures"][0]["made"]
        stamp = read_stamp(tmp_path / "a_enhanced.png")
        assert stamp
        assert stamp.record
        height, width = made["tile_size"]
        assert stamp.record.tile_size == ("whole" if made["tiles"] == 1 else f"{height}x{width}")
        number: int = made["tiles"]
        return number

    free, enhance_into = [], MIRNetRuntime.enhance_into

    def watched(runtime: MIRNetRuntime, *given: Any, **named: Any) -> PictureInfo:
        with files.held(tmp_path / "cache" / "alone") as alone:
            free.append(alone)
        return enhance_into(runtime, *given, **named)

    monkeypatch.setattr(MIRNetRuntime, "enhance_into", watched)
    assert tiles() == 1
    assert tiles("--jobs", 2) > 1
    assert free == [False, False], "held while they are at work, so that others do not take as much"
    with files.held(tmp_path / "cache" / "alone") as alone:
        assert alone
        assert tiles() > 1
    assert tiles() == 1
    assert tiles("--max-memory", "6M") > 1


def test_several_jobs_give_the_results_of_one(folder: Path, model: Path) -> None:
    for number in range(12):
        Image.new("RGB", (10 + number, 7), (number, 2, 3)).save(folder / f"n{number}.png")
    enhance(folder, "-o", folder / "one", "--model", model)
    enhance(f"{folder}/*.*", "-o", folder / "four", "--jobs", 4, "--model", model)
    made = names(folder / "one")
    assert len(made) == 14
    assert made == names(folder / "four")
    for name in made:
        assert (folder / "one" / name).read_bytes() == (folder / "four" / name).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "--tile", "big"],
        ["a.png", "--jobs", "0"],
        ["a.png", "--quality", "0"],
        [],
    ],
)
def test_usage_errors_exit_2(folder: Path, model: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = enhance(*arguments, "--model", model, expect=2)
    assert "rror: " in result.stderr
    assert Brightener.opened == 0


def test_a_model_that_is_not_there_is_one_line(folder: Path) -> None:
    result = enhance(folder, "--model", folder / "gone.onnx", expect=1)
    assert result.stderr == f"error: model {folder / 'gone.onnx'} cannot be read: No such file or directory\n"
    assert "no model 'nonsense'" in enhance(folder, "--model", "nonsense", expect=1).stderr


def test_enhancing_with_a_real_engine(folder: Path) -> None:
    onnx = make_onnx(folder / "identity.onnx")
    enhance(folder, "-o", folder / "out", "--recursive", "--model", onnx, "--device", "cpu", "--threads", 1)
    for name in ("a.png", "sub/c.tiff"):
        np.testing.assert_array_equal(
            np.asarray(Image.open(folder / "out" / name)), np.asarray(Image.open(folder / name))
        )
    stamp = read_stamp(folder / "out/a.png")
    assert stamp is not None
    assert stamp.intact
    deep = Picture(np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16))
    write_image(deep, folder / "deep.png")
    enhance(folder / "deep.png", "--model", onnx, "--device", "cpu")
    np.testing.assert_array_equal(read_image(folder / "deep_enhanced.png").pixels, deep.pixels)


def test_16_bit_through_an_image_interface_is_one_line_of_error(folder: Path) -> None:
    onnx = make_onnx(folder / "image.onnx", interface="image")
    write_image(Picture(np.zeros((9, 7, 3), np.uint16)), folder / "deep.png")
    result = enhance(folder / "deep.png", folder / "a.png", "--model", onnx, "--device", "cpu", expect=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {folder / 'deep.png'}")
    assert "float" in line
    assert (folder / "a_enhanced.png").exists()


SLOW = """
import signal, sys, time
# A shell that runs the tests in the background makes its children ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
import mirnet_deploy.runtime, mirnet_deploy.files, mirnet_deploy.jobs.making as making
from mirnet_deploy.jobs.record import stamped
from mirnet_deploy.results import PictureInfo
from mirnet_deploy.settings import RuntimeSettings

class Slow:
    def __init__(self, *_, **__): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def enhance_into(self, image, out, advance):
        print("working", file=sys.stderr, flush=True)
        time.sleep(0 if image.shape[1] < 30 else 60)
        out[:] = image
        return PictureInfo(1, image.shape[:2], "exact", 0.0)

def slow_stamped(data, record):
    print("writing", file=sys.stderr, flush=True)
    time.sleep(0.5)
    return stamped(data, record)

mirnet_deploy.runtime.MIRNetRuntime = Slow
if sys.argv[1] == "writing":
    making.stamped = slow_stamped
from mirnet_deploy.cli import main
main(sys.argv[2:])
"""


@pytest.fixture
def started(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["working", "writing"])
def test_an_interruption_leaves_only_whole_files(
    folder: Path, started: list[subprocess.Popen[str]], number: signal.Signals, moment: str
) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    width = 30 if moment == "working" else 20  # narrow ones are fast to enhance and slow to write
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (width, 20), (9, 9, 9)).save(folder / name)
    before = names(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, moment, "enhance", str(folder), "--model", str(folder / "model.onnx")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    assert process.stderr is not None
    for line in process.stderr:
        if moment in line:
            break
    sent = time.monotonic()
    process.send_signal(number)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 128 + number, rest
    assert time.monotonic() - sent < 10
    assert "interrupted" in rest
    assert "Traceback" not in rest
    made = sorted(set(names(folder)) - set(before))
    assert not [name for name in made if "partial" in name]
    for name in made:  # writes that were under way were finished
        stamp = read_stamp(folder / name)
        assert stamp is not None
        assert stamp.intact
        with Image.open(folder / name) as image:
            image.load()
    assert bool(made) == (moment == "writing")


def test_an_unknown_device_is_an_error_even_where_all_is_done(folder: Path, model: Path) -> None:
    enhance(folder / "a.png", "--model", model)
    result = enhance(folder / "a.png", "--model", model, "--device", "gpu", expect=2)
    assert result.output == "error: --device is 'gpu'; expected auto, cpu, cuda or cuda:N\n"


def test_a_tolerance_that_is_nearly_kept_is_not_rounded_to_one_that_is(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = replace(Brightener.info, tiles=9, passes=13, within_tolerance=False)
    monkeypatch.setattr(Brightener, "info", replace(made, predicted_psnr=59.98, predicted_max_abs=0.5 / 255))
    said = enhance(folder / "a.png", "--model", model).stderr
    assert (
        "agree to 59.98 dB, and the worst pixel to 0.5 levels, after 13 passes, which does not keep the tolerance of 60"
    ) in said


def test_a_library_that_cannot_be_loaded_is_told_and_the_rest_is_done(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory is short; it used to be a traceback, or `damaged`."""

    def unloadable(*_: object) -> None:
        raise ImportError("cv2.so: cannot allocate memory")

    monkeypatch.setitem(reading._DECODERS, "jpg", unloadable)
    result = enhance(folder / "b.jpg", folder / "a.png", "--model", model, expect=1)
    reason = "a library cannot be loaded: cv2.so: cannot allocate memory"
    assert result.stderr == f"error: {folder / 'b.jpg'}: {reason}\n"
    assert (folder / "a_enhanced.png").exists()


def test_a_program_that_calls_the_command_finds_its_settings_again(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str | None, int | None]] = []
    original = Brightener.__init__

    def opening(self: Brightener, *given: object, **more: object) -> None:
        seen.append((os.environ.get("OPENBLAS_NUM_THREADS"), Image.MAX_IMAGE_PIXELS))
        original(self, *given, **more)

    monkeypatch.setattr(Brightener, "__init__", opening)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123_456)
    for threads in (None, "3"):
        if threads:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        else:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        before = dict(os.environ)
        enhance(folder / "a.png", "--model", model, "-o", folder / "out", "--force")
        assert (dict(os.environ), Image.MAX_IMAGE_PIXELS) == (before, 123_456)
    assert seen == [("1", None), ("3", None)]
