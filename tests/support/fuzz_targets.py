"""What is fuzzed: each target takes bytes, in a folder of its own, and raises where a promise is broken.

A reader may refuse what it gets, in one line, by an error of the package; anything else is a fault.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.testing import CliRunner
from pictures import USUAL

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.onnx_graph import deferring_nodes, without_defaults
from mirnet_deploy.artifacts.onnx_metadata import onnx_metadata
from mirnet_deploy.artifacts.sidecar import read_onnx, sidecar_path, write_sidecar
from mirnet_deploy.cli import COMMANDS, main
from mirnet_deploy.cli.info import _rows, describe
from mirnet_deploy.errors import MirnetDeployError, MirnetDeployWarning
from mirnet_deploy.images.colour.conversion import colour_of
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.tiff.bands import BandedTiff, RawBands, bytes_in_memory, pack_bands, profile_of_tiff
from mirnet_deploy.images.writing import encode_image
from mirnet_deploy.images.xmp import lost_with, upright_xmp, xmp_orientation
from mirnet_deploy.jobs.record import has_stamp, read_stamp

MOST_PIXELS = 1 << 20
"""Of a picture that is decoded; the bound on memory (`fuzzing`) is for pictures of this size."""


def check_line(text: str) -> None:
    """Asserts that a text can be shown as one line, and is not the excuse of a bound that came too late."""
    assert text.strip(), "an error without words"
    # A name that is not text stands in a line as it was given.
    assert all(letter.isprintable() or "\udc80" <= letter <= "\udcff" for letter in text), (
        f"not one printable line: {text!r}"
    )
    assert "does not fit into memory, not" not in text, text
    assert not text.endswith("does not fit into memory; close other programs or make it smaller"), text


@contextlib.contextmanager
def refusing(*more: type[Exception]) -> Iterator[None]:
    """A block that may be refused by an error of the package, or by one of `more`, in one line."""
    refusals: tuple[type[Exception], ...] = (MirnetDeployError, *more)
    try:
        yield
    except refusals as error:
        check_line(str(error))


def picture(data: bytes, folder: Path) -> None:
    """What is read can be written to a file of its kind, and that file be read; exactly, where the format is exact."""
    with refusing():
        read = decode_image(data, "a", max_pixels=MOST_PIXELS)
        for line in read.lost:
            check_line(line)
        kind: Format = "tiff" if read.format == "raw" else read.format
        written = encode_image(read, kind, **USUAL)
        again = decode_image(written, "its copy", max_pixels=MOST_PIXELS)
        assert again.pixels.shape[:2] == read.pixels.shape[:2]
        if kind in ("png", "tiff", "bmp"):
            np.testing.assert_array_equal(again.rgb(), read.rgb())


def bands(data: bytes, folder: Path) -> None:
    """A TIFF is read in bands as it is in memory."""
    path = folder / "a.tif"
    path.write_bytes(data)
    assert bytes_in_memory(path, toned=True) >= 0
    with refusing(OSError):
        profile_of_tiff(path)
    with refusing(OSError), BandedTiff(path, MOST_PIXELS) as source:
        result = RawBands(io.BytesIO(), source)
        for top in range(0, source.shape[0], 7):
            result[top : top + 7] = source[top : top + 7]
        strips = io.BytesIO()
        packed = pack_bands(result, source, strips) + strips.getvalue()
        again = decode_image(packed, "its copy", max_pixels=MOST_PIXELS)
        whole = decode_image(data, "whole", max_pixels=MOST_PIXELS)
        np.testing.assert_array_equal(again.rgb(), whole.rgb())


def icc(data: bytes, folder: Path) -> None:
    """No profile raises an error, and where the network changes nothing the picture stays as it is."""
    for dtype in (np.uint8, np.uint16):
        pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (3, 4, 3), dtype, endpoint=True)
        for grey in (False, True):
            given = np.ascontiguousarray(pixels[..., 0]) if grey else pixels
            colour = colour_of(data, np.dtype(dtype), grey=grey)
            if colour.problem:
                check_line(colour.problem)
            if colour.conversion and not grey:
                there = colour.conversion.there(given)
                assert (there.shape, there.dtype) == (given.shape, colour.conversion.network_dtype)
                np.testing.assert_array_equal(colour.conversion.back(there, given), given)


def xmp(data: bytes, folder: Path) -> None:
    with refusing(ValueError):
        assert 1 <= xmp_orientation(data) <= 8
        assert all(isinstance(line, str) for line in lost_with(data))
        upright = upright_xmp(data, 30, 20)
        assert xmp_orientation(upright) == 1
        assert upright_xmp(upright, 30, 20) == upright


def record(data: bytes, folder: Path) -> None:
    path = folder / "a.png"
    path.write_bytes(data)
    assert has_stamp(path) == (read_stamp(path) is not None)


def sidecar(data: bytes, folder: Path) -> None:
    for name in ("a.plan", "a.onnx"):
        path = folder / name
        path.write_bytes(b"no plan at all")
        sidecar_path(path).write_bytes(data)
        with refusing():
            _rows(describe(str(path)))
    with refusing():
        read = ArtifactMetadata.from_json(data, "a")
        assert read.batch_dtype in (np.float32, np.uint8)
        assert len(read.batch_axes) == 3
        assert ArtifactMetadata.from_json(read.to_json(), "again").to_json() == read.to_json()
        read.profile_shapes()


def onnx(data: bytes, folder: Path) -> None:
    """The sidecar says that the file is as it was exported."""
    path = folder / "a.onnx"
    path.write_bytes(data)
    with refusing():
        inside = onnx_metadata(data, "a")
        write_sidecar(path, replace(inside, sha256=hashlib.sha256(data).hexdigest()))
        assert read_onnx(path)[0] == data
    with refusing(ValueError):
        deferring_nodes(data)
        without_defaults(data, {"context", "mode"})
    with refusing():
        _rows(describe(str(path)))


def checkpoint(data: bytes, folder: Path) -> None:
    from mirnet_deploy.training.checkpoint import load_checkpoint

    path = folder / "a.pt"
    path.write_bytes(data)
    with refusing(), warnings.catch_warnings():
        warnings.simplefilter("ignore", MirnetDeployWarning)
        json.dumps(load_checkpoint(path).describe)


VALUES = (
    "", "0", "1", "-1", "3", "64", "2147483648", "99999999999999999999", "1e400", "nan", "-inf", "0.5", "none", "auto",
    "cpu", "cuda:0", "cuda:99", "10x10", "0x0", "x", "é\udcff", "a\nb", "x" * 300, "-", "--", "*", "[", "in.png",
    "broken.png", "broken.pt", "broken.onnx", "a.pt", "a.onnx", "empty", "nowhere", "nowhere/b.png", "in.png/b", "~",
    "png", "4:2:0", "onnxruntime", "fp32",
)  # fmt: skip
"""Of options and arguments. All are of the folder that the commands run in."""
WHOLE = ("enhance", "info", "weights")
"""Commands that do all of their work here. Others get only names that they refuse, or their words are parsed alone."""
REFUSED = ("broken.png", "broken.pt", "broken.onnx", "empty", "nowhere", "in.png/b", "", "x" * 300, "é\udcff")


def commands(data: bytes, folder: Path) -> None:
    """A command line that is drawn by the bytes ends with 0, 1 or 2, and says in a line why; no input is changed."""
    rng = random.Random(data)
    _prepare(folder)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    name = rng.choice(list(COMMANDS))
    if name in WHOLE or name in ("train", "export"):
        words = [name, *_words(rng, main.get_command(click.Context(main), name), name)]
        standard_input = before[folder / rng.choice(["in.png", "broken.png"])]
        done = CliRunner().invoke(main, words, input=standard_input, catch_exceptions=False)
        _check_end(done.exit_code, done.stderr, words)
    else:
        command: Any = main.get_command(click.Context(main), name)
        words = _words(rng, command, name)
        with refusing(click.ClickException, click.exceptions.Exit), contextlib.redirect_stdout(io.StringIO()):
            command.make_context(name, list(words))
    after = {path: path.read_bytes() for path in before if path.is_file()}
    if "--force" not in words:
        assert after == before, f"{words} changed an input"


def _words(rng: random.Random, command: Any, name: str) -> list[str]:
    words: list[str] = []
    for option in rng.sample(command.params, min(len(command.params), rng.choice((0, 1, 2, 3, 6)))):
        if not isinstance(option, click.Option):
            continue
        words.append(rng.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            choices = getattr(option.type, "choices", None)
            words += [str(rng.choice(choices)) if choices and rng.random() < 0.6 else _value(rng, name)]
    words += [_value(rng, name) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
    if name == "enhance":
        words += ["in.png", "--device", "cpu", "--model", rng.choice(["a.onnx"] * 5 + ["broken.onnx", "nowhere"])]
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words) + 1), rng.choice(["--help", "--helpp", "-x", "--=", "---"]))
    return words


def _value(rng: random.Random, name: str) -> str:
    return rng.choice(VALUES if name in WHOLE else REFUSED)


def _check_end(code: int, said: str, words: list[str]) -> None:
    assert code in (0, 1, 2), (words, code, said)
    assert "Traceback" not in said, (words, said)
    if code:
        reasons = [line for line in said.splitlines() if line.startswith(("error: ", "Error: "))]
        assert reasons, (words, said)
        assert code == 1 or len(reasons) == 1, (words, said)


def _prepare(folder: Path) -> None:
    """Puts the files that `VALUES` name into the folder."""
    import onnxruntime  # noqa: F401 (so that it counts as memory of no command)
    import torch  # noqa: F401
    from artifacts import make_onnx
    from fuzz_seeds import seeds

    (folder / "empty").mkdir()
    (folder / "in.png").write_bytes(seeds("png")[3])
    (folder / "broken.png").write_bytes(seeds("png")[0][:200])
    (folder / "a.pt").write_bytes(seeds("checkpoint")[0])
    (folder / "broken.pt").write_bytes(seeds("checkpoint")[0][:5000])
    make_onnx(folder / "a.onnx")
    (folder / "broken.onnx").write_bytes(struct.pack("<Q", 1 << 60))


KINDS = ("png", "jpg", "webp", "bmp", "tiff", "heic", "avif", "jxl", "raw")
TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    **dict.fromkeys(KINDS, picture),
    "bands": bands,
    "icc": icc,
    "xmp": xmp,
    "record": record,
    "sidecar": sidecar,
    "onnx": onnx,
    "checkpoint": checkpoint,
    "commands": commands,
}
"""Name -> what is called with the bytes and an empty folder, which is also the working directory."""
