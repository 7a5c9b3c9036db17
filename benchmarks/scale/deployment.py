"""What is assumed of hosts, of the storage and of the driver: every value with its unit and where it is from.

None of these was measured by us. Prices are those of one provider, as the sources had them in November 2026.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from mirnet_deploy.errors import UsageError

GIB = 1 << 30
"""Bytes of what price lists call a GB."""
CATALOGUE = "EC2 on demand, us-east-1: skypilot-org/skypilot-catalog, catalogs/v8/aws/vms.csv at e385a0d3"
S3_SPEED = "S3 User Guide, Optimizing Amazon S3 performance"
S3_PRICE = "S3 Standard: c3x.dev/blog/s3-request-fees-explained, undated, found in November 2026"
NETWORK = "EC2 User Guide, Amazon EC2 instance network bandwidth"
GIVEN = "given with --set"


def _assumed(default: Any, unit: str, source: str) -> Any:
    return field(default=default, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Hosts:
    """Hosts of one kind, with actors that enhance. By default c7i.4xlarge.

    Raises:
        UsageError: a value is out of range.
    """

    kind: str = _assumed("c7i.4xlarge", "", CATALOGUE)
    vcpus: int = _assumed(16, "a host", f"{CATALOGUE}: 4 x c7i.xlarge's; two are a core (EC2 User Guide)")
    gpus: int = _assumed(0, "a host", "0: an actor for each --threads processors; else one for each GPU")
    in_flight: int = _assumed(2, "pictures an actor", "as `enhance`: one is enhanced while another is read or written")
    memory_gb: float = _assumed(32.0, "GB a host", "EC2 instance types: 4 x c7i.xlarge's 8")
    speed: float = _assumed(
        1.0, "of a processor here", "unknown, 0.5 to 1: a vCPU taken for as fast as a processor here; it is half a core"
    )
    network_gbps: float = _assumed(5.0, "Gbit/s each way", f"{NETWORK}: below 32 vCPUs, through a gateway")
    usd_per_hour: float | None = _assumed(0.714, "USD", f"{CATALOGUE}; 4 x c7i.xlarge")
    boot_s: float = _assumed(0.0, "s", "unknown: left out")
    minimum_s: float = _assumed(60.0, "s", "EC2 bills by the second, from a minute on (factualminds.com, June 2026)")
    interruptions: float = _assumed(0.0, "a host and hour", "on demand: none; for spot instances say how many")

    def __post_init__(self) -> None:
        for name, least in (("vcpus", 1), ("gpus", 0), ("in_flight", 1)):
            _check(name, getattr(self, name), least)
        for name in ("memory_gb", "speed", "network_gbps"):
            _check(name, getattr(self, name), 0, above=True)
        for name in ("usd_per_hour", "boot_s", "minimum_s", "interruptions"):
            _check(name, getattr(self, name), 0)
        if self.gpus > self.vcpus:
            raise UsageError(f"gpus is {self.gpus}; expected no more than vcpus, which is {self.vcpus}")


GPU_HOSTS = {
    "kind": ("p5en.48xlarge", CATALOGUE),
    "vcpus": (192, f"{CATALOGUE}: 192 vCPUs and 8 H200"),
    "gpus": (8, f"{CATALOGUE}: 192 vCPUs and 8 H200"),
    "memory_gb": (2048.0, "EC2 instance types: p5en.48xlarge"),
    "network_gbps": (100.0, f"{S3_SPEED}: up to 100 Gb/s on one instance"),
    "usd_per_hour": (63.296, CATALOGUE),
}
"""Field of `Hosts` -> its value and source for hosts with GPUs."""


@dataclass(frozen=True)
class Storage:
    """The object store that pictures are read from and written to. Limits are those of one prefix; by default S3.

    Raises:
        UsageError: a value is out of range.
    """

    latency_s: float = _assumed(0.15, "s a request", f"{S3_SPEED}: roughly 100 to 200 ms")
    gets: float = _assumed(1.0, "a picture", "it is read as a whole")
    puts: float = _assumed(1.0, "a picture", "its result is written as a whole")
    get_rate: float = _assumed(5500.0, "a second and prefix", S3_SPEED)
    put_rate: float = _assumed(3500.0, "a second and prefix", S3_SPEED)
    keys_a_list: int = _assumed(1000, "keys", "S3 API Reference, ListObjectsV2: at most 1,000 a response")
    network_gbps: float | None = _assumed(None, "Gbit/s each way", "no limit of all hosts together assumed")
    usd_per_1000_gets: float = _assumed(0.0004, "USD", S3_PRICE)
    usd_per_1000_puts: float = _assumed(0.005, "USD", f"{S3_PRICE}; LIST costs the same")
    usd_per_gb_month: float = _assumed(
        0.023, "USD", "S3 Standard, us-east-1, first 50 TB, later ones less: deepeshsoni.com/archives/256, undated"
    )
    months: float = _assumed(1.0, "months", "that results are kept and paid for; inputs lie there anyhow")
    usd_per_gb_moved: float = _assumed(0.0, "USD", "S3 FAQ: nothing between EC2 and S3 in one region")

    def __post_init__(self) -> None:
        for name in ("get_rate", "put_rate", "keys_a_list", "network_gbps"):
            _check(name, getattr(self, name), 0, above=True)
        for each in fields(self):
            _check(each.name, getattr(self, each.name), 0)


@dataclass(frozen=True)
class Driver:
    """The process of one job that lists its inputs, hands them out and writes the manifest.

    Raises:
        UsageError: a value is out of range.
    """

    dispatch_rate: float = _assumed(
        8038.0,
        "pictures a second",
        "Ray, release/perf_metrics/microbenchmark.json at 08444c4c, 1_n_actor_calls_async: one call a picture",
    )
    memory_gb: float = _assumed(8.0, "GB", "for the names of the inputs: chosen")
    list_hours: float = _assumed(1.0, "h", "that a job may spend on listing: chosen")

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), 0, above=True)


@dataclass(frozen=True)
class Deployment:
    """All that is assumed."""

    cpu: Hosts
    gpu: Hosts
    storage: Storage
    driver: Driver
    assumptions: Mapping[str, str]
    """Name, such as storage.latency_s -> where its value is from."""

    @classmethod
    def of(cls, given: Sequence[str] = (), defaults: Mapping[str, tuple[Any, str]] | None = None) -> Deployment:
        """The defaults, but for values of --set, NAME=VALUE such as cpu.usd_per_hour=0.3; "none" is no value.

        Args:
            defaults: name -> other default and its source.

        Raises:
            UsageError: there is no such name, or a value is not what the name stands for.
        """
        parts: dict[str, Any] = {"cpu": Hosts(), "gpu": Hosts(), "storage": Storage(), "driver": Driver()}
        sources = {f"{part}.{each.name}": each.metadata["source"] for part, of in parts.items() for each in fields(of)}
        values: dict[str, dict[str, Any]] = {part: {} for part in parts}
        others = {f"gpu.{name}": value for name, value in GPU_HOSTS.items()} | dict(defaults or {})
        for name, (value, source) in others.items():
            part, _, field_name = name.partition(".")
            values[part][field_name], sources[name] = value, source
        for text in given:
            name, _, written = text.partition("=")
            if name not in sources:
                raise UsageError(f"--set {text}: there is no {name!r}; expected one of {', '.join(sources)}")
            part, _, field_name = name.partition(".")
            values[part][field_name] = _parsed(get_type_hints(type(parts[part]))[field_name], written, text)
            sources[name] = GIVEN
        made = {}
        for part, of in parts.items():
            try:
                made[part] = replace(of, **values[part])
            except UsageError as error:
                raise UsageError(f"--set {part}.{error}") from error
        if made["cpu"].gpus or not made["gpu"].gpus:
            raise UsageError("--set: cpu.gpus stays 0, and gpu.gpus is 1 at least")
        return cls(**made, assumptions=sources)

    def listed(self, without: str = "") -> list[dict[str, Any]]:
        """Every value with its name, unit and source, but for those of the part `without`."""
        found = []
        for name, source in self.assumptions.items():
            part, _, field_name = name.partition(".")
            if part == without:
                continue
            of = getattr(self, part)
            unit = type(of).__dataclass_fields__[field_name].metadata["unit"]
            found.append({"name": name, "value": getattr(of, field_name), "unit": unit, "source": source})
        return found


def _parsed(kind: Any, written: str, text: str) -> Any:
    """The value of an option as the type of its field.

    Raises:
        UsageError: it is not one.
    """
    if kind is str:
        return written
    if written == "none" and kind == float | None:
        return None
    try:
        value = int(written) if kind is int else float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--set {text}: expected a {'whole ' if kind is int else ''}number behind =")
    return value


def _check(name: str, value: float | None, least: float, *, above: bool = False) -> None:
    """Checks a value that is there.

    Raises:
        UsageError: it is below `least`, or with `above` not above it.
    """
    if value is not None and (value < least or (above and value == least)):
        raise UsageError(f"{name} is {value:g}; expected {'more than' if above else 'at least'} {least:g}")
