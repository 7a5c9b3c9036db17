"""Which pictures a page shows, how differences become colours, and how many bytes they take."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.page import encoding
from mirnet_deploy.benchmarks.page.encoding import coded, colour_stops, gain_for, painted
from mirnet_deploy.benchmarks.page.pictures import SIDE, Difference, Gallery, difference
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow


def flat(level: int, height: int = 8, width: int = 12) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def pair(name: str, *decibels: float | None, failed: bool = False) -> MeasuredPair:
    """Engines e0, e1, ...; the first one fails if `failed`."""
    rows = [QualityRow(f"e{index}", name, value, 0.5, value, 0.5) for index, value in enumerate(decibels)]
    outputs = [None if failed and not index else flat(100 + index) for index in range(len(rows))]
    return MeasuredPair(name, rows, flat(10), flat(110), outputs)


def test_the_first_two_and_the_worst_five_of_the_first_engine_are_kept() -> None:
    gallery = Gallery()
    decibels = [30, 12, 25, 11, 40, 19, 18, 17, 16, 39]
    for index, value in enumerate(decibels):
        gallery.add_measured(pair(f"p{index}", 99.0, value, 5.0), before=1)
    assert [(entry.name, entry.rank) for entry in gallery.entries] == [
        *(("p0", None), ("p1", 2)),
        *(("p3", 1), ("p8", 3), ("p7", 4), ("p6", 5)),
    ]
    few = Gallery()
    for index in range(5):
        few.add_measured(pair(f"p{index}", 20.0 + index), before=0)
    assert [entry.rank for entry in few.entries] == [None] * 5
    assert gallery.entries[0].engine == "e1"
    assert [label for label, _ in gallery.entries[0].panels] == ["input", "e1", "e2", "ground truth"]
    np.testing.assert_array_equal(gallery.entries[0].panels[1][1], flat(101))


def test_an_output_equal_to_the_target_is_no_worst_one_and_failures_are_left_out() -> None:
    gallery = Gallery()
    gallery.add_measured(pair("broken", 3.0, failed=True), before=0)
    gallery.add_measured(MeasuredPair("gone", [QualityRow("e0", "gone", failure="no file")], None, None, [None]), 0)
    for index in range(7):
        gallery.add_measured(pair(f"p{index}", None if index == 3 else 20.0 - index), before=0)
    assert [entry.name for entry in gallery.entries] == ["p0", "p1", "p6", "p5", "p4", "p2"]


def test_no_more_than_seven_reduced_copies_are_held() -> None:
    gallery = Gallery()
    for index in range(20):
        large = flat(index, 1500, 250)
        rows = [QualityRow("e", f"p{index}", 60.0 - index, 0.5, 20.0, 0.5)]
        gallery.add_measured(MeasuredPair(f"p{index}", rows, large, large, [large]), before=0)
    assert len(gallery.entries) == 7
    for entry in gallery.entries:
        assert (entry.width, entry.height) == (250, 1500)
        assert all(max(pixels.shape) == SIDE for _, pixels in entry.panels)
        assert entry.differences[0].levels.shape == (SIDE, round(SIDE / 6))


class Engine:
    def __init__(self, name: str, offset: int) -> None:
        self.name, self._offset = name, offset

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._offset < 0:
            raise MemoryError
        return image // 4 + np.uint8(self._offset)


def test_the_picture_that_was_timed_is_shown_with_how_far_engines_are_from_the_first() -> None:
    gallery = Gallery()
    gallery.add_timed(Size(40, 30), [Engine("a", 0), Engine("broken", -1), Engine("b", 3)])
    gallery.add_timed(Size(50, 30), [Engine("a", 0)])
    (entry,) = gallery.entries
    assert (entry.width, entry.height) == (40, 30)
    assert [label for label, _ in entry.panels] == ["input", "a", "b"]
    assert [each.label for each in entry.differences] == ["b − a"]
    np.testing.assert_allclose(entry.differences[0].levels, 3)


def test_a_difference_is_the_mean_of_its_channels_in_levels() -> None:
    one, other = flat(10), flat(10)
    one[..., 0] = 40
    np.testing.assert_allclose(difference("d", one, other).levels, 10)
    made = difference("d", one / np.float32(255), other / np.float32(255), ([3], [2, 4]))
    np.testing.assert_allclose(made.levels, 10, rtol=1e-5)
    assert made.borders == ((0.25,), (0.25, 0.5))


@pytest.mark.parametrize(("reach", "gain"), [(0.2, 1000), (2.4, 100), (12.75, 20), (12.8, 10), (25.5, 10), (200, 1)])
def test_differences_are_magnified_as_far_as_the_scale_holds_them(reach: float, gain: int) -> None:
    levels = np.full((100, 100), reach, np.float32)
    levels[0, :50] = 255  # half a percent beyond the scale
    assert gain_for([Difference("d", levels)]) == gain


def test_colours_grow_lighter_from_black() -> None:
    colours = painted(np.arange(256, dtype=np.float32)[None], gain=1)[0].astype(float)
    luminance = colours @ (0.2126, 0.7152, 0.0722)
    assert luminance[0] < 5
    assert luminance[-1] > 220
    assert (np.diff(luminance) > -1).all()
    np.testing.assert_array_equal(painted(np.full((1, 1), 9, np.float32), gain=10)[0, 0], colours[90])
    assert colour_stops(3)[0][0] == 0
    assert colour_stops(3)[2] == (100, "#{:02x}{:02x}{:02x}".format(*(int(each) for each in colours[255])))


def test_pictures_are_encoded_as_they_are_and_keep_the_budget() -> None:
    rng = np.random.default_rng(3)
    gallery = Gallery()
    for index in range(20):
        noise = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
        rows = [QualityRow("e", f"p{index}", 20.0 - index, 0.5, 20.0, 0.5)]
        gallery.add_measured(MeasuredPair(f"p{index}", rows, noise, noise[::-1].copy(), [noise]), before=0)
    shown, _ = coded(gallery.entries, budget=300_000)
    uris = [each.uri for one in shown for each in (*one.panels, *one.maps)]
    assert len(uris) == 7 * 4
    assert 150_000 < sum(map(len, uris)) <= 300_000
    small = Gallery()
    small.add_measured(pair("small", 20.0), before=0)
    (only,), _ = coded(small.entries)
    with Image.open(io.BytesIO(base64.b64decode(only.panels[1].uri.partition(",")[2]))) as image:
        assert image.format == "WEBP"
        assert np.abs(np.asarray(image).astype(int) - 100).max() <= 3


def test_a_page_has_room_for_its_text() -> None:
    from mirnet_deploy.benchmarks.page.page import LIMIT

    assert encoding.BUDGET + 1_500_000 < LIMIT
