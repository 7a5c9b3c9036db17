"""`enhance --ray` on real clusters: every picture is there once, as on one machine, whatever dies on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from artifacts import make_onnx
from click.testing import CliRunner
from clusters import Machines, after_lines, lines
from PIL import Image
from s3_server import Store

from mirnet_deploy.cli import main
from mirnet_deploy.cli.enhance_ray import plain_command
from mirnet_deploy.cluster import session
from mirnet_deploy.cluster.nodes import spilled_bytes
from mirnet_deploy.cluster.session import processes_of
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.settings import RuntimeSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[3]
NIGHT = ROOT / "examples" / "night.jpg"
BACKEND = ("--backend", "onnxruntime")


def enhance(*arguments: object, expect: int = 0) -> dict[str, Any]:
    """What the command prints with --json; with what it says on standard error as "said"."""
    result = CliRunner().invoke(main, ["enhance", *map(str, arguments), "--json"])
    assert (result.exit_code, bool(result.stdout)) == (expect, True), result.output
    return json.loads(result.stdout) | {"said": result.stderr}


def pictures(folder: Path, count: int) -> Path:
    """Small dark pictures of several sizes and kinds in a folder."""
    night = Image.open(NIGHT).convert("RGB")
    folder.mkdir(parents=True)
    for index in range(count):
        left, top, side = 40 * index, 30 * index, 48 + 24 * (index % 4)
        crop = night.crop((left, top, left + side + 16, top + side))
        crop.save(folder / f"p{index:02}.{('png', 'jpg', 'webp')[index % 3]}")
    return folder


def plain(folder: Path, out: Path, *options: str) -> dict[str, bytes]:
    """The files that plain `enhance` makes on this machine, by their places."""
    result = CliRunner().invoke(main, ["enhance", str(folder), "-o", str(out), "-r", *options])
    assert result.exit_code in (0, 1), result.output
    return files(out)


def files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("mirnet-deploy.jsonl", None)
    return found


def same_options(told: dict[str, Any]) -> list[str]:
    """Options with which plain `enhance` makes the same, as the command says them."""
    line = told["said"].splitlines()[-1]
    assert line.startswith("the same on one machine: mirnet-deploy enhance PATH... -o ")
    return line.split()[10:]


def statuses(told: dict[str, Any]) -> dict[str, str]:
    return {Path(entry["input"]).name: entry["status"] for entry in told["pictures"]}


def test_from_store_to_store_with_a_worker_killed_half_way(machines: Machines, s3: Store, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 10)
    (source / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (source / "really.png").write_bytes((source / "p01.jpg").read_bytes())
    (source / "p06.png").rename(source / "once.png")
    s3.bucket("night", source)
    manifest = tmp_path / "manifest.jsonl"
    # A model that machines do not have; some pictures run whole, and some in tiles that share their means.
    model = make_onnx(tmp_path / "own.onnx", "mean")
    job = [s3.url("night/"), "-o", s3.url("night/out"), "--model", model, "--tile", "64", *BACKEND]
    job += ["--manifest", manifest, "--ray", machines.address]
    told = enhance(*job, expect=1)

    expected = plain(source, tmp_path / "plain", *same_options(told))
    assert "really.jpg" in expected
    assert len(expected) == 11
    assert s3.objects("night", "out/") == expected
    assert statuses(told) == {path.name: "failed" if path.name == "bad.png" else "done" for path in source.iterdir()}
    (error,) = (entry["error"] for entry in told["pictures"] if entry["status"] == "failed")
    assert error.startswith("s3://night/bad.png is truncated")
    assert told["cluster"]["spilled_bytes"] == 0
    assert told["cluster"]["tried_again"] >= 1
    assert told["cluster"]["actors"] == 2
    (killed,) = (entry for entry in told["pictures"] if entry["input"].endswith("/once.png"))
    assert killed["attempt"] == 2
    rows = lines(manifest)
    assert sorted(row["source"] for row in rows) == sorted(entry["input"] for entry in told["pictures"])
    assert b"endpoint" not in manifest.read_bytes()  # nor what else stands in a query, such as credentials

    # Once more, with a new picture: what the manifest knows is not even looked at.
    s3.client.put_object(Bucket="night", Key="new.png", Body=(source / "p00.png").read_bytes())
    s3.client.delete_object(Bucket="night", Key="out/p03.png")
    told = enhance(*job, expect=1)
    done = {name for name, status in statuses(told).items() if status == "done"}
    assert done == {"new.png", "p03.png"}
    assert statuses(told)["bad.png"] == "failed"
    assert {row["source"] for row in lines(manifest)[len(rows) :]} == {
        f"s3://night/{name}" for name in ("new.png", "p03.png", "bad.png")
    }
    assert set(s3.objects("night", "out/")) == {*expected, "new.png"}


def test_a_picture_that_kills_every_process_and_a_full_disk_fail_alone(machines: Machines, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 4)
    (source / "p00.png").rename(source / "killer.png")
    (source / "full").mkdir()
    (source / "p01.jpg").rename(source / "full" / "p01.jpg")
    own = ["-r", "--model", make_onnx(tmp_path / "own.onnx"), *BACKEND]
    job = [source, "-o", tmp_path / "out", *own, "--threads", "1", "--ray", machines.address]
    told = enhance(*job, expect=1)
    assert statuses(told) == {"killer.png": "failed", "p01.jpg": "failed", "p02.webp": "done", "p03.png": "done"}
    errors = {Path(entry["input"]).name: entry["error"] for entry in told["pictures"]}
    assert "the process that made it was lost 3 times" in errors["killer.png"]
    full = f"{source}/full/p01.jpg: {tmp_path}/out/full/p01.jpg cannot be written: No space left on device"
    assert errors["p01.jpg"] == full
    expected = plain(source, tmp_path / "plain", *same_options(told))
    assert files(tmp_path / "out") == {name: expected[name] for name in ("p02.webp", "p03.png")}
    (killer,) = (row for row in lines(tmp_path / "out" / "mirnet-deploy.jsonl") if "killer" in row["source"])
    assert killer["attempt"] == 3

    # What plain `enhance` made is done, and what is the user's is left alone.
    (tmp_path / "out" / "mirnet-deploy.jsonl").unlink()
    (source / "killer.png").unlink()
    (source / "full" / "p01.jpg").rename(source / "p01.jpg")
    (tmp_path / "out" / "p02.webp").write_bytes(b"the user's")
    enhance(source / "p01.jpg", "-o", tmp_path / "out", *own)
    told = enhance(*job, expect=1)
    assert statuses(told) == {"p01.jpg": "skipped", "p02.webp": "failed", "p03.png": "skipped"}
    (error,) = (entry["error"] for entry in told["pictures"] if entry["status"] == "failed")
    assert error == f"{source}/p02.webp: {tmp_path}/out/p02.webp exists and was not made by mirnet-deploy; " + (
        "pass --force to replace it"
    )


def test_room_that_the_cluster_has_not_is_refused_at_once(machines: Machines, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1)
    for options, said in (
        (
            ["--gpus-per-actor", "1"],
            r"an actor takes 1 CPU and 1 GPU, and the cluster has 2 CPU and 0 GPU on 3 machines",
        ),
        (["--threads", "2"], "an actor takes 2 CPU, and the cluster has 2 CPU and 0 GPU on 3 machines, none with room"),
        (["--actors", "3"], "which is room for 2 and not for 3; use fewer --actors"),
    ):
        arguments = ["enhance", str(source), "-o", str(tmp_path / "out"), "--ray", machines.address, *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert said in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_machine_is_removed_half_way(machines: Machines, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 10)
    manifest = tmp_path / "out" / "mirnet-deploy.jsonl"
    job = [source, "-o", tmp_path / "out", *BACKEND, "--ray", machines.address]
    with after_lines(manifest, 2, machines.remove):
        told = enhance(*job)
    machines.add()
    assert told["failed"] == 0
    # Of those that it had under way, one may have been written, but not told: it is found when it is tried again.
    assert {entry["status"] for entry in told["pictures"] if entry["attempt"] == 1} == {"done"}
    assert files(tmp_path / "out") == plain(source, tmp_path / "plain", *same_options(told))
    assert len(lines(manifest)) == 10


@pytest.mark.ray
def test_a_command_that_is_interrupted_goes_on_by_its_manifest(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 24)
    manifest = tmp_path / "out" / "mirnet-deploy.jsonl"
    words = ["enhance", str(source), "-o", str(tmp_path / "out"), *BACKEND, "--ray", "local", "--actors", "1", "--json"]
    command = [sys.executable, "-m", "mirnet_deploy", *words]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}  # of another cluster, which is not meant
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    with after_lines(manifest, 3, lambda: os.killpg(process.pid, signal.SIGINT)):
        out, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, said
    assert said.splitlines()[-1] == "interrupted: run the same command again to go on"
    assert "Traceback" not in said
    first = lines(manifest)
    assert 3 <= len(first) < 24
    assert len(json.loads(out)["pictures"]) == len(first)
    time.sleep(1)
    assert not list((tmp_path / "out").glob(".*.partial"))
    told = enhance(*words[1:-1])
    assert told["failed"] == 0
    assert len(lines(manifest)) == 24
    assert files(tmp_path / "out") == plain(source, tmp_path / "plain", *same_options(told))


@pytest.mark.ray
def test_pixels_do_not_go_through_the_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes spilled alone would hardly tell: Ray spills only what does not fit at one moment."""
    (tmp_path / "in").mkdir()
    night = Image.open(NIGHT).convert("RGB").resize((3000, 2000))
    for index in range(4):
        night.save(tmp_path / "in" / f"{index}.jpg", quality=100)
    created: list[int] = []

    def asked(ray: Any) -> int | None:
        from ray._private.internal_api import get_memory_info_reply, get_state_from_address

        state = get_state_from_address(ray.get_runtime_context().gcs_address)
        created.append(get_memory_info_reply(state).store_stats.cumulative_created_bytes)
        return spilled_bytes(ray)

    monkeypatch.setattr("mirnet_deploy.cluster.nodes.spilled_bytes", asked)
    options = ["--model", make_onnx(tmp_path / "own.onnx"), *BACKEND, "--tile", "512", "--consistency", "local"]
    told = enhance(tmp_path / "in", "-o", tmp_path / "out", *options, "--ray", "local", "--actors", "1")
    assert [*statuses(told).values()] == ["done"] * 4
    assert told["cluster"]["spilled_bytes"] == 0
    assert 0 < created[0] < 1 << 20, "the pixels are 72 MB, the files more than 1 MB"
    assert sum(path.stat().st_size for path in (tmp_path / "in").iterdir()) > 1 << 20


@pytest.mark.ray
@pytest.mark.parametrize("first", ["gcs_server", "raylet", "agent"])
def test_a_signal_while_ray_starts_leaves_nothing_behind(first: str, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1)
    words = ["enhance", str(source), "-o", str(tmp_path / "out"), *BACKEND, "--ray", "local", "--actors", "1"]
    process = subprocess.Popen([sys.executable, "-m", "mirnet_deploy", *words], stderr=subprocess.PIPE, text=True)

    def commands() -> Iterator[str]:
        for each in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                yield " ".join(each.cmdline())

    end = time.monotonic() + 60
    while not (found := [command for command in commands() if first in command.partition(" --")[0]]):
        assert time.monotonic() < end
        time.sleep(0.02)
    match = re.search(r"/tmp/mirnet-deploy-\w+", found[0])
    assert match
    folder = Path(match[0])
    assert folder.is_dir()
    for _ in range(2):  # as `timeout` does
        process.terminate()
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "interrupted: run the same command again to go on\n")
    assert not folder.exists()
    assert processes_of(folder) == []


def test_a_cluster_of_its_own_is_one_whatever_ray_address_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    given: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    session._connect(ray, session.LOCAL, tmp_path)
    assert given["address"] == "local"  # without one, Ray goes to RAY_ADDRESS


def test_the_plain_command_names_no_url(tmp_path: Path) -> None:
    settings = JobSettings("lite", "12", RuntimeSettings(), 95, "4:4:4", None, False)
    for output, shown in ((Location("", "/a b"), "'/a b'"), (Location("s3://b", "b/out"), "FOLDER")):
        assert plain_command(settings, output).startswith(f"mirnet-deploy enhance PATH... -o {shown} --model lite")


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("ray://there:10001", 2, "run the command on a machine of the cluster with --ray auto"),
        ("127.0.0.1:1", 1, "no Ray cluster answers at 127.0.0.1:1: "),
        ("nonsense", 1, "no Ray cluster answers at nonsense: "),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, code: int, said: str, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1)
    result = CliRunner().invoke(main, ["enhance", str(source), "-o", str(tmp_path / "out"), "--ray", address])
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_options_that_need_a_cluster_or_do_not_fit_one_are_refused(tmp_path: Path) -> None:
    for words, said in (
        ("a.png --actors 2", "--actors is for a cluster; add --ray local, or its address"),
        ("s3://b/a.png -o out", "s3://b/a.png is a URL; add --ray local, or the address of a cluster"),
        ("a.png --ray local", "--ray takes files, folders and URLs, and needs -o FOLDER or -o URL"),
        ("- --ray local -o out", "--ray takes files, folders and URLs, and needs -o FOLDER or -o URL"),
        ("a.png --ray local -o out --device cuda", "--device cuda needs --gpus-per-actor, such as 1"),
    ):
        result = CliRunner().invoke(main, ["enhance", *words.split()])
        assert (result.exit_code, result.stderr) == (2, f"error: {said}\n")


def test_without_ray_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = pictures(tmp_path / "in", 1)
    result = CliRunner().invoke(main, ["enhance", str(source), "-o", str(tmp_path / "out"), "--ray", "local"])
    assert result.exit_code == 1
    assert re.fullmatch(r'error: --ray needs Ray \([^\n]*\): pip install "mirnet-deploy\[ray\]"\n', result.stderr)
