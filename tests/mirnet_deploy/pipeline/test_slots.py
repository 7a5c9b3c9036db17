"""Slots: their buffers, how many each user gets, and what is left when they are closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine

from mirnet_deploy.devices.base import Stream, Tensor
from mirnet_deploy.devices.host_kernels import at
from mirnet_deploy.engines.base import Concurrency, Runner
from mirnet_deploy.errors import DeviceMemoryError, EngineError
from mirnet_deploy.pipeline.slots import Observer, Slots
from mirnet_deploy.tiling import make_grid


class Noted(Observer):
    """Records what it is told."""

    def __init__(self) -> None:
        self.copies: list[str] = []
        self.runs = 0

    def copy(self, kind: Literal["upload", "download"], stream: Stream, enqueue: Callable[[], None]) -> None:
        self.copies.append(kind)
        super().copy(kind, stream, enqueue)

    def run(self, runner: Runner, stream: Stream, tensors: Mapping[str, Tensor]) -> None:
        self.runs += 1
        super().run(runner, stream, tensors)


class Counted(Engine):
    """An engine on a deferred device with at most four runners, three of them for one picture."""

    concurrency = Concurrency(4, 3)
    step = 0.0
    made = 0
    refusals: tuple[int, ...] = ()
    """Which runners are refused, by their numbers from 1 on."""

    def runner(self, stream: Any) -> Any:
        self.made += 1
        if self.made in self.refusals:
            raise DeviceMemoryError("no memory for a runner")
        return super().runner(stream)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Counted]:
    engine = Counted(make_onnx(tmp_path / "a.onnx"))
    yield engine
    engine.close()  # fails where memory is still held


def test_a_picture_gets_its_share_and_the_next_one_what_is_left(engine: Counted) -> None:
    slots = Slots(engine, Observer())
    with slots.take(8, wait=True) as first:
        assert len(first) == 3
        with slots.take(8, wait=True) as second:
            assert len(second) == 1
            assert second[0] not in first
    with slots.take(2, wait=True) as again:
        assert len(again) == 2
        assert set(again) < {*first, *second}, "slots are used again"
    assert slots.made == 4
    slots.close()
    assert slots.made == 0


def test_a_user_waits_while_all_slots_are_taken(engine: Counted) -> None:
    engine.concurrency = Concurrency(1, 1)
    slots, got = Slots(engine, Observer()), threading.Event()

    def take() -> None:
        with slots.take(1, wait=True):
            got.set()

    with slots.take(1, wait=True):
        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.1)
    assert got.wait(10)
    thread.join()
    slots.close()


def test_a_user_who_waits_during_the_close_gets_a_slot_or_an_error(engine: Counted) -> None:
    engine.concurrency = Concurrency(1, 1)
    slots, said, waiting = Slots(engine, Observer()), [], threading.Event()

    def take() -> None:
        waiting.set()
        try:
            with slots.take(1, wait=True):
                said.append("got one")
        except EngineError as error:
            said.append(str(error))

    with slots.take(1, wait=True):
        thread = threading.Thread(target=take)
        thread.start()
        assert waiting.wait(10)
        closing = threading.Thread(target=slots.close)
        closing.start()
        thread.join(0.1)
    for each in (thread, closing):
        each.join(10)
        assert not each.is_alive()
    # It depends on which of the two came first when the slot was given back.
    assert said in (["got one"], [f"the engine of {engine.metadata.name} is closed; open a new one"])
    with pytest.raises(EngineError, match="is closed"), slots.take(1, wait=True):
        raise AssertionError("it is closed")


def test_a_slot_that_cannot_be_made_is_an_error_and_the_others_remain_usable(engine: Counted) -> None:
    engine.refusals = (2,)
    slots = Slots(engine, Observer())
    with pytest.raises(DeviceMemoryError, match="no memory for a runner"), slots.take(2, wait=True):
        raise AssertionError("the second one cannot be made")
    assert slots.made == 1
    with slots.take(3, wait=True) as taken:
        assert len(taken) == 3
    slots.close()


def test_the_first_slot_is_made_at_once(engine: Counted) -> None:
    engine.refusals = (1,)
    with pytest.raises(DeviceMemoryError, match="no memory for a runner"):
        Slots(engine, Observer())
    assert all(stream.done == len(stream.work) for stream in engine.driver.streams.values())


def test_a_limit_closes_idle_slots_and_later_those_in_use(engine: Counted) -> None:
    slots = Slots(engine, Observer())
    with slots.take(3, wait=True):
        slots.limit(1)
        assert slots.made == 3
    assert slots.made == 1
    with slots.take(3, wait=True) as taken:
        assert len(taken) == 1
    slots.close()


def test_buffers_keep_their_address_and_grow(engine: Counted) -> None:
    slots = Slots(engine, Observer())
    with slots.take(1, wait=True) as (slot,):
        first = slot.buffer("a", 1000)
        assert slot.buffer("a", 10) == slot.buffer("a", 1000) == first
        assert slot.buffer("b", 10) != first
        slot.buffer("a", 2000)
        assert sorted(engine.driver.held.values()) == [10, 2000], "the smaller one is given back"
    slots.close()
    assert not engine.driver.held


def test_a_table_whose_memory_could_not_grow_is_made_anew(engine: Counted) -> None:
    slots = Slots(engine, Observer())
    one, many = make_grid(64, 64, tile=(64, 64), halo=8).tiles, make_grid(640, 640, tile=(64, 64), halo=8).tiles
    with slots.take(1, wait=True) as (slot,):
        slot.tile_table("tiles", one, 0)
        engine.driver.refused = [DeviceMemoryError("full")]
        with pytest.raises(DeviceMemoryError):
            slot.tile_table("tiles", many, 0)
        assert slot.tile_table("tiles", one, 0).address in engine.driver.held
    slots.close()


def test_constants_are_uploaded_once_even_after_a_failure(engine: Counted) -> None:
    noted = Noted()
    slots = Slots(engine, noted)
    values = np.arange(5, dtype=np.float32)
    with slots.take(1, wait=True) as (slot,):
        engine.driver.refused = [DeviceMemoryError("full")]
        with pytest.raises(DeviceMemoryError):
            slot.constants("five", values)
        address = slot.constants("five", values)
        assert slot.constants("five", values) == address
        assert noted.copies.count("upload") == 1
    slots.close()


def test_a_tile_table_is_uploaded_once_and_again_when_it_changes(engine: Counted) -> None:
    noted = Noted()
    slots = Slots(engine, noted)
    small, large = (make_grid(96, width, tile=(64, 64), halo=12).tiles for width in (96, 192))
    with slots.take(1, wait=True) as (slot,):
        table = slot.tile_table("tiles", small, 0)
        assert slot.tile_table("tiles", list(small), 0) is table
        assert noted.copies == ["upload"]
        for tiles, filling in ((small, 2), (large, 2), (small, 0)):
            table = slot.tile_table("tiles", tiles, filling)
            slot.stream.synchronize()
            weights = at(table.rows.address, table.rows.shape, np.float32)
            assert weights.shape == (len(tiles) + filling, 64)
            assert weights.sum(axis=1).tolist() == [tile.core_size[0] for tile in (*tiles, *[tiles[-1]] * filling)]
        assert noted.copies == ["upload"] * 4
    slots.close()


def test_an_observer_is_told_of_every_copy_and_run(engine: Counted) -> None:
    noted = Noted()
    slots = Slots(engine, noted)
    image = np.linspace(0, 1, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    result = np.zeros_like(image)
    with slots.take(1, wait=True) as (slot,):
        source, target = (Tensor(slot.buffer(name, image.nbytes), image.shape) for name in ("in", "out"))
        slot.upload(image, source.address)
        slot.run({"input": source, "output": target})
        slot.download(target.address, result)
        assert not result.any(), "nothing happens before something waits"
    assert noted.copies == ["upload", "download"]
    assert noted.runs == 1
    assert result.any()
    slots.close()


def test_slots_of_a_broken_device_can_still_be_closed(tmp_path: Path) -> None:
    driver = Driver()
    slots = Slots(Counted(make_onnx(tmp_path / "a.onnx"), driver), Observer())
    with slots.take(1, wait=False) as (slot,):
        slot.buffer("a", 100)
    driver.broken = "the device is lost"
    slots.close()
    assert not driver.held
