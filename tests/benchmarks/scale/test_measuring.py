"""Pictures that are really made, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from mirnet_deploy.benchmarks.scale.measuring import Measuring, measure
from mirnet_deploy.cli import main
from mirnet_deploy.errors import MirnetDeployError


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small JPEG and a smaller PNG."""
    folder = tmp_path_factory.mktemp("photographs")
    with Image.open(Path(__file__).parents[3] / "examples" / "night.jpg") as night:
        night.resize((64, 48)).save(folder / "a.jpg", quality=90)
        night.resize((32, 24)).save(folder / "b.png")
    return folder / "a.jpg", folder / "b.png"


def test_pictures_cost_what_they_are_and_become_what_enhance_makes(
    photographs: tuple[Path, Path], tmp_path: Path
) -> None:
    costs, manifest = measure(Measuring("lite", photographs, threads=1, processes=2, pictures=3))
    made = CliRunner().invoke(main, ["enhance", "--threads", "1", *map(str, photographs), "-o", str(tmp_path)])
    assert made.exit_code == 0, made.output
    first, second = ((each.stat().st_size, (tmp_path / each.name).stat().st_size) for each in photographs)
    # The names of folders are not in results; in turn, by both processes.
    assert [(each.bytes_in, each.bytes_out) for each in costs.pictures] == [first, second, first] * 2
    assert [each.pixels for each in costs.pictures] == [3072, 768, 3072] * 2
    for each in costs.pictures:
        assert min(each.read_s, each.compute_s, each.write_s) > 0
        assert each.wait_s >= 0
    assert (costs.threads, costs.cold_start_s is not None) == (1, True)
    assert "2 processes at once, 1 thread" in costs.source
    assert costs.source.startswith("lite (onnxruntime")
    assert 300 < manifest.line_bytes < 2000


def test_a_picture_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with pytest.raises(MirnetDeployError, match=r"measuring failed: .*broken\.jpg"):
        measure(Measuring("lite", (broken,), 1, 1, 1))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    with pytest.raises(MirnetDeployError, match=r"measuring failed: .*notes\.txt"):
        measure(Measuring("lite", (text,), 1, 1, 1))
