"""The model of whole pictures, in a stand-in for Triton's Python backend: its results are those of the runtime."""

from __future__ import annotations

import io
import json
import math
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import triton_stand_in
from artifacts import make_onnx
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from triton_configs import parsed
from triton_stand_in import Request, TritonModelException

from mirnet_deploy import MIRNetRuntime, brightness
from mirnet_deploy.cli import main
from mirnet_deploy.triton.whole import to_json

Open = Callable[..., Any]
MODEL = "blur"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_stand_in.module(lines))
    return lines


@pytest.fixture
def opened(tmp_path: Path, log: list[str]) -> Iterator[Open]:
    """Makes a repository by the command line and opens its model as Triton does, from its `model.py`."""
    models = []

    def open_model(*words: object, interface: str = "float", kind: str = "CPU", graph: str = MODEL) -> Any:
        artifact = make_onnx(tmp_path / "a.onnx", graph, interface=interface)
        command = ["triton", str(tmp_path / "models"), str(artifact), "--no-tiles", *map(str, words)]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        home = tmp_path / "models" / "mirnet"
        config = parsed((home / "config.pbtxt").read_text())
        program = runpy.run_path(str(home / "1" / "model.py"))
        models.append(program["TritonPythonModel"]())
        models[-1].initialize(triton_stand_in.arguments(home, config, kind=kind))
        return models[-1]

    yield open_model
    for model in models:
        if hasattr(model, "_pictures"):
            model.finalize()


def picture(height: int, width: int, dtype: type = np.uint8) -> NDArray[Any]:
    """A crop of a real photograph, as an array of `dtype`."""
    root = Path(__file__).parents[3]
    pixels = np.asarray(Image.open(root / "examples" / "night.jpg"))[100 : 100 + height, 200 : 200 + width]
    if dtype == np.float32:
        return np.ascontiguousarray(pixels / np.float32(255))
    return np.ascontiguousarray(pixels.astype(dtype) * dtype(257 if dtype == np.uint16 else 1))


def answer(model: Any, wanted: list[str] | None = None, **inputs: Any) -> Any:
    (response,) = model.execute([Request(inputs, wanted)])
    return response


def text(content: bytes) -> NDArray[Any]:
    return np.array([content], dtype=object)


NAMES = {np.uint8: "", np.uint16: "_uint16", np.float32: "_float32"}


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (150, 131)])
def test_a_picture_of_any_size_and_depth_is_what_the_runtime_makes_of_it(
    tmp_path: Path, opened: Open, dtype: type, size: tuple[int, int]
) -> None:
    model, image = opened("--tile", 64), picture(*size, dtype)
    response = answer(model, **{f"image{NAMES[dtype]}": image})
    assert response.error is None
    with MIRNetRuntime(tmp_path / "a.onnx", device="cpu", tile=64) as runtime:
        expected = runtime.enhance_with_info(image)
    np.testing.assert_array_equal(response.outputs[f"enhanced{NAMES[dtype]}"], expected.pixels, strict=True)
    assert set(response.outputs) == {f"enhanced{NAMES[dtype]}", "info"}
    said = json.loads(response.outputs["info"].item())
    assert (said["tiles"], said["settings"]["tile"]) == (expected.info.tiles, 64)
    assert said["backend"] == expected.info.backend


@pytest.mark.parametrize("interface", ["float", "image"])
@pytest.mark.parametrize(
    ("words", "finish"),
    [
        ({}, {"brightness": 0.3}),
        ({}, {"strength": 0.6}),
        ({"brightness": 0.5, "strength": 0.9}, {}),
        ({"brightness": 0.5, "strength": 0.9}, {"brightness": 0.25}),
        ({"brightness": 0.5, "strength": 0.9}, {"brightness": 0.25, "strength": 0.1}),
    ],
)
def test_brightness_and_strength_are_those_of_the_command_or_of_the_request(
    tmp_path: Path, opened: Open, interface: str, words: dict[str, float], finish: dict[str, float]
) -> None:
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    model, image = opened(*options, interface=interface), picture(60, 60)
    plain = answer(model, image=image).outputs["enhanced"]
    response = answer(model, image=image, **{name: np.array([value]) for name, value in finish.items()})
    for got, settings in ((plain, words), (response.outputs["enhanced"], {**words, **finish})):
        with MIRNetRuntime(tmp_path / "a.onnx", device="cpu", **settings) as runtime:
            expected = runtime.enhance_with_info(image)
        np.testing.assert_array_equal(got, expected.pixels)
    said = json.loads(response.outputs["info"].item())
    assert said["gain"] == expected.info.gain
    assert said["settings"]["strength"] == {**words, **finish}.get("strength", 1.0)


def test_a_file_comes_back_as_enhance_writes_it(tmp_path: Path, opened: Open) -> None:
    """With its profile, its EXIF and its record; byte for byte."""
    model = opened("--tile", 64, "--strength", 0.8)
    source = tmp_path / "night.jpg"
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.fromarray(picture(90, 100)).save(source, quality=95, exif=exif)
    command = ["enhance", str(source), "-o", str(tmp_path / "done"), "--model", str(tmp_path / "a.onnx")]
    words = ["--tile", "64", "--strength", "0.8", "--brightness", "0.3", "--device", "cpu"]
    assert CliRunner().invoke(main, [*command, *words]).exit_code == 0
    response = answer(model, file=text(source.read_bytes()), brightness=np.array([0.3]))
    assert response.error is None
    content = response.outputs["enhanced_file"].item()
    assert content == (tmp_path / "done" / "night.jpg").read_bytes()
    assert Image.open(io.BytesIO(content)).getexif()[0x010F] == "a camera"
    assert json.loads(response.outputs["info"].item())["notes"] == []
    again = answer(model, file=text(content))
    assert again.error.text == "the file is an output of mirnet-deploy"


def test_a_png_of_16_bits_stays_one(opened: Open, tmp_path: Path) -> None:
    import cv2

    image = picture(40, 50, np.uint16)
    made = answer(opened(), file=text(cv2.imencode(".png", image[..., ::-1])[1].tobytes())).outputs["enhanced_file"]
    pixels = cv2.imdecode(np.frombuffer(made.item(), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    with MIRNetRuntime(tmp_path / "a.onnx", device="cpu") as runtime:
        np.testing.assert_array_equal(pixels, runtime.enhance(image), strict=True)


def test_a_version_runs_its_own_artifact(opened: Open, tmp_path: Path) -> None:
    blurred = answer(opened(), image=picture(16, 16)).outputs["enhanced"]
    opened(graph="identity")  # which is version 2
    home = tmp_path / "models" / "mirnet"
    config = parsed((home / "config.pbtxt").read_text())
    for version, expected in ((2, picture(16, 16)), (1, blurred)):
        model = runpy.run_path(str(home / str(version) / "model.py"))["TritonPythonModel"]()
        model.initialize(triton_stand_in.arguments(home, config, version))
        np.testing.assert_array_equal(answer(model, image=picture(16, 16)).outputs["enhanced"], expected)
        model.finalize()
    assert not np.array_equal(blurred, picture(16, 16))


def test_only_what_was_asked_for_is_sent(opened: Open) -> None:
    model = opened()
    assert set(answer(model, ["info"], image=picture(8, 8)).outputs) == {"info"}
    assert set(answer(model, ["enhanced", "enhanced_file"], image=picture(8, 8)).outputs) == {"enhanced"}


def test_who_asks_for_nothing_that_there_is_gets_an_error_at_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()
    monkeypatch.setattr(model, "_pictures", None)  # nothing is computed
    response = answer(model, ["enhanced_file", "enhanced_uint16"], image=picture(8, 8))
    assert response.error.text == "the request has the input image and asks for neither enhanced nor info"
    assert response.error.code == "INVALID_ARG"
    response = answer(model, ["enhanced"], file=text(b"x"))
    assert response.error.text.endswith("asks for neither enhanced_file nor info")
    monkeypatch.undo()


def test_memory_is_kept_with_a_brightness_too(opened: Open, tmp_path: Path) -> None:
    """Where an 8-bit picture is worked on in 16 bits, its copies count, and other tiles are other bits."""
    image, settings = picture(400, 300), {"tile": 88, "threads": 1}
    artifact = make_onnx(tmp_path / "a.onnx", MODEL)
    with MIRNetRuntime(artifact, device="cpu", brightness=0.3, **settings) as runtime:
        most = runtime.memory_plan(*image.shape[:2]).total - 1
    model = opened("--max-memory", most, "--tile", 88, "--threads", 1)
    response = answer(model, image=image, brightness=np.array([0.3]))
    with MIRNetRuntime(artifact, device="cpu", brightness=0.3, max_memory=most, **settings) as runtime:
        expected = runtime.enhance_with_info(image)
    said = json.loads(response.outputs["info"].item())
    assert tuple(said["tile_size"]) == expected.info.tile_size == (44, 44)
    np.testing.assert_array_equal(response.outputs["enhanced"], expected.pixels)


def test_larger_pictures_are_refused_in_every_form(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit, which is far below ours, does not come before it."""
    import cv2

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    model = opened("--max-pixels", 2000)
    for size, refused in (((40, 50), False), ((40, 51), True)):
        image = picture(*size)
        file = text(cv2.imencode(".png", image)[1].tobytes())
        for name, value, subject in (("image", image, "image"), ("file", file, "the file")):
            error = answer(model, **{name: value}).error
            if refused:
                expected = "is 51x40, 0.00204 megapixels; at most 0.002 are allowed (--max-pixels)"
                assert (error.text, error.code) == (f"{subject} {expected}", "INVALID_ARG")
            else:
                assert error is None


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "the request has no picture; expected one of image, image_uint16, image_float32, file"),
        ({"image": picture(8, 8), "file": text(b"x")}, "the request has the inputs image and file; expected one of"),
        ({"image": np.zeros((8, 8, 4), np.uint8)}, "image has shape [8, 8, 4]; expected [H,W,3], RGB, of at least 1x1"),
        ({"image": np.zeros((0, 8, 3), np.uint8)}, "image has shape [0, 8, 3]"),
        ({"image_float32": np.full((8, 8, 3), 1.5, np.float32)}, "image has float32 values from 1.5 to 1.5"),
        ({"image": picture(8, 8), "brightness": np.array([1.5])}, "brightness is 1.5"),
        ({"image": picture(8, 8), "strength": np.array([np.nan])}, "strength is nan"),
        ({"file": text(b"")}, "the file is empty (0 bytes)"),
        ({"file": text(b"GIF89a")}, "the file is a GIF"),
        ({"file": text(b"\xff\xd8\xff\xe0 and no more")}, "the file"),
    ],
)
def test_a_bad_request_gets_one_line_and_the_others_their_results(opened: Open, inputs, said: str) -> None:
    model, image = opened(), picture(16, 20)
    before, bad, after = model.execute([Request({"image": image}), Request(inputs), Request({"image": image})])
    assert bad.error.text.startswith(said)
    assert "\n" not in bad.error.text
    assert "/" not in bad.error.text  # no path of a temporary file
    assert bad.error.code == "INVALID_ARG"
    assert before.error is after.error is None
    np.testing.assert_array_equal(before.outputs["enhanced"], after.outputs["enhanced"])


def test_a_model_of_8_bits_refuses_more(opened: Open) -> None:
    response = answer(opened(interface="image"), image_uint16=picture(8, 8, np.uint16))
    assert "takes uint8; export the model with --interface float" in response.error.text


def test_what_nobody_thought_of_is_logged_and_the_server_goes_on(
    opened: Open, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()

    def broken(*_: object) -> None:
        raise ValueError("one\ntwo")

    with monkeypatch.context() as patch:
        patch.setattr(model._pictures, "enhance", broken)
        response = answer(model, image=picture(8, 8))
    assert (response.error.text, response.error.code) == ("ValueError: one", "INTERNAL")
    assert "in broken" in log[0]
    assert answer(model, image=picture(8, 8)).error is None
    assert len(log) == 1


def test_the_client_is_told_no_paths_of_the_server(
    opened: Open, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/secret/place")

    with monkeypatch.context() as patch:
        patch.setattr(model._pictures, "enhance_file", full)
        response = answer(model, file=text(b"x"))
    assert (response.error.text, response.error.code) == ("No space left on device", "INTERNAL")
    assert "/secret/place" in log[0]


def test_what_is_infinite_is_null_in_json(opened: Open) -> None:
    model = opened()
    _, info = model._pictures.enhance(picture(8, 8), {})
    said = json.loads(
        to_json(replace(info, predicted_psnr=math.inf, seconds=math.nan), ["a"]), parse_constant=pytest.fail
    )
    assert (said["predicted_psnr"], said["seconds"], said["notes"], said["tiles"]) == (None, None, ["a"], 1)


def test_the_time_of_finishing_counts(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model, real = opened(), brightness.finish

    def slow(*arguments: Any) -> Any:
        time.sleep(0.2)
        return real(*arguments)

    monkeypatch.setattr("mirnet_deploy.enhancing.finish", slow)
    said = json.loads(answer(model, image=picture(8, 8), strength=np.array([0.5])).outputs["info"].item())
    assert said["seconds"] >= 0.2


def test_a_network_that_gives_nan_is_an_error_of_the_server(opened: Open) -> None:
    response = answer(opened(graph="nan"), image=picture(8, 8))
    assert "NaN" in response.error.text
    assert response.error.code == "INTERNAL"


def test_what_cannot_be_opened_says_so_in_one_line(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(TritonModelException, match=r"^[^\n]*CUDA[^\n]*$"):
        opened(kind="GPU")  # and is not run on the CPU instead
    with pytest.raises(TritonModelException, match="the instance is of KIND_MODEL; expected KIND_CPU or KIND_GPU"):
        opened(kind="MODEL")
    model = opened()
    home = tmp_path / "models" / "mirnet"
    config = parsed((home / "config.pbtxt").read_text())
    config.parameters["tile"].string_value = "63"
    with pytest.raises(TritonModelException, match=r"^[^\n]*63[^\n]*$"):
        type(model)().initialize(triton_stand_in.arguments(home, config))
    config.parameters["tile"].string_value = "auto"
    with (home / "1" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(TritonModelException, match="does not match its sidecar"):
        type(model)().initialize(triton_stand_in.arguments(home, config))
    (home / "1" / "model.onnx").unlink()
    with pytest.raises(TritonModelException, match=r"holds neither model\.onnx nor model\.plan"):
        type(model)().initialize(triton_stand_in.arguments(home, config))
