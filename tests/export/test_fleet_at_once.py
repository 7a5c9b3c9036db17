"""Exports into one fleet at the same time, with stand-ins for what is traced and built: nothing is lost or replaced."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from artifacts import make_onnx, metadata
from fleets import RTX

from mirnet_deploy.artifacts.fleet import MANIFEST, Fleet, FleetFile, read_fleet
from mirnet_deploy.artifacts.sidecar import read_onnx, sidecar_path
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export import fleet as fleets
from mirnet_deploy.export.builder import BuilderLibrary
from mirnet_deploy.export.fleet import LOCK, Attempt, begin_fleet, extend_fleet
from mirnet_deploy.export.pipeline import Exported
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.files import file_sha256

CHECKPOINT: Any = SimpleNamespace(sha256="c" * 64)
PLAN = f"mirnet.sm86.{RTX[0]}-{RTX[1]}.plan"


def onnx_file(folder: Path) -> Exported:
    path = make_onnx(folder / "mirnet.onnx", "blur", opset=18, checkpoint_sha256=CHECKPOINT.sha256)
    return Exported(path, read_onnx(path)[1])


def silent(step: str, length: float | None) -> Any:
    return nullcontext(lambda share: None)


def begin(folder: Path, *, force: bool = False, **given: Any) -> tuple[Fleet, list[Exported]]:
    return begin_fleet(CHECKPOINT, folder, ExportSettings(**given), False, given, [], force, silent)


def extend(fleet: Fleet, *, force: bool = False) -> Attempt:
    """Adds a plan for sm86 with the stand-in for TensorRT-RTX."""
    library = BuilderLibrary("tensorrt_rtx", SimpleNamespace(__version__=RTX[1]), ("sm86",))
    (attempt,) = extend_fleet(CHECKPOINT, fleet, [library], [], force, silent)
    return attempt


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A fleet without plans."""
    made = onnx_file(tmp_path)
    entry = FleetFile(made.path.name, file_sha256(made.path), made.path.stat().st_size)
    fleet = Fleet(tmp_path, entry, entry)
    (tmp_path / MANIFEST).write_text(fleet.to_json())
    return fleet


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens during the next builds, one entry for each. A build's plan is its number."""
    events: list[Callable[[], object]] = []
    built: list[bytes] = []

    def prove(checkpoint: Any, source: Exported, settings: Any, library: BuilderLibrary, *rest: Any) -> Any:
        data = str(len(built)).encode()
        built.append(data)
        if events:
            events.pop(0)()
        made: dict[str, Any] = {"kind": "plan", "targets": list(library.targets), "builder": library.name}
        made |= {"builder_version": library.version, "onnx_sha256": source.metadata.sha256}
        return data, metadata(**made, sha256=hashlib.sha256(data).hexdigest())

    monkeypatch.setattr(fleets, "prove_plan", prove)
    return events


class TestBegun:
    """The ONNX files are made once."""

    def test_the_second_waits_and_gets_the_fleet_of_the_first(self, tmp_path: Path, monkeypatch) -> None:
        inside, go_on = threading.Event(), threading.Event()
        runs: list[int] = []

        def make(*_: Any) -> Any:
            runs.append(1)
            inside.set()
            assert go_on.wait(30)
            yield onnx_file(tmp_path)

        monkeypatch.setattr(fleets, "export_checkpoint", make)
        monkeypatch.setattr(fleets._log, "info", lambda *_: go_on.set())  # it has found the lock taken
        results: dict[str, Any] = {}
        first = threading.Thread(target=lambda: results.update(first=begin(tmp_path)))
        first.start()
        assert inside.wait(30)
        results["second"] = begin(tmp_path)
        first.join()
        assert len(runs) == 1
        assert len(results["first"][1]) == 1
        assert results["second"] == (results["first"][0], [])

    @pytest.mark.parametrize("force", [False, True])
    def test_one_of_other_settings_is_refused_and_nothing_made(
        self, fleet: Fleet, force: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fleets, "export_checkpoint", None)
        assert begin(fleet.folder, force=force, tile=64) == (fleet, [])
        with pytest.raises(ExportError, match="was made with tile 64"):
            begin(fleet.folder, force=force, tile=128)

    def test_files_that_came_meanwhile_are_not_replaced_unasked(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(fleets, "export_checkpoint", lambda *_: [onnx_file(tmp_path)])
        (tmp_path / "mirnet.onnx").write_text("mine")
        with pytest.raises(ExportError, match="exists already"):
            begin(tmp_path)
        assert (tmp_path / "mirnet.onnx").read_text() == "mine"
        assert begin(tmp_path, force=True)[0] == read_fleet(tmp_path)


class TestExtended:
    """The fleet may change while a plan is built."""

    def test_of_two_for_one_target_the_first_stays(self, fleet: Fleet, during: Any) -> None:
        during.append(lambda: extend(fleet))
        assert extend(fleet) == Attempt("sm86", kept=fleet.folder / PLAN)
        assert (fleet.folder / PLAN).read_bytes() == b"1"  # of the inner one, which was done first
        (entry,) = read_fleet(fleet.folder).plans
        assert entry.sha256 == file_sha256(fleet.folder / PLAN)

    def test_with_force_the_last_stays(self, fleet: Fleet, during: Any) -> None:
        during.append(lambda: extend(fleet))
        assert extend(fleet, force=True).exported is not None
        assert (fleet.folder / PLAN).read_bytes() == b"0"
        after = read_fleet(fleet.folder)
        assert after.checked(*after.plans) == fleet.folder / PLAN

    def test_a_file_that_came_meanwhile_is_not_replaced_unasked(self, fleet: Fleet, during: Any) -> None:
        during.append(lambda: (fleet.folder / PLAN).write_text("mine"))
        assert "exists already" in str(extend(fleet).error)
        assert (fleet.folder / PLAN).read_text() == "mine"

    def test_a_plan_of_another_onnx_file_is_not_added(self, fleet: Fleet, during: Any) -> None:
        other = FleetFile("mirnet.onnx", "0" * 64, 1)
        changed = Fleet(fleet.folder, other, other).to_json()
        during.append(lambda: (fleet.folder / MANIFEST).write_text(changed))
        assert "became a fleet of another ONNX file while" in str(extend(fleet, force=True).error)
        assert (fleet.folder / MANIFEST).read_text() == changed
        assert not sidecar_path(fleet.folder / PLAN).exists()

    @pytest.mark.parametrize("what", ["lock", "folder"])
    def test_what_cannot_be_written_is_said_before_the_build(
        self, fleet: Fleet, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(**_: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(fleets, "prove_plan", None)  # a build would be another error
        if what == "lock":
            (fleet.folder / LOCK).mkdir()
        else:
            monkeypatch.setattr("tempfile.TemporaryFile", full)
        said = {
            "lock": f"{fleet.folder / LOCK}, the lock of the fleet, cannot be opened: ",
            "folder": f"{fleet.folder} cannot be written: No space left on device",
        }
        assert str(extend(fleet).error).startswith(said[what])

    def test_others_who_share_the_folder_can_take_the_lock(self, fleet: Fleet, during: Any) -> None:
        extend(fleet)
        assert (fleet.folder / LOCK).stat().st_mode & 0o777 == 0o666
