"""What a job does with pictures that have an ICC profile, and which of their results it takes for done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from pictures import write_image
from PIL import Image
from profiles import PROFILES, SRGB, SRGB_CURVE, gamma, grey_profile, matrix_profile, tables_profile

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.cli import main
from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.colour.conversion import colour_of
from mirnet_deploy.images.formats import NAMES, format_of_name
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.making import Made, make_picture
from mirnet_deploy.jobs.record import Record, read_stamp, stamped
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.results import PictureInfo

P3 = PROFILES["Display P3"]
SRGB_PROFILE = matrix_profile(SRGB, SRGB_CURVE, name="plain")
GREY = grey_profile(gamma(1.8))
TABLES = tables_profile(SRGB, 1.8)
MANAGED = JobSettings("m", "0" * 64, RuntimeSettings(), 95, "4:4:4", None, False)
UNMANAGED = replace(MANAGED, colour_management=False)


class Brightener:
    """Stands in for the runtime: doubles every value, at most to white, and keeps what it was given."""

    info = PictureInfo(tiles=1, tile_size=(20, 30), settings=RuntimeSettings(), seconds=0.1)

    def __init__(self, *_: object, wide: bool = True, **__: object) -> None:
        self.wide = wide

    def __enter__(self) -> Brightener:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def takes(self, dtype: Any) -> bool:
        return self.wide or dtype == np.uint8

    def enhance_into(self, source: NDArray[Any], sink: NDArray[Any], advance: Callable[[int], None]) -> PictureInfo:
        self.given = source.copy()
        sink[...] = np.minimum(source.astype(np.uint32) * 2, np.iinfo(source.dtype).max)
        return self.info


def scene(dtype: Any = np.uint8, channels: int = 3) -> NDArray[Any]:
    values = np.random.default_rng(4).integers(5, 120, (40, 50, 3)).astype(dtype)
    values = values if dtype == np.uint8 else values * np.uint16(257)
    return values if channels == 3 else np.ascontiguousarray(values[..., 0])


def made(
    folder: Path, picture: Picture, target: str = "out.png", settings: JobSettings = MANAGED, wide: bool = True
) -> tuple[Picture, Made, Brightener]:
    """The picture in a PNG of its own, enhanced."""
    source, model = folder / "in.png", Brightener(wide=wide)
    write_image(picture, source)
    task = Task(source, folder / target, format_of_name(folder / target))
    done = make_picture(task, settings, Targets(settings), model, lambda *_: None)
    return read_image(task.target), done, model


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_network_gets_srgb_in_16_bits_and_the_file_keeps_its_space(tmp_path: Path, dtype: Any) -> None:
    picture = Picture(scene(dtype), icc=P3)
    result, done, model = made(tmp_path, picture)
    found = colour_of(P3, np.dtype(dtype), grey=False).conversion
    assert found
    np.testing.assert_array_equal(model.given, found.there(picture.pixels))
    assert model.given.dtype == np.uint16
    expected = found.back(np.minimum(model.given.astype(np.uint32) * 2, 65535).astype(np.uint16), picture.pixels)
    np.testing.assert_array_equal(result.pixels, expected)
    assert (result.icc, result.pixels.dtype) == (P3, dtype)
    assert (done.notes, done.colour.to_dict()) == ([], {"profile": "Display P3", "converted": True})


def test_a_model_that_takes_8_bits_alone_gets_8(tmp_path: Path) -> None:
    result, _, model = made(tmp_path, Picture(scene(), icc=P3), wide=False)
    assert (model.given.dtype, result.pixels.dtype) == (np.uint8, np.uint8)
    assert not np.array_equal(model.given, scene())


@pytest.mark.parametrize(
    ("icc", "settings", "profile"),
    [(None, MANAGED, None), (SRGB_PROFILE, MANAGED, "plain"), (P3, UNMANAGED, "Display P3")],
)
def test_without_a_conversion_all_is_as_it_was(
    tmp_path: Path, icc: bytes | None, settings: JobSettings, profile: str | None
) -> None:
    result, done, model = made(tmp_path, Picture(scene(), icc=icc), settings=settings)
    assert model.given.dtype == np.uint8
    np.testing.assert_array_equal(model.given, scene())
    np.testing.assert_array_equal(result.pixels, scene() * 2)
    assert (done.notes, done.colour.to_dict()) == ([], {"profile": profile, "converted": False})


def test_grey_pictures_keep_their_profile(tmp_path: Path) -> None:
    picture = Picture(scene(channels=1), icc=GREY)
    result, done, model = made(tmp_path, picture)
    assert (result.icc, result.grey, done.notes) == (GREY, True, [])
    np.testing.assert_array_equal(model.given[..., 0], model.given[..., 2])
    found = colour_of(GREY, np.dtype(np.uint8), grey=True).conversion
    assert found
    brighter = found.there(result.pixels).astype(int)
    assert np.abs(brighter - np.minimum(model.given[..., 0].astype(int) * 2, 65535)).max() < 257


def test_where_a_format_holds_no_profile_the_result_is_srgb(tmp_path: Path) -> None:
    for kind in ("bmp", "webp"):
        picture = Picture(scene(channels=1), icc=GREY, lossless=True)
        result, done, model = made(tmp_path, picture, f"out.{kind}")
        assert result.icc is None
        lost = f"its grey ICC profile is lost, since {NAMES[kind]} holds those of RGB alone"
        assert done.notes == ["its colours became sRGB", lost]
        expected = np.minimum(model.given.astype(np.uint32) * 2, 65535) / 257
        assert np.abs(result.rgb() - expected).mean() < (0.5 if kind == "bmp" else 4)


def test_a_deep_jpeg_xl_of_another_space_becomes_srgb_and_one_of_srgb_stays(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    lost = "its ICC profile is lost, since a JPEG XL of more than 8 bits is written without one"
    smooth = np.asarray(Image.fromarray(scene()[:4, :5]).resize((50, 40), Image.Resampling.BICUBIC))
    for icc, notes in ((P3, ["its colours became sRGB", lost]), (SRGB_PROFILE, [lost])):
        picture = Picture(smooth.astype(np.uint16) * np.uint16(257), icc=icc)
        result, done, model = made(tmp_path, picture, "out.jxl")
        assert (result.icc, result.pixels.dtype, done.notes) == (None, np.uint16, notes)
        assert np.array_equal(model.given, picture.pixels) == (icc == SRGB_PROFILE)
        assert np.abs(result.pixels / 257 - np.minimum(model.given * 2.0, 65535) / 257).mean() < 4


def test_a_grey_picture_with_transparency_becomes_srgb_in_an_avif(tmp_path: Path) -> None:
    picture = Picture(scene(channels=1), np.full((40, 50), 200, np.uint8), icc=GREY)
    result, done, model = made(tmp_path, picture, "out.avif")
    lost = "its grey ICC profile is lost, since an AVIF of three channels holds those of RGB alone"
    assert (result.icc, done.notes) == (None, ["its colours became sRGB", lost])
    assert np.abs(result.rgb() - np.minimum(model.given * 2.0, 65535) / 257).mean() < 4


def test_a_profile_that_cannot_be_used_gets_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    result, done, _ = made(tmp_path, Picture(scene(), icc=TABLES))
    np.testing.assert_array_equal(result.pixels, scene() * 2)
    assert result.icc == TABLES
    assert done.notes == [
        "its colours were taken for sRGB, since its ICC profile is made of tables, which need imagecodecs "
        '(import of imagecodecs halted; None in sys.modules): pip install "mirnet-deploy[large]"'
    ]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_what_older_versions_made_is_done_where_nothing_is_to_be_converted(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "out.png"
    for icc, done, grey in ((None, True, False), (SRGB_PROFILE, True, False), (P3, False, False), (GREY, False, True)):
        source = tmp_path / f"in.{suffix}"
        write_image(Picture(scene(channels=1 if grey else 3), icc=icc), source)
        task = Task(source, target, "png")
        old = UNMANAGED.record(_sha256(source), task)
        assert "colours" not in old.settings
        target.write_bytes(stamped(b"pixels", old))
        assert Targets(MANAGED).is_done(task) == done
        assert Targets(UNMANAGED).is_done(task)


def _sha256(path: Path) -> str:
    from mirnet_deploy.files import file_sha256

    return file_sha256(path)


def test_results_with_and_without_conversion_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(tmp_path / "in.png", tmp_path / "out.png", "png")
    for icc, settings, recorded, managed, unmanaged in (
        (P3, MANAGED, "converted", True, False),
        (P3, UNMANAGED, None, False, True),
        (SRGB_PROFILE, MANAGED, "sRGB", True, True),
        (None, MANAGED, "sRGB", True, True),
        (P3[:-30], MANAGED, None, True, True),
    ):
        made(tmp_path, Picture(scene(), icc=icc), settings=settings)
        stamp = read_stamp(task.target)
        assert stamp
        assert stamp.record
        assert stamp.record.settings.get("colours") == recorded
        assert (Targets(MANAGED).is_done(task), Targets(UNMANAGED).is_done(task)) == (managed, unmanaged)
        assert not Targets(replace(settings, quality=3, model_sha256="1" * 64)).is_done(task)


def test_a_known_result_is_done_without_reading_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, Picture(scene()))
    monkeypatch.setattr("mirnet_deploy.jobs.colours.decode_image", None)
    assert Targets(MANAGED).is_done(Task(tmp_path / "in.png", tmp_path / "out.png", "png"))


def test_a_record_of_other_words_is_not_ours(tmp_path: Path) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    write_image(Picture(scene()), source)
    task = Task(source, target, "png")
    known: Record = MANAGED.record(_sha256(source), task, "some other")
    target.write_bytes(stamped(b"pixels", known))
    assert not Targets(MANAGED).is_done(task)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirnet_deploy.runtime.MIRNetRuntime", Brightener)
    (tmp_path / "tiny.onnx").write_bytes(b"the fake's weights")
    source = tmp_path / "in.png"
    Image.fromarray(scene()).save(source, icc_profile=P3)
    command = [
        "enhance",
        str(source),
        "--model",
        str(tmp_path / "tiny.onnx"),
        "-o",
        str(tmp_path / "out.png"),
        "--json",
    ]

    def run(*options: str) -> Any:
        done = CliRunner().invoke(main, [*command, *options])
        assert done.exit_code == 0, done.output
        (picture,) = json.loads(done.stdout)["pictures"]
        return picture["status"], picture["colour"]

    assert run("--no-colour-management") == ("done", {"profile": "Display P3", "converted": False})
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, scene() * 2)
    assert run() == ("done", {"profile": "Display P3", "converted": True})
    assert not np.array_equal(read_image(tmp_path / "out.png").pixels, scene() * 2)
    assert run() == ("skipped", None)
    assert run("--no-colour-management")[0] == "done"
