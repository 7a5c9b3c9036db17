"""What engines on a device share: runs on host arrays, which go through the device's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Driver
from mirnet_deploy.engines.base import Engine, Pools, Tensor, no_context_error
from mirnet_deploy.frames import as_bytes
from mirnet_deploy.lanes import Lane, LanePool
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES, ArtifactMetadata

MAX_LANES = 4
"""Runs of one engine that may be under way at once, each with its own scratch memory; further ones wait."""


class DeviceEngine:
    """The part of an engine that follows from its `runner`. `pool` is made by the engine when it can run."""

    metadata: ArtifactMetadata
    driver: Driver
    lanes = MAX_LANES, 2
    pool: LanePool

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `Engine.run`. Returns when the result is in host memory."""
        return self._run(batch, None)[0]

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """See `Engine.run_pooled`. Returns when the result is in host memory."""
        if not self.metadata.context:
            raise no_context_error(self.metadata)
        return self._run(batch, pools)

    def _run(self, batch: NDArray[Any], pools: Pools | None) -> tuple[NDArray[Any], NDArray[np.float32]]:
        source, result = TENSOR_NAMES[self.metadata.interface]
        outputs: dict[str, NDArray[Any]] = {result: np.empty_like(batch)}
        inputs: dict[str, NDArray[Any]] = {source: batch}
        statistics = np.empty((len(batch), self.metadata.context), np.float32)
        if pools:
            inputs |= pools._asdict()
            outputs[STATISTICS] = statistics
        with self.pool.take(1) as (lane,):
            tensors = {}
            for name, value in (inputs | outputs).items():
                tensors[name] = Tensor(lane.buffer(name, value.nbytes), value.shape, value.dtype)
            for name, value in inputs.items():
                self._move(lane, name, value, tensors[name], up=True)
            lane.runner.enqueue(tensors)
            for name, value in outputs.items():
                self._move(lane, name, value, tensors[name], up=False)
            lane.stream.synchronize()
            for name, value in outputs.items():
                value[...] = lane.staging(name, value.shape, value.dtype)
        return outputs[result], statistics

    def _move(self, lane: Lane, name: str, value: NDArray[Any], tensor: Tensor, up: bool) -> None:
        staging = lane.staging(name, value.shape, value.dtype)
        if up:
            staging[...] = value
            self.driver.upload(as_bytes(staging[None]), tensor.address, value.nbytes, lane.stream)
        else:
            self.driver.download(tensor.address, value.nbytes, as_bytes(staging[None]), lane.stream)


def pool_of(engine: Engine) -> LanePool:
    """A pool of which the first lane is made now, so that want of memory shows before the first picture."""
    pool = LanePool(engine)
    with pool.take(1):
        return pool
