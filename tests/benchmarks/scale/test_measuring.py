"""Pictures that are really made, in processes of their own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from fleets import make_fleet
from PIL import Image

from mirnet_deploy.benchmarks.scale.measuring import Measuring, _clocks, measure, measure_here
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
    # The names of folders are not in results; in turn, and the second process goes on where the first one ends.
    order = [first, second] if costs.pictures[0].pixels == 3072 else [second, first]
    assert [(each.bytes_in, each.bytes_out) for each in costs.pictures] == order * 3
    assert {each.pixels for each in costs.pictures} == {3072, 768}
    assert (costs.files, costs.drawn_from) == (2, 2)
    assert 10e6 < (costs.memory_bytes or 0) < 4e9
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


def test_pictures_are_drawn_by_chance_and_others_for_each_process() -> None:
    """Of a folder whose names are in the order of its sizes, not the first ones."""
    paths = tuple(Path(f"{number:04d}.jpg") for number in range(1000))
    what = Measuring("lite", paths, threads=1, processes=4, pictures=8)
    drawn = [what.drawn(number) for number in range(4)]
    assert drawn == [what.drawn(number) for number in range(4)]
    assert len({path for each in drawn for path in each}) == 32
    places = [int(path.stem) for each in drawn for path in each]
    assert 300 < sum(places) / 32 < 700  # 500, with a standard deviation of 51
    few = Measuring("lite", paths[:3], threads=1, processes=2, pictures=4)
    assert sorted(few.drawn(0) + few.drawn(1)) == sorted([*paths[:3] * 2, *few.drawn(0)[:2]])


def test_time_of_all_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders of some formats have several: 2 s of two threads on a clock of 1 s."""
    monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
    monkeypatch.setattr(time, "process_time", lambda: 2.0)
    assert _clocks() == (1.0, 2.0)


def test_a_fleet_is_measured_by_its_onnx_file(photographs: tuple[Path, Path], tmp_path: Path) -> None:
    """And pictures of one name from two folders are two pictures."""
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    other.write_bytes(photographs[0].read_bytes())
    fleet = make_fleet(tmp_path / "fleet")
    request = {"model": str(fleet), "paths": [str(photographs[0]), str(other)], "threads": 1, "warm_up": False}
    request |= {"folder": str(tmp_path / "made"), "started": time.monotonic()}
    assert len(measure_here(request, lambda: None)["pictures"]) == 2
