"""`enhance - -o -`: a picture from standard input, its result to standard output, and nothing else there."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from PIL import Image

from mirnet_deploy.cli import main
from mirnet_deploy.jobs.record import read_stamp

# All bytes there are, so that a stream that translates line ends, or knows UTF-8, is noticed.
PIXELS = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    return file.getvalue()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_onnx(tmp_path / "identity.onnx")


def enhance(model: Path, *words: str, stdin: bytes = b"", expect: int = 0) -> Result:
    words = ("enhance", *words, "--model", str(model), "--device", "cpu")
    result = CliRunner().invoke(main, words, input=stdin, catch_exceptions=False)
    assert result.exit_code == expect, result.stderr
    return result


@pytest.mark.parametrize(("given", "kind"), [("PNG", "PNG"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("BMP", "PNG")])
def test_standard_output_gets_what_a_file_would_hold(tmp_path: Path, model: Path, given: str, kind: str) -> None:
    words = [] if given == kind else ["--format", kind.lower()]
    result = enhance(model, "-", "-o", "-", *words, stdin=encoded(given))
    assert result.stderr == "- -> -\n1 enhanced, 0 skipped, 0 failed\n"
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert image.format == kind
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
    (tmp_path / "in").write_bytes(encoded(given))
    enhance(model, "in", "-o", f"out.{kind.lower()}")
    assert (tmp_path / f"out.{kind.lower()}").read_bytes() == result.stdout_bytes
    stamp = read_stamp(tmp_path / f"out.{kind.lower()}")
    assert stamp
    assert stamp.intact


def test_a_file_to_standard_output_and_standard_input_to_a_file(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in.png").write_bytes(encoded("PNG"))
    result = enhance(model, "in.png", "-o", "-")
    assert result.stderr.startswith("in.png -> -\n")
    assert enhance(model, "-", "-o", "out.png", stdin=encoded("PNG")).stdout.startswith("- -> out.png\n")
    assert (tmp_path / "out.png").read_bytes() == result.stdout_bytes
    assert "1 skipped (done before" in enhance(model, "-", "-o", "out.png", stdin=encoded("PNG")).stdout
    report = json.loads(enhance(model, "-", "in.png", "-o", "out", "--json", stdin=encoded("BMP")).stdout)
    assert [entry["input"] for entry in report["pictures"]] == ["-", "in.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"stdin.bmp", "in.png"}


def test_what_gives_no_picture_is_an_error(tmp_path: Path, model: Path) -> None:
    own = enhance(model, "-", "-o", "-", stdin=encoded("PNG")).stdout_bytes
    for given, said in (
        (b"", "error: standard input is empty (0 bytes)"),
        (encoded("PNG")[:60], "error: standard input is truncated"),
        (own, "error: standard input is an output of mirnet-deploy: nothing was written to standard output\n"),
    ):
        result = enhance(model, "-", "-o", "-", stdin=given, expect=1)
        assert result.stderr.startswith(said), result.stderr
        assert result.stdout_bytes == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-"], "add -o FILE, or -o -"),
        (["a.png", "b.png", "-o", "-"], "-o - takes one picture"),
        ([".", "-o", "-"], "-o - takes one picture"),
        (["-", "-o", "-", "--json"], "both want standard output"),
    ],
)
def test_contradictions_are_told(tmp_path: Path, model: Path, words: list[str], said: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    result = enhance(model, *words, stdin=encoded("PNG"), expect=2)
    assert said in result.stderr
    assert result.stdout_bytes == b""


@pytest.mark.skipif(os.name == "nt", reason="POSIX streams")
def test_a_terminal_and_a_closed_stream_get_no_picture(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in.png").write_bytes(encoded("PNG"))
    words = [sys.executable, "-m", "mirnet_deploy", "enhance", "in.png", "--model", str(model), "-o", "-"]
    ours, theirs = os.openpty()
    done = subprocess.run(words, stdout=theirs, stderr=-1, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "error: -o - would write a picture to the terminal; add > FILE or a pipe",
    )
    os.close(ours)
    os.close(theirs)
    done = subprocess.run(words, preexec_fn=lambda: os.close(1), stderr=-1, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: -o - has nowhere to go: standard output is closed\n")


@pytest.mark.skipif(os.name == "nt", reason="POSIX streams")
def test_a_reader_that_leaves_early_ends_it_quietly(tmp_path: Path, model: Path) -> None:
    Image.effect_noise((400, 400), 90).convert("RGB").save(tmp_path / "in.bmp")  # more than a pipe holds
    words = ["enhance", "in.bmp", "--model", str(model), "--device", "cpu", "-o", "-"]
    child = subprocess.Popen([sys.executable, "-m", "mirnet_deploy", *words], stdout=-1, stderr=-1, bufsize=0)
    assert child.stdout
    assert child.stderr
    assert child.stdout.read(2) == b"BM"
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == (b"", 141)
    child.stderr.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_standard_input_that_cannot_be_stored_is_one_line(model: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        result = enhance(model, "-", "-o", "out.png", stdin=encoded("BMP"), expect=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.fullmatch(r"error: standard input cannot be stored in \S+: File too large\n", result.stderr)


def test_no_temporary_folder_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/not/there")
    result = enhance(model, "-", "-o", "out.png", expect=1)
    assert result.stderr == "error: no temporary folder can be made: No such file or directory\n"
