"""`mirnet-deploy bench scale`, whole: it measures, simulates, checks and shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench_reports import full_report
from click.testing import CliRunner, Result

from mirnet_deploy.benchmarks.scale.deployment import Deployment
from mirnet_deploy.benchmarks.scale.tables import assumptions_table, tables
from mirnet_deploy.cli import main

ROOT = Path(__file__).parents[3]
QUICK = ("--size", "48x32", "--processes", 1, "--runs", 1)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", "scale", *map(str, arguments)])


def gpu_report(folder: Path, name: str) -> Path:
    """A report of `bench` at the size that is measured, on a GPU of that name."""
    content = full_report()
    rows = [row | {"size": "48x32"} for row in content["latency"][:2]]
    served = [content["throughput"][0] | {"size": "48x32", "images_per_s": 100.0}]
    content |= {"latency": rows, "throughput": served, "sweeps": [], "forms": [], "quality": None}
    content["machine"]["gpus"] = [{"name": name, "memory_mib": 1, "driver": "1", "compute_capability": "9.0"}]
    for engine in content["engines"]:
        engine["device"] = "cuda:0"
    path = folder / "gpu.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any], Path]:
    """One host and one run of each kind, and a check of one process with as few pictures as there may be."""
    folder = tmp_path_factory.mktemp("scale")
    target = folder / "scale.json"
    few = ("--hosts", 1, "--run", "2k:3", "--set", "cpu.vcpus=2", "--set", "gpu.gpus=1")
    check = ("--check", "--each", 12, "--rounds", 1)
    result = run(*QUICK, *few, *check, "--gpu-from", gpu_report(folder, "NVIDIA H200"), "--json", target)
    assert result.exit_code == 0, result.output
    return result, json.loads(target.read_text()), target


def test_costs_are_measured_and_hosts_simulated(whole: tuple[Result, dict[str, Any], Path]) -> None:
    _, report, _ = whole
    (picture,) = report["costs"]["cpu"]["pictures"]
    assert picture["pixels"] == 48 * 32
    assert report["costs"]["gpu"]["pictures"][0] == picture | {"compute_s": 0.01}
    runs = {(row["kind"], row["pictures"], row["hosts"]) for row in report["runs"]}
    assert runs == {("c7i.4xlarge", 2000, 3), ("p5en.48xlarge", 2000, 3)}
    assert {row["kind"] for row in report["hosts"]} == {"c7i.4xlarge", "p5en.48xlarge"}
    for row in report["hosts"] + report["in_flight"]:
        rate = row["rate"]
        assert 0 < rate["pictures_per_hour"] <= rate["bound_per_hour"] * 1.01
        assert rate["converged"]
    named = {row["name"]: row for row in report["assumptions"]}
    assert (named["cpu.vcpus"]["value"], named["cpu.vcpus"]["source"]) == (2, "given with --set")
    assert report["machine"]["cores"] >= 1
    assert report["command"].startswith("MIRNET_DEPLOY_BACKEND=onnxruntime mirnet-deploy bench scale --size 48x32")


def test_the_check_ran_the_plain_command(whole: tuple[Result, dict[str, Any], Path]) -> None:
    """Here so few pictures may take no longer than fewer, which says nothing."""
    _, report, _ = whole
    (found,) = report["check"]
    more = found["long_s"] - found["short_s"]
    assert found["measured_per_s"] == (pytest.approx(9 / more) if more > 0 else None)
    assert found["ratio"] == (pytest.approx(found["measured_per_s"] / found["predicted_per_s"]) if more > 0 else None)
    assert report["check_command"].startswith("mirnet-deploy enhance --model {model} --device cpu --threads {threads}")


def test_the_tables_come_from_the_json(whole: tuple[Result, dict[str, Any], Path]) -> None:
    result, report, target = whole
    shown = run("--show", target)
    assert shown.exit_code == 0
    assert shown.stdout == result.stdout
    assert shown.stdout.count("\n|---") == len(tables(report)) == 7


def test_a_gpu_of_another_kind_has_no_price(tmp_path: Path) -> None:
    result = run(*QUICK, "--hosts", 1, "--run", "1k:1", "--gpu-from", gpu_report(tmp_path, "NVIDIA L4"), "--json", "-")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    row = content["runs"][-1]
    assert (row["kind"], row["hosts_usd"], row["usd"]) == ("hosts with NVIDIA L4", None, None)
    assert "| – | – |" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--run", "1M"), "--run is '1M'; expected PICTURES:HOSTS"),
        (("--run", "0:1"), "expected PICTURES:HOSTS"),
        (("--set", "cpu.prize=1"), "there is no 'cpu.prize'"),
        (("--each", "9"), "--each means nothing without --check"),
        (("--command", "x"), "--command means nothing without --check"),
        (("--show", "a.json", "--hosts", "3"), "--hosts means nothing with --show"),
        (("a.jpg", "--show", "a.json"), "PICTURE means nothing with --show"),
        (("--show", "gone.json"), "gone.json cannot be read"),
        (("--check", "--command", "enhance"), "has no {source}"),
        (("--json", "/gone/a.json"), "--json /gone/a.json cannot be written"),
        (("--size", "big"), "size 'big' is not WxH"),
        (("--gpu-from", "gone.json"), "gone.json cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_reports_of_the_other_device_are_refused(tmp_path: Path) -> None:
    path = gpu_report(tmp_path, "NVIDIA H200")
    result = run("--from", path)
    assert (result.exit_code, "is of a GPU; that is --gpu-from" in result.output) == (2, True)
    content = json.loads(path.read_text())
    for engine in content["engines"]:
        engine["device"] = "cpu"
    path.write_text(json.dumps(content))
    result = run("--gpu-from", path)
    assert (result.exit_code, "is of no GPU" in result.output) == (2, True)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.exit_code, "holds no pictures" in result.output) == (1, True)


@pytest.mark.parametrize("text", ["[]", "{", '{"format": "mirnet-deploy bench", "format_version": 2}'])
def test_what_is_no_report_of_this_command_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert run("--show", path).exit_code == 2


def test_the_page_lists_the_assumptions_as_they_are() -> None:
    assert assumptions_table(Deployment.of().listed()).markdown() in (ROOT / "docs" / "SCALE.md").read_text()


def test_the_page_takes_its_tables_from_a_report(whole: tuple[Result, dict[str, Any], Path], tmp_path: Path) -> None:
    """Of any run, with the comments that the page has."""
    page = tmp_path / "docs" / "SCALE.md"
    page.parent.mkdir()
    page.write_text((ROOT / "docs" / "SCALE.md").read_text())
    for name in ("scale.json", "scale_ray.json"):
        stored = tmp_path / "benchmarks" / "results" / "cpu" / name
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(whole[2].read_bytes())
    made = CliRunner().invoke(main, ["bench", "tables", str(page)])
    assert (made.exit_code, "7 tables" in made.output) == (0, True), made.output
    after = page.read_text()
    for name, table in tables(whole[1]).items():
        if name != "assumptions":
            assert all(f"| {' | '.join(row[:2])} | " in after for row in table.rows[:1]), name
