"""The runtime: any size, three dtypes, tiles that fit together, threads, and errors with their remedies."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from artifacts import BLUR, make_onnx, make_plan, metadata

from mirnet_deploy import MIRNetRuntime, RuntimeSettings
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.engines.base import BYTES_PER_VALUE, HostEngine
from mirnet_deploy.errors import EngineError, ImageError, UsageError
from mirnet_deploy.pipeline import limits

DTYPES = (np.uint8, np.uint16, np.float32)


def picture(height, width, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, 3), dtype=np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Paths by kind; `NAME-image` has the image interface. Tile 64, halo 16."""
    folder = tmp_path_factory.mktemp("models")
    kinds = {kind: make_onnx(folder / f"{kind}.onnx", kind) for kind in ("identity", "brighter", "mean", "blur", "nan")}
    image = {
        f"{kind}-image": make_onnx(folder / f"{kind}-image.onnx", kind, interface="image")
        for kind in ("identity", "blur")
    }
    return kinds | image


class Recorder(HostEngine):
    """An engine that keeps the shapes it is given and returns the batch unchanged."""

    device = backend = "test"

    def __init__(self, described):
        self.metadata = described
        self.shapes = []
        self.closed = 0

    def run_pooled(self, batch, pools):
        pytest.fail("nothing here shares means")

    def run(self, batch):
        assert batch.flags.c_contiguous
        self.shapes.append(batch.shape)
        return batch.copy()

    def close(self):
        self.closed += 1


def recorder(described, **settings):
    """A runtime over a `Recorder` with the given metadata, and the recorder."""
    engine = Recorder(described)
    return MIRNetRuntime(engine, consistency="local", **settings), engine


# Values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (3, 200), (4, 4), (5, 5), (64, 64), (65, 130), (201, 67)])
@pytest.mark.parametrize("tile", ["auto", "none", 64, 40])
def test_an_identity_engine_gives_the_picture_back_bit_for_bit(models, dtype, size, tile):
    with MIRNetRuntime(models["identity"], tile=tile) as each:
        image = picture(*size, dtype=dtype)
        kept = image.copy()
        result = each.enhance(image)
    assert result.dtype == image.dtype
    assert result.flags.c_contiguous
    assert np.array_equal(result, image)
    assert np.array_equal(image, kept)
    assert not np.shares_memory(result, image)


def test_every_level_survives_the_float_interface(models):
    with MIRNetRuntime(models["identity"]) as each:
        for dtype, side in ((np.uint8, 16), (np.uint16, 256)):
            levels = np.arange(side * side, dtype=dtype).reshape(side, side, 1).repeat(3, axis=2)
            assert np.array_equal(each.enhance(levels), levels)


def test_the_image_interface_gives_the_picture_back(models):
    with MIRNetRuntime(models["identity-image"], tile=64) as each:
        image = picture(130, 77)
        assert np.array_equal(each.enhance(image), image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_clipped_and_rounded_half_to_even(models, dtype):
    image = picture(30, 42, dtype)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    exact = np.clip(image / np.float64(white) * 2 - np.float64(np.float32(0.301)), 0, 1) * white
    with MIRNetRuntime(models["brighter"]) as each:
        result = each.enhance(image)
    assert result.min() == 0
    assert result.max() == white
    if dtype == np.float32:
        np.testing.assert_allclose(result, exact, atol=1e-6)
    else:
        # Where float32 cannot tell on which side of a half a value lies, either neighbour is right.
        sure = np.abs(exact % 1 - 0.5) > 0.02
        assert np.array_equal(result[sure], np.rint(exact)[sure])
        assert sure.mean() > 0.9


@pytest.mark.parametrize("size", [(3, 5), (61, 90), (150, 203)])
def test_a_picture_is_padded_by_reflection_to_the_multiple_and_cropped(models, size):
    """OpenCV filters the padded picture with zeros beyond its border, as the engine's convolution does."""
    image = picture(*size, dtype=np.float32)
    pads = [-side % 4 for side in size]
    kinds = [
        cv2.BORDER_REFLECT_101 if pad < side else cv2.BORDER_REPLICATE for pad, side in zip(pads, size, strict=True)
    ]
    padded = cv2.copyMakeBorder(image, 0, pads[0], 0, 0, kinds[0])
    padded = cv2.copyMakeBorder(padded, 0, 0, 0, pads[1], kinds[1])
    expected = cv2.filter2D(padded, -1, BLUR, borderType=cv2.BORDER_CONSTANT)[: size[0], : size[1]]
    with MIRNetRuntime(models["blur"], tile="none") as each:
        np.testing.assert_allclose(each.enhance(image), np.clip(expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("size", [(64, 65), (100, 300), (257, 131)])
@pytest.mark.parametrize(("tile", "batch"), [(40, 1), (64, 1), (64, 3), (96, 100)])
def test_tiles_of_a_local_network_give_exactly_the_whole_picture(models, size, tile, batch):
    image = picture(*size)
    with (
        MIRNetRuntime(models["blur"], tile="none") as whole,
        MIRNetRuntime(models["blur"], tile=tile, batch=batch) as tiled,
    ):
        assert np.array_equal(whole.enhance(image), tiled.enhance(image))


def test_tiles_of_a_network_with_a_global_mean_differ_from_the_whole_picture(models):
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None, :, None].repeat(64, 0).repeat(3, 2)
    with (
        MIRNetRuntime(models["mean"], tile="none") as whole,
        MIRNetRuntime(models["mean"], tile=64, consistency="local") as tiled,
    ):
        np.testing.assert_allclose(whole.enhance(ramp), np.clip(ramp - 0.5, 0, 1), atol=1e-5)
        assert np.abs(whole.enhance(ramp) - tiled.enhance(ramp)).max() > 0.3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(65, 64), (66, 131), (201, 303), (7, 300)])
def test_tiles_that_share_the_mean_give_the_whole_picture(models, dtype, size):
    image = picture(*size, dtype=dtype)
    with (
        MIRNetRuntime(models["mean"], tile="none") as whole,
        MIRNetRuntime(models["mean"], tile=64, tolerance=120.0) as tiled,
    ):
        expected, result = whole.enhance(image), tiled.enhance(image)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    np.testing.assert_allclose(result / white, expected / white, atol=1e-6 + (0.51 / white if white > 1 else 0))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::2],
        lambda a: a[..., ::-1],
        np.asfortranarray,
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.broadcast_to(a[:1, :1], (70, 90, 3)),
    ],
)
def test_strided_pictures(models, view):
    image = view(picture(100, 140))
    with MIRNetRuntime(models["blur"], tile=64) as each:
        assert np.array_equal(each.enhance(image), each.enhance(np.ascontiguousarray(image)))


# out=


@pytest.mark.parametrize(
    "make", [lambda s: np.empty(s, np.uint8), lambda s: np.empty((s[0], 2 * s[1], 3), np.uint8)[:, ::2]]
)
def test_out_is_written_in_place(models, make):
    image = picture(100, 90)
    out = make(image.shape)
    with MIRNetRuntime(models["blur"], tile=64) as each:
        assert each.enhance(image, out=out) is out
        assert np.array_equal(out, each.enhance(image))


def test_out_may_be_the_picture_or_overlap_it(models):
    with MIRNetRuntime(models["blur"], tile=64) as each:
        buffer = picture(150, 120)
        expected = each.enhance(buffer)
        same = buffer.copy()
        assert np.array_equal(each.enhance(same, out=same), expected)
        shifted = each.enhance(buffer[:-7])
        assert np.array_equal(each.enhance(buffer[:-7], out=buffer[7:]), shifted)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.empty((8, 9, 3), np.uint8), r"out is uint8 \[8, 9, 3\]; expected uint8 \[8, 8, 3\]"),
        (np.empty((8, 8, 3), np.float32), "out is float32"),
        (np.broadcast_to(np.uint8(0), (8, 8, 3)), "read-only"),
        ([], "a list is not a picture"),
    ],
)
def test_an_out_that_cannot_take_the_result_is_refused(models, out, said):
    with MIRNetRuntime(models["identity"]) as each, pytest.raises(ImageError, match=said):
        each.enhance(picture(8, 8), out=out)


# Refusals


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ([[1]], "list"),
        (np.zeros((4, 4), np.uint8), r"\[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), "at least 1x1"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), np.float64), "float64"),
        (np.zeros((4, 4, 3), ">u2"), ">u2"),
        (np.full((4, 4, 3), np.nan, np.float32), "nan"),
        (np.full((4, 4, 3), np.inf, np.float32), "inf"),
        (np.full((4, 4, 3), -0.01, np.float32), "-0.01"),
        (np.full((4, 4, 3), 1.001, np.float32), "1.001"),
        (np.full((4, 4, 3), 255, np.float32), r"255; expected \[0, 1\]"),
    ],
)
def test_objects_that_are_not_pictures_are_refused(models, image, said):
    with MIRNetRuntime(models["identity"]) as each, pytest.raises(ImageError, match=said):
        each.enhance(image)


def test_one_nan_is_found(models):
    image = picture(30, 30, np.float32)
    image[17, 3, 1] = np.nan
    with MIRNetRuntime(models["identity"]) as each, pytest.raises(ImageError, match="without NaN"):
        each.enhance(image)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_image_interface_refuses_more_bits_and_names_the_float_interface(models, dtype):
    with MIRNetRuntime(models["identity-image"]) as each, pytest.raises(ImageError, match="--interface float"):
        each.enhance(picture(8, 8, dtype))


def test_nan_values_of_an_engine_are_an_error(models):
    with MIRNetRuntime(models["nan"]) as each, pytest.raises(EngineError, match="NaN or infinite"):
        each.enhance(picture(8, 8))


@pytest.mark.parametrize("tile", [66, 32, 0, -64, 64.0, "whole", True, None])
def test_impossible_tiles_are_refused(models, tile):
    with pytest.raises(UsageError, match=f"tile is {tile!r}"):
        MIRNetRuntime(models["identity"], tile=tile)


def test_a_closed_runtime_cannot_be_used(models):
    each = MIRNetRuntime(models["identity"])
    each.close()
    each.close()
    with pytest.raises(EngineError, match=r"runtime of .*identity\.onnx is closed"):
        each.enhance(picture(8, 8))
    assert each.info.device == "cpu"


# Shapes


def test_auto_runs_pictures_whole_up_to_the_budget_and_in_tiles_beyond(monkeypatch):
    monkeypatch.setattr(limits, "WHOLE_BYTES", 8 * 128 * 128 * BYTES_PER_VALUE)
    each, engine = recorder(metadata(halo=16))
    each.enhance(picture(64, 256))
    assert engine.shapes == [(1, 3, 64, 256)]
    engine.shapes.clear()
    each.enhance(picture(65, 256))
    assert set(engine.shapes) == {(1, 3, 68, 80)}
    assert each.info.tile_size == (80, 80)


def test_a_picture_runs_whole_in_the_memory_that_was_allowed_and_in_tiles_in_less(monkeypatch):
    monkeypatch.setattr(limits, "WHOLE_BYTES", 8 * 128 * 128 * BYTES_PER_VALUE)
    shapes = {}
    for most in (4, 1):
        each, engine = recorder(metadata(halo=16), max_memory=most * 8 * 256 * 256 * BYTES_PER_VALUE)
        each.enhance(picture(256, 256))
        shapes[most] = set(engine.shapes)
    assert shapes[4] == {(1, 3, 256, 256)}
    assert (1, 3, 256, 256) not in shapes[1]  # as a whole it takes more than the network alone


def test_the_largest_network_gets_smaller_tiles():
    sides = [
        recorder(metadata(network={"n_feat": n, "n_rrg": 1, "n_msrb": 1}))[0].info.tile_size[0] for n in (16, 32, 64)
    ]
    assert sides == [512, 512, 432]


def test_a_tile_is_no_larger_than_the_picture():
    each, engine = recorder(metadata(), tile=256)
    each.enhance(picture(30, 600))
    assert set(engine.shapes) == {(1, 3, 32, 256)}


def test_batches_hold_tiles_of_one_shape_and_the_last_is_the_rest():
    each, engine = recorder(metadata(), tile=64, batch=4)
    each.enhance(picture(64, 300))
    assert [shape[0] for shape in engine.shapes] == [4, 4, 1]


def test_a_plan_is_given_only_shapes_of_its_profile():
    shapes = {"min": [2, 16, 24, 3], "opt": [2, 64, 64, 3], "max": [3, 64, 64, 3]}
    each, engine = recorder(metadata(kind="plan", interface="image", profile={"image": shapes}, halo=8))
    for size in ((1, 1), (16, 25), (64, 64), (65, 10), (200, 301), (17, 200)):
        image = picture(*size)
        assert np.array_equal(each.enhance(image), image)
    for shape in engine.shapes:
        assert all(low <= side <= high for low, side, high in zip(shapes["min"], shape, shapes["max"], strict=True))


@pytest.mark.parametrize(
    ("settings", "said"), [({"tile": 12}, "from 16 to 64"), ({"tile": 68}, "from 16 to 64"), ({"batch": 2}, "up to 1")]
)
def test_settings_that_do_not_fit_a_plan_are_refused(tmp_path, settings, said):
    described = read_sidecar(make_plan(tmp_path / "a.plan", halo=0))
    with pytest.raises(UsageError, match=said):
        recorder(described, **settings)


def test_a_picture_that_does_not_fit_whole_in_a_plan_is_refused(tmp_path):
    each, _ = recorder(read_sidecar(make_plan(tmp_path / "a.plan")), tile="none")
    each.enhance(picture(64, 64))
    with pytest.raises(UsageError, match="65x64 does not fit whole in this plan, which takes up to 64x64"):
        each.enhance(picture(64, 65))


# One runtime, many threads


@pytest.mark.parametrize(("kind", "tile"), [("blur", 64), ("mean", "none"), ("blur-image", 64)])
def test_eight_threads_give_the_bits_of_serial_calls(models, kind, tile):
    images = [picture(40 + 23 * i, 300 - 19 * i, seed=i) for i in range(8)]
    with MIRNetRuntime(models[kind], tile=tile) as each:
        serial = [each.enhance(image) for image in images]
        with ThreadPoolExecutor(8) as executor:
            for _ in range(4):
                for expected, result in zip(serial, executor.map(each.enhance, images), strict=True):
                    assert np.array_equal(expected, result)


def test_an_unknown_setting_is_refused(models):
    with pytest.raises(TypeError, match="no setting 'tiles'; expected device, backend, precision, tile"):
        MIRNetRuntime(models["identity"], tiles=64)


def test_a_given_engine_is_closed_with_the_runtime_and_where_settings_do_not_fit():
    each, engine = recorder(metadata())
    assert each.info.path == "tiny"
    each.close()
    each.close()
    assert engine.closed == 1
    engine = Recorder(metadata(halo=16))
    with pytest.raises(UsageError, match="tile is 32"):
        MIRNetRuntime(engine, tile=32)
    assert engine.closed == 1


def enhance_elsewhere(runtime, image, answers):
    answers.put((runtime.info.settings, runtime.enhance(image)))


def test_a_runtime_goes_to_another_process_and_works_there(models, monkeypatch):
    monkeypatch.chdir(models["blur"].parent)
    image = picture(70, 40)
    with MIRNetRuntime("blur.onnx", tile=64, consistency="local", strength=0.5) as runtime:
        spawn = multiprocessing.get_context("spawn")
        answers = spawn.Queue()
        monkeypatch.chdir("/")
        child = spawn.Process(target=enhance_elsewhere, args=(runtime, image, answers))
        child.start()
        settings, result = answers.get(timeout=60)
        child.join()
        assert settings == runtime.info.settings
        np.testing.assert_array_equal(result, runtime.enhance(image))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda runtime: pickle.loads(pickle.dumps(runtime))])
def test_a_copy_is_a_runtime_of_its_own(models, duplicate):
    runtime = MIRNetRuntime(str(models["brighter"]), strength=0.25)
    with duplicate(runtime) as other:
        expected = runtime.enhance(picture(9, 8))
        runtime.close()
        np.testing.assert_array_equal(other.enhance(picture(9, 8)), expected)
        assert other.info == runtime.info
        assert other.engine is not runtime.engine
    with pytest.raises(EngineError, match="closed"):
        duplicate(runtime)


@pytest.mark.parametrize("given", ["./identity.onnx", "identity.onnx"])
def test_a_file_is_found_from_any_folder(models, monkeypatch, given):
    monkeypatch.chdir(models["identity"].parent)
    with MIRNetRuntime(given, backend="onnxruntime") as runtime:
        assert runtime.__reduce__()[1][0] == models["identity"].parent / "identity.onnx"


def test_a_models_name_is_looked_up_where_it_is_unpickled():
    with MIRNetRuntime("lite", backend="onnxruntime") as runtime:
        assert runtime.__reduce__()[1] == ("lite", runtime.info.settings)


@pytest.mark.parametrize("duplicate", [copy.copy, pickle.dumps])
def test_what_cannot_be_opened_again_says_what_can_be_handed_over(models, duplicate):
    observed = MIRNetRuntime(models["identity"], observer=lambda *_: None)
    given, _ = recorder(metadata())
    for runtime in (observed, given):
        with runtime, pytest.raises(TypeError, match="hand over the model's path and settings"):
            duplicate(runtime)


def test_the_info_of_a_runtime(models):
    with MIRNetRuntime(models["identity"], tile=64, batch=2, device="cpu") as each:
        info = each.info
    assert info.metadata == read_sidecar(models["identity"])
    assert info.settings == RuntimeSettings(tile=64, batch=2, device="cpu")
    assert (info.tile_size, info.batch, info.device) == ((64, 64), 2, "cpu")
    plain = info.to_dict()
    assert plain["metadata"]["name"] == "identity"
    assert plain["path"] == str(models["identity"])
    assert plain["settings"]["batch"] == 2
