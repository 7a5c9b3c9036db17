"""`RuntimeSettings`: which values it refuses, how it is changed, and which settings a result records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from artifacts import make_onnx

from mirnet_deploy import MIRNetRuntime, RuntimeSettings
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.errors import EngineError, UsageError
from mirnet_deploy.settings import Consistency, parse_tile


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cpu:0", "cuda0", "", 0, None]),
        ("backend", ["onnx", "OpenVINO", "", None]),
        ("precision", ["fp16", "BF16", "", None]),
        ("tile", [0, -4, True, 1.5, "512", "Auto", None, np.array([256, 512])]),
        ("consistency", ["best", "", None]),
        ("tolerance", [0, -1, float("inf"), float("nan"), "60", True, None]),
        ("brightness", [-0.01, 1.01, float("nan"), "bright", True, None, np.array([0.1, 0.2])]),
        ("strength", [-0.01, 1.01, float("nan"), "auto", True, None]),
        ("channel_order", ["RGB", "gbr", None]),
        ("batch", [0, -1, 1.0, True, None]),
        ("threads", [0, -1, 1.0, True, 4097, 10**20]),
        ("max_memory", [0, -1, 1e9, True]),
        ("whole_pixels", [0, -1, 1e6, True]),
        ("alone", ["yes", 1, None]),
        ("graphs", ["no", 0, None]),
    ],
)
def test_a_wrong_value_is_refused_before_a_model_is_opened(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(UsageError) as caught:
            MIRNetRuntime("missing.onnx", **{field: value})
        text = str(caught.value)
        assert text.startswith(f"{field} is {value!r}; expected ")
        assert "\n" not in text


def test_every_field_that_can_be_wrong_is_tested_above() -> None:
    parameters = test_a_wrong_value_is_refused_before_a_model_is_opened.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {field for field, _ in parameters} == {field.name for field in dataclasses.fields(RuntimeSettings)}


@pytest.mark.parametrize(
    "good",
    [
        {"device": "cuda:12"},
        {"tile": "none"},
        {"tile": 168},
        {"tolerance": 0.5},
        {"brightness": 0},
        {"brightness": 1.0},
        {"strength": 0},
        {"max_memory": 1},
        *({"consistency": mode} for mode in get_args(Consistency)),
    ],
)
def test_values_at_the_edges_of_their_ranges_are_accepted(good: dict[str, Any]) -> None:
    (name, value), settings = next(iter(good.items())), RuntimeSettings(**good)
    assert getattr(settings, name) == value


def test_numbers_of_numpy_become_python_s() -> None:
    settings = RuntimeSettings(tile=np.int64(256), threads=np.int32(2), tolerance=np.float32(50))  # type: ignore[arg-type]
    assert settings == RuntimeSettings(tile=256, threads=2, tolerance=50.0)
    assert json.loads(json.dumps(dataclasses.asdict(settings)))["tile"] == 256


def test_an_open_engine_keeps_what_it_was_opened_with(tmp_path: Path) -> None:
    """And it is closed where the runtime refuses it, for whatever reason."""
    for field, value in (("device", "cuda:3"), ("threads", 7), ("graphs", False), ("batch", 0), ("tile", 20)):
        engine = open_engine(make_onnx(tmp_path / "a.onnx"), RuntimeSettings(device="cpu"))
        with pytest.raises(UsageError, match=field):
            MIRNetRuntime(engine, **{field: value})
        with pytest.raises(EngineError, match="is closed"):
            MIRNetRuntime(engine).enhance(np.zeros((4, 4, 3), np.uint8))


def test_changes_are_checked_and_leave_the_settings_as_they_were() -> None:
    settings = RuntimeSettings(tile=168)
    assert settings.changed({}) == settings
    assert settings.changed({"batch": 4}) == RuntimeSettings(tile=168, batch=4)
    assert settings.batch == 1
    with pytest.raises(UsageError, match="batch is 0"):
        settings.changed({"batch": 0})
    with pytest.raises(TypeError, match="no setting 'tiles'; expected device, backend, precision, tile, consistency"):
        settings.changed({"tiles": 4})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.tile = 4  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "0", "-4", "1.5", "x", "Auto", "²"])
def test_texts_that_are_not_tiles_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected auto, none or a side in pixels"):
        parse_tile(text)


EXACT = {"tile": "auto", "consistency": "exact", "tolerance": 60.0}


@pytest.mark.parametrize(
    ("settings", "recorded"),
    [
        ({}, EXACT),
        ({"tile": 168, "tolerance": 70}, EXACT | {"tile": "168", "tolerance": 70}),
        ({"consistency": "fast", "tolerance": 70}, {"tile": "auto", "consistency": "fast"}),
        ({"brightness": 0.4}, EXACT | {"brightness": 0.4, "strength": 1.0}),
        ({"strength": 0.5}, EXACT | {"brightness": "auto", "strength": 0.5}),
    ],
)
def test_a_record_holds_the_settings_that_decide_a_result_as_the_first_version_wrote_them(
    settings: dict[str, Any], recorded: dict[str, Any]
) -> None:
    assert RuntimeSettings(**settings).recorded() == recorded


def test_settings_that_do_not_decide_a_result_are_not_recorded() -> None:
    changed = RuntimeSettings(device="cpu", threads=1, batch=4, max_memory=1 << 30, graphs=False, channel_order="bgr")
    assert changed.recorded() == RuntimeSettings().recorded()


def test_a_new_setting_is_recorded_only_where_it_differs_from_its_default() -> None:
    @dataclasses.dataclass(frozen=True)
    class Later(RuntimeSettings):
        sharpness: float = dataclasses.field(default=0.0, metadata={"recorded": True})

    assert Later().recorded() == RuntimeSettings().recorded()
    assert Later(sharpness=0.5).recorded() == RuntimeSettings().recorded() | {"sharpness": 0.5}
