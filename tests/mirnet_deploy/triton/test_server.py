"""The real Triton Inference Server, on a CPU, with repositories that the command line made.

python tests/triton/build.py && pytest -m triton

Its only backend is Python's. The model of whole pictures runs as it ships. The models of tiles run in that backend too,
with their configurations but for the backend's name and the GPU, so that the server's own checks, its warm-ups and its
batches are those of every server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_onnx, make_plan
from click.testing import CliRunner
from pages import BLOCKS
from PIL import Image

from mirnet_deploy.cli import main

ROOT = Path(__file__).parents[3]
BUILT = ROOT / "build" / "triton"
pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]


class Server:
    """A server on free ports, in a session of its own."""

    def __init__(self, repository: Path, log: Path, *options: str) -> None:
        if not (BUILT / "backends" / "python" / "triton_python_backend_stub").exists():
            pytest.skip("there is no Triton here; get it with `python tests/triton/build.py`")
        (packages,) = (BUILT / "lib").glob("python3.*/site-packages")
        self.ports, self.log = _free_ports(2), log
        command = [
            packages / "pytriton" / "tritonserver" / "bin" / "tritonserver",
            f"--model-repository={repository}",
            f"--backend-directory={BUILT / 'backends'}",
            *(f"--{name}-port={port}" for name, port in zip(("http", "grpc"), self.ports, strict=True)),
            "--allow-metrics=false",
            *options,
        ]
        environment = {
            **os.environ,
            "PATH": f"{BUILT / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*map(str, command)], env=environment, stdout=stream, stderr=stream, start_new_session=True
            )

    def is_ready(self, model: str = "") -> bool:
        path = f"models/{model}/ready" if model else "health/ready"
        try:
            with urllib.request.urlopen(f"http://localhost:{self.ports[0]}/v2/{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_for(self, model: str = "") -> None:
        end = time.monotonic() + 180
        while not self.is_ready(model):
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < end, self.log.read_text()[-4000:]
            time.sleep(0.2)

    def stop(self) -> int:
        """Asks it to end; returns its exit status, once no process of its session is left."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(90)
        finally:
            left = _is_alive(self.process.pid)
            if left:
                os.killpg(self.process.pid, signal.SIGKILL)
        assert not left
        return status


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def triton(*words: object) -> None:
    result = CliRunner().invoke(main, ["triton", *map(str, words)])
    assert result.exit_code == 0, result.output


def for_this_server(repository: Path) -> None:
    """Has the models of tiles run in the backend that there is."""
    for home in repository.iterdir():
        config = (home / "config.pbtxt").read_text()
        if 'backend: "python"' not in config:
            for old, new in (("tensorrt", "python"), ("onnxruntime", "python"), ("KIND_GPU", "KIND_CPU")):
                config = config.replace(old, new)
            (home / "config.pbtxt").write_text(config)
            program = (ROOT / "tests" / "triton" / "tile_model.py").read_text()
            (home / "1" / "model.py").write_text(program)


def by_the_page(folder: Path, server: Server) -> dict[str, Any]:
    """Runs the client that stands on the page; returns what it prints, and its picture's shape."""
    (block,) = (block for block in BLOCKS if block.language == "python client")
    (folder / "examples").symlink_to(ROOT / "examples")
    command = [str(BUILT / "bin" / "python"), "-c", block.code, f"localhost:{server.ports[0]}"]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return {**json.loads(said), "size": Image.open(folder / "night_enhanced.png").size}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What `tests/triton/client.py` found."""
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "models"
    settings = ["--backend", "onnxruntime", "--threads", 1, "--tile", 168, "--instances", 2]
    triton(repository, "lite", "--no-tiles", *settings)
    for interface in ("image", "float"):
        triton(repository, make_onnx(folder / f"{interface}.onnx", interface=interface), "--force", *settings)
    means = make_onnx(folder / "means.onnx", "mean", interface="image")
    triton(folder / "others", means, "--means")
    shapes = {bound: [n, side, side, 3] for bound, n, side in (("min", 1, 4), ("opt", 2, 64), ("max", 2, 64))}
    for name, context in (("means", 3), ("plain", 0)):
        plan = make_plan(
            folder / f"{name}.plan", builder="tensorrt", context=context, batch=2, profile={"image": shapes}
        )
        triton(folder / name, plan, "--consistency", "local")
    for name in ("others/means_onnx", "means/means_plan", "plain/plain_plan"):
        (folder / name).rename(repository / Path(name).name)
    for version in ("2", "3"):  # of `mirnet`, by the tiny artifacts
        subprocess.run(["rm", "-r", str(repository / "mirnet" / version)], check=True)
    triton(repository, "lite", "--no-tiles", "--force", *settings)
    for_this_server(repository)
    server = Server(repository, folder / "log")
    try:
        server.wait_for()
        client = [BUILT / "bin" / "python", ROOT / "tests" / "triton" / "client.py", *server.ports, repository]
        environment = {**os.environ, "MIRNET_DEPLOY_BACKEND": "onnxruntime"}
        done = subprocess.run(
            [*map(str, client)], env=environment, capture_output=True, text=True, check=False, timeout=400
        )
        assert done.returncode == 0, done.stderr[-4000:] + server.log.read_text()[-2000:]
        yield {**json.loads(done.stdout), "page": by_the_page(folder, server)}
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_pictures_of_all_sizes_and_depths_are_what_the_runtime_makes_of_them(report, protocol: str) -> None:
    """Bit for bit, eight requests at a time and bad ones among them, whole and in tiles that share their means."""
    found = report[protocol]
    assert found["same"] == [True] * 10
    assert found["numbers"] == [1, 1, 2, 1, 1]
    assert found["finish"]
    assert found["file"]
    assert found["ready"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_bad_requests_get_one_line(report, protocol: str) -> None:
    found = report[protocol]
    code = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[protocol]
    (bad,) = found["bad"]
    assert bad.startswith(f"{code}: the file is not a picture of a known kind; expected PNG, JPEG")
    assert found["none"] == (
        f"{code}: the request has no picture; expected one of image, image_uint16, image_float32, file"
    )
    assert found["shape"].startswith(f"{code}: ")
    assert "shape" in found["shape"]
    assert found["asked"] == f"{code}: the request has the input image and asks for neither enhanced nor info"
    assert not [text for text in (bad, found["none"], found["shape"]) if "\n" in text]


def test_the_server_counts_every_request(report) -> None:
    """By each protocol 10 pictures, one with a brightness, one file and 5 that got an error; warm-ups may count.

    What gets an error counts as a success in Triton's statistics: the backend did answer.
    """
    assert report["counts"]["fail"] == 0
    assert report["counts"]["success"] - 2 * (10 + 2 + 5) in (0, 2)


def test_the_metadata_is_what_the_page_says(report) -> None:
    said = report["metadata"]
    assert (said["name"], said["versions"], said["platform"]) == ("mirnet", ["1"], "python")
    assert {each["name"]: (each["datatype"], each["shape"]) for each in said["inputs"]} == {
        "image": ("UINT8", [-1, -1, 3]),
        "image_uint16": ("UINT16", [-1, -1, 3]),
        "image_float32": ("FP32", [-1, -1, 3]),
        "file": ("BYTES", [1]),
        "brightness": ("FP64", [1]),
        "strength": ("FP64", [1]),
    }


def test_the_page_s_client_works(report) -> None:
    assert report["page"]["size"] == (160, 120)
    assert report["page"]["settings"]["brightness"] == 0.3
    assert report["page"]["gain"] is not None


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tiles_go_through_the_server_s_batches(report, protocol: str) -> None:
    assert report[protocol]["tiles"] == {name: [True] * 8 for name in ("float_onnx", "image_onnx", "means_onnx")}


def test_means_can_be_given(report) -> None:
    """A picture of 100s less its mean, or less 40."""
    assert report["given_means"] == {
        "given": [60],
        "plain": [0],
        "measured": [[100, 100, 100]],
        "plan": [[1, 8, 12]],
        "without": report["given_means"]["without"],
    }
    assert report["given_means"]["without"].startswith("400: ")
    assert "context" in report["given_means"]["without"]


def test_a_polling_server_takes_versions_while_it_serves(tmp_path: Path) -> None:
    """The model is there at every moment, and no folder that is being made is ever taken for one."""
    repository, artifact = tmp_path / "models", make_onnx(tmp_path / "a.onnx")
    triton(repository, artifact, "--no-tiles", "--backend", "onnxruntime")
    server = Server(repository, tmp_path / "log", "--model-control-mode=poll", "--repository-poll-secs=1")
    try:
        server.wait_for("mirnet/versions/1")
        there = []
        for version, graph in ((2, "blur"), (3, "brighter")):
            make_onnx(artifact, graph)
            triton(repository, artifact, "--no-tiles", "--backend", "onnxruntime")
            end = time.monotonic() + 60
            while not server.is_ready(f"mirnet/versions/{version}") and time.monotonic() < end:
                there.append(server.is_ready("mirnet"))
                time.sleep(0.05)
            assert server.is_ready(f"mirnet/versions/{version}"), server.log.read_text()[-4000:]
            while server.is_ready(f"mirnet/versions/{version - 1}"):  # until its last request is answered
                assert time.monotonic() < end
                time.sleep(0.05)
        assert len(there) > 10
        assert all(there)
    finally:
        assert server.stop() == 0
    said = server.log.read_text()
    assert "failed to load" not in said
    assert "partial" not in said
