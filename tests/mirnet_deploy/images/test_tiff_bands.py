"""TIFFs larger than memory are read and written in bands, with the same result as in memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from artifacts import make_onnx
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.cli import main
from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import read_image
from mirnet_deploy.images.profiles import SRGB_PRIMARIES, rgb_profile
from mirnet_deploy.images.tiff import codecs as tiff_codecs
from mirnet_deploy.images.tiff.bands import BandedTiff, RawBands, bytes_in_memory, pack_bands
from mirnet_deploy.jobs import making
from mirnet_deploy.jobs.record import read_stamp

LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 16},
    "one strip": {"rowsperstrip": 200},
    "strips deflate": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "strips lzw": {"rowsperstrip": 16, "compression": "lzw"},
    "tiles": {"tile": (32, 48)},
    "tiles deflate": {"tile": (64, 64), "compression": "zlib"},
    "tiles lzw": {"tile": (16, 80), "compression": "lzw", "predictor": True},
    "big-endian": {"rowsperstrip": 16, "byteorder": ">"},
}
BIG = 1_000_000_000


def samples(dtype: Any, channels: int) -> NDArray[Any]:
    """A ramp with noise, [173,211,channels] or [173,211]: the sides are primes, which no strip or tile divides."""
    ramp = np.linspace(0.1, 0.7, 211)[None, :, None] * np.ones((173, 1, channels))
    noise = np.random.default_rng(0).normal(0, 0.05, ramp.shape)
    values = ((ramp + noise).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)
    return values if channels > 1 else values[..., 0]


def write(path: Path, pixels: NDArray[Any], **layout: Any) -> Path:
    """The fourth channel, if there is one, is alpha, the fifth unspecified."""
    extra = {"extrasamples": ["unassalpha", "unspecified"][: pixels.shape[2] - 3]} if pixels.ndim == 3 else {}
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, metadata=None, **extra, **layout)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact that subtracts the mean of the picture."""
    return make_onnx(tmp_path / "mean.onnx", "mean")


def enhance(*arguments: object, expect: int = 0) -> Result:
    done = CliRunner().invoke(main, ["enhance", *map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 3), (np.uint8, 1)])
def test_windows_equal_those_of_the_whole_picture(tmp_path: Path, layout: str, dtype: Any, channels: int) -> None:
    pixels = samples(dtype, channels)
    whole = pixels if channels == 3 else np.repeat(pixels[..., None], 3, axis=2)
    with BandedTiff(write(tmp_path / "a.tif", pixels, **LAYOUTS[layout]), BIG) as source:
        assert (source.shape, source.dtype, source.grey) == ((173, 211, 3), dtype, channels == 1)
        np.testing.assert_array_equal(source[0:173, 0:211], whole)
        for window in ((slice(5, 90), slice(100, 211)), (slice(90, 91), slice(0, 1)), (slice(3, 60), slice(47, 49))):
            np.testing.assert_array_equal(source[window], whole[window])
        np.testing.assert_array_equal(source[20:40], whole[20:40])


def test_only_the_rows_in_use_are_kept(tmp_path: Path) -> None:
    with BandedTiff(write(tmp_path / "a.tif", samples(np.uint8, 3), rowsperstrip=8), BIG) as source:
        for top in range(0, 160, 10):
            _ = source[top : top + 12, 0:50]
            assert len(source._kept) <= 3


FINISH = ("--brightness", 0.7, "--strength", 0.8)
"""Options for which the result's file is read again."""


@pytest.mark.parametrize(
    ("dtype", "channels", "more"),
    [
        (np.uint8, 3, ()),
        (np.uint16, 3, ()),
        (np.uint16, 1, ()),
        (np.uint8, 1, ()),
        (np.uint16, 3, FINISH),
        (np.uint8, 5, ()),
    ],
)
def test_the_command_writes_the_same_file_as_in_memory(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, channels: int, more: tuple[Any, ...]
) -> None:
    path = write(tmp_path / "a.tif", samples(dtype, channels), compression="lzw", rowsperstrip=16)
    common = (path, "--model", model, "--tile", 64, "--tolerance", 100, "--json", *more)
    in_memory = json.loads(enhance(*common, "-o", tmp_path / "memory.tif").stdout)
    monkeypatch.setattr(making, "available_memory", lambda: bytes_in_memory(path, toned=False))
    done = enhance(*common, "-o", tmp_path / "bands.tif")
    assert ("its channel 5 (of unspecified meaning) is lost" in done.stderr) == (channels == 5)
    in_bands = json.loads(done.stdout)
    for made in (in_memory["pictures"][0]["made"], in_bands["pictures"][0]["made"]):
        assert made.pop("seconds") > 0
    assert in_bands["pictures"][0]["made"] == in_memory["pictures"][0]["made"]
    assert in_bands["pictures"][0]["made"]["passes"] >= 2
    assert (tmp_path / "bands.tif").read_bytes() == (tmp_path / "memory.tif").read_bytes()
    stamp = read_stamp(tmp_path / "bands.tif")
    assert stamp is not None
    assert stamp.intact
    assert {file.name for file in tmp_path.iterdir()} == {
        "a.tif", "bands.tif", "memory.tif", "mean.onnx", "mean.onnx.json"
    }  # fmt: skip


PROFILE = rgb_profile(SRGB_PRIMARIES, [(1.8,)] * 3, "a profile")


def test_exif_and_profile_are_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    Image.fromarray(samples(np.uint8, 3)).save(tmp_path / "a.tif", exif=exif, icc_profile=PROFILE)
    with BandedTiff(tmp_path / "a.tif", BIG) as source:
        result, strips = RawBands(BytesIO(), source), BytesIO()
        result[0:173] = source[0:173]
        (tmp_path / "b.tif").write_bytes(pack_bands(result, source, strips) + strips.getvalue())
    before, after = read_image(tmp_path / "a.tif"), read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert after.icc == before.icc == PROFILE
    assert after.exif == before.exif


def test_files_that_cannot_be_read_in_bands_are_an_error(tmp_path: Path) -> None:
    turned = {"extratags": [(274, 3, 1, 6, True)]}
    for name, (pixels, layout, said) in {
        "turned": (
            np.zeros((9, 9, 3), np.uint8),
            turned,
            "does not fit into memory, and a turned picture or old-style",
        ),
        "float": (np.zeros((9, 9)), {}, "has 64-bit float samples; expected unsigned ones of at most 16 bits"),
    }.items():
        with pytest.raises(ImageError, match=rf"{name}\.tif {said}"):
            BandedTiff(write(tmp_path / f"{name}.tif", pixels, **layout), BIG)
    path = write(tmp_path / "large.tif", samples(np.uint8, 3))
    with pytest.raises(ImageError, match=r"large\.tif is 211x173.*\(--max-pixels\)"):
        BandedTiff(path, 100)


def test_a_damaged_strip_is_an_error_and_leaves_no_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif", samples(np.uint8, 3), compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        middle = file.pages[0].dataoffsets[5]  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    monkeypatch.setattr(making, "available_memory", lambda: 1000)
    said = enhance(path, "--model", model, "--tile", 64, "-o", tmp_path / "out", expect=1).stderr
    assert "a.tif is damaged or cut short" in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("layout", "tag", "kind", "count", "value"),
    [
        ({"rowsperstrip": 16}, 278, 4, 1, 0),
        ({"tile": (16, 16)}, 322, 4, 1, 0),
        ({"tile": (16, 16)}, 323, 4, 1, 0),
        ({"rowsperstrip": 16}, 277, 3, 0, 3),
        ({"rowsperstrip": 16}, 279, 4, 1, 7),
    ],
    ids=["no rows per strip", "no width", "no height", "no samples", "one byte count"],
)
def test_damaged_tags_are_one_error_and_close_the_file(
    tmp_path: Path, layout: dict[str, Any], tag: int, kind: int, count: int, value: int
) -> None:
    path = write(tmp_path / "a.tif", samples(np.uint8, 3), **layout)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    places = range(start + 2, start + 2 + 12 * entries, 12)
    (place,) = (at for at in places if data[at : at + 2] == struct.pack("<H", tag))
    struct.pack_into("<HIHH", data, place + 2, kind, count, value, value)
    path.write_bytes(data)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ImageError, match=r"a\.tif"), BandedTiff(path, BIG) as source:
        source[0 : source.shape[0]]
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_tifffile_is_needed_for_rare_compressions_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = write(tmp_path / "a.tif", samples(np.uint8, 3), compression="lzw")
    rare = write(tmp_path / "b.tif", samples(np.uint8, 3), compression="jpegxl")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.setattr(tiff_codecs, "find_spec", lambda _: None)
    with BandedTiff(common, BIG) as source:
        np.testing.assert_array_equal(source[0:173], samples(np.uint8, 3))
    for read in (read_image, lambda path: BandedTiff(path, BIG)):
        with pytest.raises(ImageError, match=r"b\.tif is a TIFF with JPEG XL compression .*mirnet-deploy\[large\]"):
            read(rare)


LIMITED = """
import resource, sys
from pathlib import Path
import cv2, numpy, tifffile
from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.jobs import making
from mirnet_deploy.cli import main
model, source, target, room = sys.argv[1:]
with MIRNetRuntime(model, tile=256, device="cpu", threads=1) as runtime:
    runtime.enhance(numpy.zeros((300, 300, 3), numpy.uint8))
    used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + int(room),) * 2)
making.available_memory = lambda: int(room)
main(["enhance", source, "--model", model, "--tile", "256", "--threads", "1", "-o", target], standalone_mode=False)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by the rules of Linux")
def test_a_picture_larger_than_the_memory_that_is_left_is_enhanced(tmp_path: Path, model: Path) -> None:
    """36 megapixels, 108 MB and as much for the result, in a process that may take 80 MiB more than it has."""
    source, target = tmp_path / "large.tif", tmp_path / "result.tif"
    line = np.linspace(60, 200, 6000).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    pixels = np.broadcast_to(line, (6000, 6000, 3))
    tifffile.imwrite(source, pixels, rowsperstrip=500, photometric="rgb", compression="zlib", metadata=None)
    arguments = [str(model), str(source), str(target), str(80 << 20)]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with BandedTiff(target, BIG) as result:
        expected = (line[0] / 255 - line.mean() / 255).clip(0, 1) * 255
        for row in (0, 4321, 5999):
            assert np.abs(result[row : row + 1][0] - expected).max() <= 1


@pytest.mark.parametrize("cut", [6, 9, 20, -1])
def test_a_damaged_file_is_an_error_of_its_own(tmp_path: Path, cut: int) -> None:
    """Of one picture: a job goes on with the others."""
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, np.full((40, 30, 3), 9, np.uint8), photometric="rgb")
    data = whole.read_bytes()
    path = tmp_path / "a.tif"
    path.write_bytes(data[:cut] if cut > 0 else data[:4] + b"\xff" * 4 + data[8:])
    with pytest.raises(ImageError, match=r"a\.tif is damaged or cut short"), BandedTiff(path, 10**9):
        raise AssertionError("it cannot be opened")
