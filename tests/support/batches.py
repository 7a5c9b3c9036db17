"""Runs batches of host arrays on an engine of any device, without the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.artifacts.context import STATISTICS, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.errors import EngineError
from mirnet_deploy.pipeline.slots import Observer, Slots


class Batches:
    """An engine and its slots. It has the engine's attributes too."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        try:
            self._slots = Slots(engine, Observer())
        except EngineError:
            engine.close()
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The result of the plain network."""
        return self._run(batch, None)[0]

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The result, and the means that the pools measured, float32 [N,K]."""
        return self._run(batch, pools)

    def _run(self, batch: NDArray[Any], pools: Pools | None) -> tuple[NDArray[Any], NDArray[np.float32]]:
        source, result = TENSOR_NAMES[self.engine.metadata.interface]
        inputs: dict[str, NDArray[Any]] = {source: batch, **(pools._asdict() if pools else {})}
        outputs: dict[str, NDArray[Any]] = {result: np.empty_like(batch)}
        statistics = np.empty((len(batch), self.engine.metadata.context), np.float32)
        if pools:
            outputs[STATISTICS] = statistics
        with self._slots.take(1, wait=True) as (slot,):
            tensors = {
                name: Tensor(slot.buffer(name, value.nbytes), value.shape, value.dtype)
                for name, value in (inputs | outputs).items()
            }
            for name, value in inputs.items():
                slot.upload(np.ascontiguousarray(value)[None], tensors[name].address)
            slot.run(tensors)
            for name, value in outputs.items():
                slot.download(tensors[name].address, value[None])
        return outputs[result], statistics

    def close(self) -> None:
        """Closes the slots, then the engine, as the runtime does."""
        self._slots.close()
        self.engine.close()


def open_batches(model: str | Path, **settings: Any) -> Batches:
    """The engine of an artifact, opened as the runtime opens it."""
    return Batches(open_engine(model, RuntimeSettings(**settings)))
