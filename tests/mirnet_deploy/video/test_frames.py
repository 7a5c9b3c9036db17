"""Videos: the order of results, how far ahead frames are read, what a frame starts from, and how a video ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from deferred import Open, picture
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError, UsageError
from mirnet_deploy.video.frames import enhance_in_order


def video(count: int) -> list[NDArray[Any]]:
    """Frames whose light changes slowly, uint8 [40,60,3]; the middle one is a scene of its own."""
    still = picture(40, 60)
    frames = [(still * (0.6 + 0.04 * step)).astype(np.uint8) for step in range(count)]
    frames[count // 2] = 255 - still
    return frames


class Recorder:
    """Stands in for a runtime: a frame's result and defect are the sum of its values; frames of odd sums are slow."""

    def __init__(self) -> None:
        self.given: dict[int, float | None] = {}
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, frame: NDArray[Any], defect: Any) -> tuple[int, Any]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        key = int(frame.astype(int).sum())
        time.sleep(0.02 * (key % 2))
        with self._lock:
            self.given[key] = None if defect is None else float(defect[0])
            self._now -= 1
        return key, np.array([key])


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_a_frame_starts_from_the_last_finished_one_or_the_first_of_its_scene(in_flight: int) -> None:
    frames, recorder = video(12), Recorder()
    made = list(enhance_in_order(frames, recorder, in_flight))
    keys = [int(frame.astype(int).sum()) for frame in frames]
    assert made == keys
    starts = [0, 6, 7]  # the odd frame out is a scene of its own
    expected: list[int | None] = []
    for index in range(12):
        first = max(start for start in starts if start <= index)
        expected.append(None if index == first else keys[max(first, index - in_flight)])
    assert [recorder.given[key] for key in keys] == expected
    assert recorder.most <= in_flight
    assert in_flight == 1 or recorder.most > 1


def test_no_more_frames_are_read_ahead_than_are_in_flight() -> None:
    taken = []

    def source() -> Iterator[NDArray[Any]]:
        for index, frame in enumerate(video(8)):
            taken.append(index)
            yield frame

    results = enhance_in_order(source(), Recorder(), 3)
    next(results)
    assert len(taken) == 3
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 3


def test_with_one_in_flight_a_frame_is_read_only_after_the_last_result() -> None:
    given: list[int] = []

    def source() -> Iterator[NDArray[Any]]:
        for index, frame in enumerate(video(4)):
            assert len(given) == index
            yield frame

    for made in enhance_in_order(source(), Recorder(), 1):
        given.append(made)
    assert len(given) == 4


def test_an_error_comes_in_its_place_and_nothing_goes_on() -> None:
    recorder = Recorder()
    frames = video(6)

    def enhance(frame: NDArray[Any], defect: Any) -> tuple[int, Any]:
        if frame is frames[2]:
            raise ImageError("the third")
        return recorder(frame, defect)

    results = enhance_in_order(frames, enhance, 2)
    assert [next(results), next(results)] == [int(frame.astype(int).sum()) for frame in frames[:2]]
    with pytest.raises(ImageError, match="the third"):
        next(results)
    count = len(recorder.given)
    time.sleep(0.1)
    assert len(recorder.given) == count


@pytest.mark.parametrize("eager", [(), (0,), (1,), (0, 1)], ids=["late", "even", "odd", "all"])
@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_a_device_gives_the_video_of_the_host(pair: Open, in_flight: int, eager: tuple[int, ...]) -> None:
    host, device, _ = pair(eager=eager)
    frames = [np.roll(picture(88, 107), 3 * step, axis=1) for step in range(9)]
    expected = list(host.frames(frames, in_flight))
    results = list(device.frames(frames, in_flight))
    for one, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
    assert [each.info.passes for each in results][1:] == [1] * 8


@pytest.mark.parametrize(
    "wrong", ["x", picture()[..., 0], picture().transpose(2, 0, 1), picture().astype(np.int64), picture()[:0]]
)
def test_a_frame_that_is_not_a_picture_is_an_error_after_the_frames_before_it(pair: Open, wrong: Any) -> None:
    results = pair()[0].frames([picture(), picture(), wrong, picture()], 3)
    assert [next(results).pixels.shape for _ in range(2)] == [picture().shape] * 2
    with pytest.raises(ImageError):
        next(results)


def test_in_flight_must_be_positive(pair: Open) -> None:
    with pytest.raises(UsageError, match="in_flight is 0"):
        pair()[0].frames([picture()], 0)
