"""The check: real commands, on folders of copies."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirnet_deploy.benchmarks.scale import check as module
from mirnet_deploy.benchmarks.scale.check import PLAIN, Check, CheckRound, run_check
from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.measuring import Measuring
from mirnet_deploy.errors import MirnetDeployError, UsageError

COPY_CODE = "import shutil; shutil.copytree('{source}', '{target}')"
COPY = shlex.join([sys.executable, "-c", COPY_CODE])
MANIFEST = "import os; os.mkdir('{target}'); open('{target}/a.jsonl', 'w')"
PICTURE = PictureCost(0.02, 0.2, 0.03, 0.0, 1000, 3000, 768)


@pytest.fixture
def what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    """Two actors of one thread, whose pictures are said to take a quarter of a second."""
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 24), (9, 9, 9)).save(path)
    monkeypatch.setattr(module, "describe_processor", lambda: {"cores": 2})
    costs = Costs((PICTURE,), "", 1, None)
    monkeypatch.setattr(module, "measure", lambda what: (costs, ManifestCost(1e-6, 500, 100)))
    return Measuring("lite", (path,), threads=1, processes=2, pictures=1)


def run_once(check: Check, monkeypatch: pytest.MonkeyPatch, times: list[float]) -> list[CheckRound]:
    """The rounds, on a clock that reads those times, one after the other."""
    readings = iter(times)
    monkeypatch.setattr(module, "perf_counter", lambda: next(readings))
    return list(run_check(check))


def test_a_rate_is_that_of_the_pictures_that_the_long_run_has_more(
    what: Measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twice 8 and twice 2 pictures: 12 more in 1.5 s, where two actors of 0.25 s a picture would make 8 a second."""
    log = tmp_path / "log"
    count = f"import os; open('{log}', 'a').write(str(len(os.listdir('{{source}}'))) + ' ')"
    check = Check(what, shlex.join([sys.executable, "-c", f"{count}; {COPY_CODE}"]), commands=2, pictures=8, rounds=1)
    (found,) = run_once(check, monkeypatch, [10.0, 13.0, 20.0, 24.5])
    assert log.read_text().split() == ["2", "2", "8", "8"]
    assert (found.short_s, found.long_s) == (3.0, 4.5)
    assert found.measured_per_s == pytest.approx(12 / 1.5)
    assert found.predicted_per_s == pytest.approx(8, rel=4e-3)
    assert found.ratio == pytest.approx(1, rel=4e-3)


def test_one_command_may_hold_all_actors(what: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(what, COPY, commands=1, pictures=4, rounds=2)
    found = run_once(check, monkeypatch, [0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 4.0])
    assert [each.measured_per_s for each in found] == [6.0, 2.0]


def test_a_longer_run_that_took_no_longer_says_nothing(what: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = run_once(Check(what, COPY, pictures=4, rounds=1), monkeypatch, [0.0, 1.0, 0.0, 1.0])
    assert (found.measured_per_s, found.ratio) == (None, None)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"{sys.executable} -c 'import sys; sys.exit(\"no room\")' {{source}} {{target}}", "--command failed: no room"),
        (f"{sys.executable} -c '' {{source}} {{target}}", "--command made 0 of 2 pictures"),
        (shlex.join([sys.executable, "-c", MANIFEST, "{source}"]), "--command made 0 of 2 pictures"),
        ("mirnet-deploy enhance --threads 0 {source} -o {target}", "--command failed: error: --threads"),
    ],
)
def test_a_command_that_does_not_do_its_work_is_an_error(what: Measuring, command: str, said: str) -> None:
    with pytest.raises(MirnetDeployError, match=said):
        next(run_check(Check(what, command, pictures=4)))


def test_a_command_that_is_not_there_is_named(what: Measuring) -> None:
    with pytest.raises(UsageError, match="--command no-such-program cannot be started"):
        next(run_check(Check(what, "no-such-program {source} {target}")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": "enhance {source}"}, r"has no \{target\}"),
        ({"pictures": 3}, "--each is 3; expected at least 4"),
        ({"commands": 3}, "2 actors cannot be shared by 3 commands alike"),
    ],
)
def test_a_check_that_cannot_be_is_refused(what: Measuring, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Check(what, **change)


def test_more_actors_than_processors_are_refused(what: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "describe_processor", lambda: {"cores": 1})
    with pytest.raises(UsageError, match="2 actors with 1 threads do not fit on 1 processors"):
        Check(what, PLAIN)


def test_results_are_counted_whatever_their_suffix(what: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of camera RAW they are TIFFs; and a manifest beside them is no result."""
    rename = "import pathlib as p; [e.rename(e.with_suffix('.tif')) for e in p.Path('{target}').iterdir()]"
    code = f"{COPY_CODE}; {rename}; open('{{target}}/a.jsonl', 'w')"
    check = Check(what, shlex.join([sys.executable, "-c", code]), pictures=4, rounds=1)
    assert len(run_once(check, monkeypatch, [0.0, 1.0, 0.0, 2.0])) == 1


def test_commands_that_say_a_lot_do_not_wait_for_each_other(what: Measuring, tmp_path: Path) -> None:
    """More than a pipe holds; the first command ends only when the second one has said all."""
    end = tmp_path / "end"
    code = (
        "import os, pathlib, shutil, sys, time; end = pathlib.Path(sys.argv[3])\n"
        "if sys.argv[1].endswith('1'): sys.stderr.write('x' * 300000); sys.stderr.flush(); end.touch()\n"
        "begin = time.monotonic()\n"
        "while not end.exists() and time.monotonic() - begin < 60: time.sleep(0.01)\n"
        "sys.exit('nobody came') if not end.exists() else shutil.copytree(sys.argv[1], sys.argv[2])"
    )
    command = shlex.join([sys.executable, "-c", code, "{source}", "{target}", str(end)])
    assert next(run_check(Check(what, command, commands=2, pictures=4))).short_s > 0


def test_the_commands_make_the_pictures_that_were_measured(
    what: Measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each actor its own, drawn by chance: the short run the first of them."""
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4 + number, 4)).save(path)
    log = tmp_path / "log"
    code = f"import os, PIL.Image as i; n = sorted(os.listdir('{{source}}')); open('{log}', 'a').write("
    code += "' '.join(str(i.open('{source}/' + e).width - 4) for e in n) + '\\n')"
    drawn = replace(what, paths=tuple(paths))
    check = Check(drawn, shlex.join([sys.executable, "-c", f"{code}; {COPY_CODE}"]), pictures=8, rounds=1)
    run_once(check, monkeypatch, [0.0, 1.0, 0.0, 2.0])
    short, long = ([int(each) for each in line.split()] for line in log.read_text().splitlines())
    measured = replace(drawn, pictures=8)
    both = [[int(path.stem) for path in measured.drawn(actor)] for actor in (0, 1)]
    assert long == both[0] + both[1]
    assert short == both[0][:2] + both[1][:2]
