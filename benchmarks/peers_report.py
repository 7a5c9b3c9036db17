"""What a comparison of the runtime with its peers is asked for, and what it found: tables, and the same as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.benchmarks.inputs import PICTURE, Size
from mirnet_deploy.benchmarks.report import UNFINISHED
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import describe_machine
from mirnet_deploy.settings import Backend

PEERS = ("pytorch", "channels-last", "compile", "onnxruntime", "openvino")
"""What the runtime is compared with, in the order of the table."""
OURS = "ours"
"""The row of the runtime in float32, with the backend that users have."""
COARSE, COARSE_PEER = "ours, bfloat16", "OpenVINO, plain export, bfloat16"
"""The rows that do not compute in float32."""


@dataclass(frozen=True)
class PeerFiles:
    """The same weights in every form that is measured."""

    name: str
    """As the table calls the model."""
    checkpoint: Path
    plain: Path
    """An ONNX file as PyTorch's exporter makes it, float32 [N,3,H,W] in and out, with a sidecar."""
    ours: str
    """What the runtime is given: an exported ONNX file, or the name of a bundled model."""
    artifact: str
    """What `ours` is, for people."""
    n_feat: int
    """Channels of the network at full resolution."""


@dataclass(frozen=True)
class PeersConfig:
    """What to measure.

    Raises:
        UsageError: a value is out of range, or no peer has such a name.
    """

    sizes: tuple[Size, ...] = (Size(600, 400),)
    picture: str | None = None
    """The file that is cut or mirrored to each size; None for the packaged one (`inputs.sample_picture`)."""
    peers: tuple[str, ...] = PEERS
    runs: int = 15
    warmup: int = 1
    """Rounds that are not counted, after a first run of each, in which results are compared."""
    threads: int | None = None
    """Of every library; None leaves it to each."""
    backend: Backend = "auto"
    """Of ours; "auto" is the fastest, beside a row of each."""
    max_seconds: float = math.inf
    """Nothing is begun after that."""
    product_side: int | None = None
    """Of the matrices whose product gives the rate of the floor; None for the fastest (`floor.peaks.best_product`)."""

    def __post_init__(self) -> None:
        for name, value, least in (("--runs", self.runs, 1), ("--warmup", self.warmup, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
        if self.max_seconds <= 0:
            raise UsageError(f"--max-seconds is {self.max_seconds:g}; expected more than 0")
        if unknown := [name for name in self.peers if name not in PEERS]:
            raise UsageError(f"--peer is {unknown[0]!r}; expected one of {', '.join(PEERS)}")


@dataclass(frozen=True)
class PeerRow:
    """One way to run one model at one size. Where `failure` is set there are no latencies."""

    peer: str
    backend: str = ""
    """The library and its version."""
    first_s: float | None = None
    """Seconds of the first run, in which libraries compile and allocate."""
    times_ms: tuple[float, ...] = ()
    """Every timed run, in order: values of the same place were measured in the same round."""
    median_ms: float | None = None
    ratio: float | None = None
    """Median over the median of ours in the same precision, or for `COARSE` in float32: above 1 is slower."""
    interval: tuple[float, float] | None = None
    """Of the ratio; see `ratios.ratio_interval`. None in too few rounds."""
    of_floor: float | None = None
    """Time of the arithmetic alone over the median: 1 is nothing but multiplications at the rate of a matrix product in
    the row's precision."""
    max_levels: int | None = None
    """Largest difference from the reference's result, of 255."""
    psnr: float | None = None
    """dB against the reference's result; None where they are equal (`max_levels` is 0)."""
    failure: str | None = None

    @property
    def coarse(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.peer in (COARSE, COARSE_PEER)

    @property
    def differs(self) -> bool:
        """Whether its result is another than the reference's by more than rounding, which is a level in float32."""
        return self.max_levels is not None and self.max_levels > 1 and not self.coarse


@dataclass(frozen=True)
class PeerTable:
    """One model at one size."""

    model: str
    artifact: str
    """What the runtime was given: see `PeerFiles`."""
    size: str
    multiplications: int
    """Of one picture, in the plain export's graph (`floor.graph`)."""
    anew: bool = False
    """Whether engines that keep their memory were opened for every run, since they may not fit into it together: then
    opening and compiling count."""
    reference: str = ""
    """The row that the others' results are compared with; "" where none gave a result yet."""
    product_gmacs: float | None = None
    """Billions of multiplications and additions a second, in the fastest float32 matrix product of the rounds."""
    floor_ms: float | None = None
    """`multiplications` at that rate."""
    rows: tuple[PeerRow, ...] = ()

    @property
    def floor_ratio(self) -> float | None:
        """The floor over the median of ours; None where one is missing."""
        ours = next((row.median_ms for row in self.rows if row.peer == OURS), None)
        return self.floor_ms / ours if self.floor_ms and ours else None

    @property
    def failures(self) -> list[str]:
        """One line for each row that could not be measured, or whose result is another."""
        lines = []
        for row in self.rows:
            place = f"{row.peer}, {self.model} at {self.size}"
            if row.failure:
                lines.append(f"{place}: {row.failure}")
            if row.differs:
                lines.append(f"{place}: its result is {row.max_levels} levels from that of {self.reference}")
        return lines


@dataclass
class PeersReport:
    """All tables of a run so far, and where they were measured."""

    config: PeersConfig
    tables: list[PeerTable] = field(default_factory=list)
    ended: str = UNFINISHED
    """How the run ended: "whole", or "cut short: " and why."""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: dict[str, Any] = field(default_factory=lambda: describe_machine().to_dict() | {"numpy": np.__version__})
    commit: str | None = field(default_factory=running_commit)

    @property
    def failures(self) -> list[str]:
        """Those of all tables."""
        return [line for table in self.tables for line in table.failures]

    def to_json(self) -> str:
        """The JSON text: no NaN and no infinity, None where there is no figure."""
        config = asdict(self.config) | {"sizes": [str(size) for size in self.config.sizes]}
        config["max_seconds"] = self.config.max_seconds if math.isfinite(self.config.max_seconds) else None
        values = {
            "format": "mirnet-deploy bench peers",
            "format_version": 1,
            "tool_version": __version__,
            "commit": self.commit,
            "created": self.created,
            "ended": self.ended,
            "machine": self.machine,
            "settings": config | {"picture": self.config.picture or PICTURE},
            "tables": [asdict(table) | {"floor_ratio": table.floor_ratio} for table in self.tables],
            "failures": self.failures,
        }
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
