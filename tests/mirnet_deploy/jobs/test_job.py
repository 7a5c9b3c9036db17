"""Many pictures through one model, which is given the next one while the last is written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.cli.progress import Bar
from mirnet_deploy.errors import MissingDependencyError
from mirnet_deploy.images import reading
from mirnet_deploy.jobs import making
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.job import Job
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.results import PictureInfo
from mirnet_deploy.tiling import make_grid

SETTINGS = JobSettings("m", "0" * 64, RuntimeSettings(), 95, "4:4:4", None, False)
WAIT_S = 20.0


class Doubling:
    """Stands in for a runtime: makes pictures twice as bright, and counts how many are under way."""

    def __init__(self, before: Callable[[], Any] = lambda: None) -> None:
        self._before, self._state = before, threading.Lock()
        self.under_way = self.most = 0

    def enhance_into(self, source: Any, sink: Any, advance: Callable[[int], None]) -> PictureInfo:
        with self._state:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self._before()
        sink[...] = source * np.uint8(2)
        with self._state:
            self.under_way -= 1
        return PictureInfo.of(RuntimeSettings(), make_grid(8, 8, tile=(8, 8), halo=0), None, 0.0, None, "")

    def takes(self, dtype: Any) -> bool:
        return True


def tasks(folder: Path, count: int) -> list[Task]:
    """Pictures of 8x8, grey levels 1, 2, 3 and so on."""
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8, 3), number + 1, np.uint8))
    return [Task(folder / f"{number}.png", folder / "out" / f"{number}.png", "png") for number in range(count)]


def test_the_next_picture_is_read_while_one_is_enhanced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    second = threading.Event()
    real = reading.read_file

    def read_file(path: Path) -> bytes:
        read.append(path)
        if len(read) == 2:
            second.set()
        return real(path)

    monkeypatch.setattr(making, "read_file", read_file)
    waited: list[bool] = []
    model = Doubling(lambda: waited.append(second.wait(WAIT_S)))
    results = Job(SETTINGS, lambda: model).run(tasks(tmp_path, 2), Bar())
    assert [result.status for result in results] == ["done", "done"]
    assert all(waited)


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_are_enhanced_at_once_than_was_asked_for(tmp_path: Path, at_once: int) -> None:
    model = Doubling(lambda: threading.Event().wait(0.02))
    results = Job(SETTINGS, lambda: model, at_once).run(todo := tasks(tmp_path, 6), Bar())
    assert [result.input for result in results] == [task.source for task in todo]
    assert model.most == at_once
    for number, task in enumerate(todo):
        assert (cv2.imread(str(task.target)) == 2 * (number + 1)).all()


def test_the_time_of_a_picture_is_without_that_of_others(tmp_path: Path) -> None:
    model = Doubling(lambda: threading.Event().wait(0.5))
    results = Job(SETTINGS, lambda: model).run(tasks(tmp_path, 2), Bar())
    assert all(0.5 <= (result.seconds or 0) < 1 for result in results), "the second one waits for 0.5 s"


def test_a_picture_that_cannot_be_looked_at_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tasks(tmp_path, 2)
    real = Targets.is_done

    def is_done(self: Targets, task: Task) -> bool:
        if task is first:
            raise MissingDependencyError("HEIC needs pillow-heif")
        return real(self, task)

    monkeypatch.setattr(Targets, "is_done", is_done)
    results = Job(SETTINGS, Doubling).run([first, second], Bar())
    assert [result.status for result in results] == ["failed", "done"]
    assert results[0].error == f"{first.source}: HEIC needs pillow-heif"
