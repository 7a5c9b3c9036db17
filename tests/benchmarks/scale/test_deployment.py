"""What is assumed: values by name, each with its source."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mirnet_deploy.benchmarks.scale.deployment import GIVEN, Deployment, Driver, Hosts, Storage
from mirnet_deploy.errors import UsageError


def test_every_value_is_listed_with_its_source() -> None:
    rows = Deployment.of().listed()
    parts = {"cpu": Hosts, "gpu": Hosts, "storage": Storage, "driver": Driver}
    assert [row["name"] for row in rows] == [f"{part}.{each.name}" for part, of in parts.items() for each in fields(of)]
    assert all(row["source"] for row in rows)
    assert Deployment.of().listed(without="gpu") == [row for row in rows if not row["name"].startswith("gpu.")]
    named = {row["name"]: row for row in rows}
    assert (named["cpu.usd_per_hour"]["value"], named["gpu.usd_per_hour"]["value"]) == (0.714, 63.296)
    assert (named["storage.put_rate"]["value"], named["storage.put_rate"]["unit"]) == (3500, "a second and prefix")


def test_a_given_value_replaces_the_default_and_is_said_to_be_given() -> None:
    deployment = Deployment.of(
        ["gpu.in_flight=32", "storage.network_gbps=2.5", "cpu.usd_per_hour=none", "cpu.kind=ours"]
    )
    assert (deployment.gpu.in_flight, deployment.cpu.in_flight, deployment.gpu.gpus) == (32, 2, 8)
    assert (deployment.storage.network_gbps, deployment.cpu.usd_per_hour, deployment.cpu.kind) == (2.5, None, "ours")
    given = {row["name"] for row in deployment.listed() if row["source"] == GIVEN}
    assert given == {"gpu.in_flight", "storage.network_gbps", "cpu.usd_per_hour", "cpu.kind"}


def test_a_default_of_the_caller_gives_way_to_the_user() -> None:
    defaults = {"gpu.usd_per_hour": (None, "another GPU"), "gpu.kind": ("L4", "another GPU")}
    deployment = Deployment.of(["gpu.kind=mine"], defaults)
    sources = {row["name"]: row["source"] for row in deployment.listed()}
    assert (deployment.gpu.kind, deployment.gpu.usd_per_hour) == ("mine", None)
    assert (sources["gpu.kind"], sources["gpu.usd_per_hour"]) == (GIVEN, "another GPU")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpu.price=1", "there is no 'cpu.price'; expected one of cpu.kind"),
        ("latency_s", "there is no 'latency_s'"),
        ("cpu.vcpus=1.5", "a whole number"),
        ("storage.latency_s=fast", "a number"),
        ("storage.latency_s=nan", "a number"),
        ("storage.latency_s=none", "a number"),
        ("storage.latency_s=-1", "--set storage.latency_s is -1; expected at least 0"),
        ("storage.put_rate=0", "--set storage.put_rate is 0; expected more than 0"),
        ("cpu.speed=0", "more than 0"),
        ("cpu.memory_gb=0", "more than 0"),
        ("cpu.in_flight=0", "at least 1"),
        ("driver.dispatch_rate=0", "more than 0"),
        ("gpu.vcpus=4", "gpus is 8; expected no more than vcpus"),
        ("gpu.gpus=0", "gpu.gpus is 1 at least"),
        ("cpu.gpus=1", "cpu.gpus stays 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Deployment.of([text])
