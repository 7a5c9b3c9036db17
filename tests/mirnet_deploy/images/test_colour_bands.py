"""TIFFs of other colour spaces that are worked on in bands become the same files as in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from artifacts import make_onnx
from click.testing import CliRunner
from profiles import PROFILES, gamma, grey_profile

from mirnet_deploy.cli import main
from mirnet_deploy.images import read_image
from mirnet_deploy.jobs import making

GREY = grey_profile(gamma(1.8))


def write(path: Path, dtype: Any, channels: int, profile: bytes) -> Path:
    values = np.random.default_rng(0).random((97, 101, channels)) * np.linspace(0.05, 0.9, 101)[None, :, None]
    pixels = (values * np.iinfo(dtype).max).astype(dtype)
    pixels = pixels if channels == 3 else pixels[..., 0]
    kind = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, metadata=None, rowsperstrip=16, iccprofile=profile)
    return path


@pytest.mark.parametrize(
    ("dtype", "channels", "profile", "more"),
    [
        (np.uint8, 3, PROFILES["Display P3"], ("--brightness", 0.1, "--strength", 0.8)),
        (np.uint16, 3, PROFILES["ProPhoto"], ("--strength", 0)),
        (np.uint16, 1, GREY, ()),
    ],
)
def test_the_same_file_as_in_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: Any,
    channels: int,
    profile: bytes,
    more: tuple[Any, ...],
) -> None:
    path = write(tmp_path / "a.tif", dtype, channels, profile)
    model = make_onnx(tmp_path / "mean.onnx", "mean", interface="float")

    def enhance(name: str, *options: Any) -> Path:
        arguments = ["enhance", path, "--model", model, "--tile", 64, "--tolerance", 100, "-o", tmp_path / name]
        done = CliRunner().invoke(main, [str(each) for each in (*arguments, "--json", *options)])
        assert done.exit_code == 0, done.output
        (picture,) = json.loads(done.stdout)["pictures"]
        assert (picture["colour"]["converted"], picture["note"]) == (True, None)
        return tmp_path / name

    in_memory = enhance("memory.tif", *more)
    monkeypatch.setattr(making, "available_memory", lambda: 1)
    assert enhance("bands.tif", *more).read_bytes() == in_memory.read_bytes()
    assert np.array_equal(read_image(in_memory).pixels, read_image(path).pixels) == (more == ("--strength", 0))
    assert read_image(in_memory).icc == profile
