"""`mirnet-deploy bench` on a GPU: the figures that only a device has."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mirnet_deploy.cli import main

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("graphs", [[], ["--no-graph"]], ids=["graphs", "launches"])
def test_copies_are_told_from_computing_and_clocks_are_read(graphs: list[str]) -> None:
    pytest.importorskip("pycuda")
    arguments = ["--engine", "lite", "--device", "cuda", "--size", "640x480", "--runs", "6", "--in-flight", "2"]
    result = CliRunner().invoke(main, ["bench", *arguments, *graphs, "--no-memory", "--json", "-"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    engine, (row,), (throughput,) = report["engines"][0], report["latency"], report["throughput"]
    assert (engine["transfers"], engine["waiting"]) == ("page-locked", "driver's default")
    phases = row["phases_ms"]
    assert 0 < phases["upload"] < phases["compute"]
    assert 0 < phases["download"] < phases["compute"]
    inside = phases["upload"] + phases["compute"] + phases["download"]
    assert inside <= 1.05 * (phases["end_to_end"] - phases["read"] - phases["write"])
    assert throughput["images_per_s"] > 0
    assert report["conditions"]["gpu"]["sm_mhz"][0] > 0
