"""A client of the real server: sends pictures over HTTP and gRPC, several at once, and compares with the runtime.

    python tests/triton/client.py HTTP_PORT GRPC_PORT REPOSITORY      in the environment of `build.py`

Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from mirnet_deploy import MIRNetRuntime

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1, "tile": 168, "device": "cpu"}
"""As the repository was made with."""
INPUTS = {np.dtype(np.uint8): "image", np.dtype(np.uint16): "image_uint16", np.dtype(np.float32): "image_float32"}
Infer = Callable[..., Any]


def text(content: bytes) -> np.ndarray:
    return np.array([content], dtype=object)


def infer_by(module: Any, port: str) -> Infer:
    """Sends one request, from any thread; each has a client of its own, as that of HTTP wants it."""
    clients = threading.local()

    def infer(model: str, asked: Sequence[str] = (), **inputs: np.ndarray) -> Any:
        if not hasattr(clients, "own"):
            clients.own = module.InferenceServerClient(f"localhost:{port}")
        tensors = []
        for name, value in inputs.items():
            tensors.append(module.InferInput(name, value.shape, np_to_triton_dtype(value.dtype)))
            tensors[-1].set_data_from_numpy(value)
        outputs = [module.InferRequestedOutput(name) for name in asked]
        return clients.own.infer(model, tensors, outputs=outputs or None)

    return infer


def pictures() -> Iterator[np.ndarray]:
    """Crops of real photographs: some run whole, some in tiles; of all depths."""
    night = np.asarray(Image.open(ROOT / "examples" / "night.jpg"))
    phone = np.asarray(Image.open(ROOT / "examples" / "pairs" / "low" / "1.jpg"))
    yield night[:1, :1]
    yield night[50:170, 60:150]
    yield phone[:181, :140]
    yield phone[100:180, 100:201].astype(np.uint16) * np.uint16(257)
    yield phone[30:100, 30:100] / np.float32(255)


def refusal(infer: Infer, model: str = "mirnet", **inputs: Any) -> str:
    try:
        infer(model, **inputs)
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "accepted"


def compared(infer: Infer) -> dict[str, Any]:
    """Sends everything at once, good and bad, twice."""
    given = [np.ascontiguousarray(image) for image in pictures()]
    with MIRNetRuntime("lite", **SETTINGS) as runtime:
        expected = [runtime.enhance_with_info(image) for image in given]
    with MIRNetRuntime("lite", brightness=0.3, strength=0.75, **SETTINGS) as runtime:
        toned = runtime.enhance(given[1])
    with ThreadPoolExecutor(8) as threads:
        bad = [threads.submit(refusal, infer, file=text(b"no picture")) for _ in range(3)]
        good = [threads.submit(infer, "mirnet", **{INPUTS[image.dtype]: image}) for _ in range(2) for image in given]
        finish = {"brightness": np.array([0.3]), "strength": np.array([0.75])}
        finished = threads.submit(infer, "mirnet", image=given[1], **finish)
        results = [each.result() for each in good]
        same = [
            bool(np.array_equal(got.as_numpy(INPUTS[image.dtype].replace("image", "enhanced")), want.pixels))
            for got, image, want in zip(results, given * 2, expected * 2, strict=True)
        ]
        return {
            "same": same,
            "numbers": [json.loads(each.as_numpy("info").item())["tiles"] for each in results[: len(given)]],
            "finish": bool(np.array_equal(finished.result().as_numpy("enhanced"), toned)),
            "bad": sorted({each.result() for each in bad}),
            "shape": refusal(infer, image=np.zeros((8, 8, 4), np.uint8)),
            "asked": refusal(infer, asked=["enhanced_file"], image=given[0]),
            "none": refusal(infer, brightness=np.array([0.3])),
        }


def files_agree(infer: Infer) -> bool:
    """Whether a file comes back as `mirnet-deploy enhance` writes it, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "night.jpg"
        Image.open(ROOT / "examples" / "night.jpg").crop((0, 0, 120, 100)).save(source, quality=90)
        words = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "mirnet_deploy", "enhance", str(source), "-o", f"{folder}/done", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        got = infer("mirnet", file=text(source.read_bytes())).as_numpy("enhanced_file").item()
        return bool(got == (Path(folder) / "done" / "night.jpg").read_bytes())


def tiles_agree(infer: Infer, repository: Path) -> dict[str, list[bool]]:
    """Whether tiles of two sizes, four of each at once, come back as ONNX Runtime makes them; by model."""
    found: dict[str, list[bool]] = {}
    for home in sorted(repository.glob("*_onnx")):
        session = onnxruntime.InferenceSession(home / "1" / "model.onnx")
        source, result = session.get_inputs()[0], session.get_outputs()[0]
        image = np.asarray(Image.open(ROOT / "examples" / "night.jpg"))
        tiles = [image[None, at : at + side, : side + 16] for side in (32, 64) for at in range(0, 160, 40)]
        if source.type == "tensor(float)":
            tiles = [np.ascontiguousarray(np.moveaxis(tile, 3, 1) / np.float32(255)) for tile in tiles]
        with ThreadPoolExecutor(8) as threads:
            sent = [threads.submit(infer, home.name, **{source.name: tile}) for tile in tiles]
            results = [each.result() for each in sent]
        found[home.name] = [
            bool(np.array_equal(got.as_numpy(result.name), session.run([result.name], {source.name: tile})[0]))
            for got, tile in zip(results, tiles, strict=True)
        ]
    return found


def main() -> None:
    ports, repository = sys.argv[1:3], Path(sys.argv[3])
    report: dict[str, Any] = {}
    modules = {"http": tritonclient.http, "grpc": tritonclient.grpc}
    for (name, module), port in zip(modules.items(), ports, strict=True):
        client, infer = module.InferenceServerClient(f"localhost:{port}"), infer_by(module, port)
        report[name] = {**compared(infer), "file": files_agree(infer), "tiles": tiles_agree(infer, repository)}
        report[name]["ready"] = client.is_server_ready() and client.is_model_ready("mirnet", "1")
    http = tritonclient.http.InferenceServerClient(f"localhost:{ports[0]}")
    report["metadata"] = http.get_model_metadata("mirnet")
    (counts,) = http.get_inference_statistics("mirnet")["model_stats"]
    report["counts"] = {kind: counts["inference_stats"][kind]["count"] for kind in ("success", "fail")}
    report["given_means"] = given_means(infer_by(tritonclient.http, ports[0]))
    print(json.dumps(report))


def given_means(infer: Infer) -> dict[str, Any]:
    """What the models that take means answer: an ONNX file, and a stand-in for a plan."""
    tile = np.full((1, 8, 12, 3), 100, np.uint8)
    pools = {
        "context": np.full((1, 3), 40, np.float32),
        "mode": np.array([0, 1], np.float32),
        "rows": np.ones((1, 8), np.float32),
        "cols": np.ones((1, 12), np.float32),
    }
    given, plain = infer("means_onnx", image=tile, **pools), infer("means_onnx", image=tile)
    plan = infer("means_plan", image=tile, **pools)
    return {
        "given": np.unique(given.as_numpy("enhanced")).tolist(),
        "plain": np.unique(plain.as_numpy("enhanced")).tolist(),
        "measured": given.as_numpy("statistics").tolist(),
        "plan": plan.as_numpy("statistics").tolist(),
        "without": refusal(infer, "means_plan", image=tile),
    }


if __name__ == "__main__":
    main()
