"""The contact sheet: its panels are the pictures, its size has a limit, its labels are legible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks import sheet as module
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow
from mirnet_deploy.benchmarks.sheet import Sheet

SEED = np.random.default_rng(0)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return SEED.integers(0, 250, (height, width, 3), dtype=np.uint8)


def measured(name: str, *outputs: NDArray[np.uint8] | None, size: tuple[int, int] = (60, 90)) -> MeasuredPair:
    rows = [
        QualityRow("e", name, failure="no room") if output is None else QualityRow("e", name, 20.0, 0.8, 25.0, 0.9)
        for output in outputs
    ]
    return MeasuredPair(name, rows, noise(*size), noise(*size), list(outputs))


def find(sheet: NDArray[np.uint8], panel: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Row and column at which `panel` lies in `sheet`, by its first pixels."""
    height, width = panel.shape[:2]
    for top in range(sheet.shape[0] - height + 1):
        for left in np.flatnonzero((sheet[top, : sheet.shape[1] - width + 1] == panel[0, 0]).all(axis=1)):
            if np.array_equal(sheet[top : top + height, left : left + width], panel):
                return top, int(left)
    return None


def test_panels_are_the_pictures_side_by_side_and_in_rows(tmp_path: Path) -> None:
    pairs = [measured("first", noise(60, 90), noise(60, 90)), measured("second", noise(60, 90), noise(60, 90))]
    sheet = Sheet(["input", "one.onnx", "two.onnx", "ground truth"])
    for pair in pairs:
        sheet.add(pair)
    sheet.save(tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    places = [
        [find(pixels, panel) for panel in (pair.low, *pair.outputs, pair.high) if panel is not None] for pair in pairs
    ]
    for row in places:
        assert None not in row
        assert len({top for top, _ in row if top is not None}) == 1, "one height"
        assert [left for _, left in row] == sorted(left for _, left in row)
    assert [left for _, left in places[0]] == [left for _, left in places[1]], "columns line up"
    assert places[0][0][0] + 60 < places[1][0][0]


def test_large_pictures_are_reduced_and_keep_their_shape() -> None:
    large = noise(800, 1600)
    sheet = Sheet(["input", "out", "ground truth"])
    sheet.add(measured("large", large, size=(800, 1600)))
    panel = sheet.rows[0][1][1]
    assert panel is not None
    assert panel.size == (400, 200)
    drawn = sheet.draw()
    assert drawn.width < 3 * 420 + 40
    assert drawn.height < 350


def test_every_column_has_a_legible_label() -> None:
    sheet = Sheet(["input", "a/very/long/folder/name/that/does/not/fit/mirnet.onnx", "ground truth"])
    sheet.add(measured("pair", noise(60, 200)))
    pixels = np.asarray(sheet.draw().convert("L"))
    band = pixels[module.MARGIN : module.MARGIN + module.LINE]
    inked = np.flatnonzero((band < 100).any(axis=0))
    width = pixels.shape[1] - 2 * module.MARGIN
    assert inked.max() < pixels.shape[1] - module.MARGIN
    third = np.histogram(inked, bins=3, range=(module.MARGIN, module.MARGIN + width))[0]
    assert (third > 10).all()
    heights = np.flatnonzero((band < 100).any(axis=1))
    assert heights.max() - heights.min() >= 10, "letters of at least ten pixels"


def test_a_failed_engine_leaves_its_place_empty() -> None:
    sheet = Sheet(["input", "broken", "works", "ground truth"])
    pair = measured("pair", None, noise(60, 90))
    sheet.add(pair)
    assert pair.outputs[1] is not None
    assert find(np.asarray(sheet.draw()), pair.outputs[1]) is not None


def test_a_sheet_has_a_limited_number_of_rows() -> None:
    sheet = Sheet(["input", "out", "ground truth"])
    for index in range(module.MAX_ROWS + 5):
        sheet.add(measured(str(index), noise(20, 20), size=(20, 20)))
    assert len(sheet.rows) == module.MAX_ROWS
    assert sheet.left_out == 5
    assert sheet.draw().height < 1200


@pytest.mark.parametrize("skip", [0, 1])
def test_the_first_engines_can_be_left_out(skip: int) -> None:
    outputs = [noise(20, 20), noise(20, 20)]
    sheet = Sheet(["input", *["out"] * (2 - skip), "ground truth"])
    sheet.add(measured("pair", *outputs, size=(20, 20)), skip=skip)
    pixels = np.asarray(sheet.draw())
    assert (find(pixels, outputs[0]) is None) == bool(skip)
    assert find(pixels, outputs[1]) is not None
