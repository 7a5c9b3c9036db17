"""ONNX Runtime's sessions: the library is imported here, and sessions are opened and checked."""

from __future__ import annotations

from typing import Any

from mirnet_deploy.artifacts.context import STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.engines.base import check_tensors
from mirnet_deploy.engines.gate import Gate
from mirnet_deploy.errors import EngineError, MissingDependencyError, engine_error, missing

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
TENSOR_TYPES = {"float": "tensor(float)", "image": "tensor(uint8)"}
"""ONNX Runtime's name for the type of the picture's input and output, by interface."""
SESSIONS = Gate()
"""Of the CUDA sessions of all engines: shared by runs, alone for a session that closes (`engines.onnxruntime_cuda`)."""
LEFT_OUT = ["GatherSliceToSplitFusion"]
"""Optimizers that sessions on CUDA are opened without. This one would make a Split of unequal sizes out of the pools'
Slices, which aborts the process when the session closes (`artifacts.onnx_graph`)."""
NO_GRAPH = "gpu_graph_id", "-1"
"""Key and value of the run option by which a run is not captured as a CUDA graph."""


def onnxruntime_module() -> Any:
    """The module `onnxruntime`.

    Raises:
        MissingDependencyError: it is not installed, or is broken.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("ONNX files need ONNX Runtime", error, "cpu") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # Uninstalling one of the two leaves a package without its library behind.
        raise MissingDependencyError(
            "onnxruntime is broken, as when onnxruntime and onnxruntime-gpu were installed over one another: "
            "uninstall both, then install one"
        )
    return onnxruntime


def open_session(
    data: bytes,
    metadata: ArtifactMetadata,
    index: int | None,
    threads: int | None = None,
    stream: int | None = None,
    frees_on_closing: bool = False,
) -> Any:
    """An `InferenceSession` over the ONNX file whose bytes are `data`. Its inputs and outputs fit the interface.

    Args:
        index: of a CUDA device; None for the CPU.
        threads: how many one run may use on the CPU; None leaves it to the library.
        stream: the handle of a CUDA stream to run on; None for one of the library's own.
        frees_on_closing: for graphs whose runs leave page-locked buffers (`artifacts.onnx_graph`): the session is
            opened as if for CUDA graphs, which makes it free those on the thread that closes it. Its runs must have the
            option `NO_GRAPH`.

    Raises:
        ArtifactError: the graph does not fit the interface.
        EngineError: ONNX Runtime cannot load the graph, or would run elsewhere than asked.
        MissingDependencyError: onnxruntime is not installed.
    """
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its errors are exceptions, which say the same
    # The same bits for the same picture, whatever else runs in the process. On CUDA it would only replace the means by
    # slower ones of cuDNN: those of its own repeat their bits as well (benchmarks/GPU.md).
    options.use_deterministic_compute = index is None
    # From the second run of a shape on, a memory pattern takes one block more, besides what the arena already holds
    # (seen at 384 pixels: 0.54 GiB with it, 0.35 without).
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = [CPU] if index is None else [_cuda_provider(ort, index, stream, frees_on_closing), CPU]
    left_out = [] if index is None else LEFT_OUT
    try:
        session = ort.InferenceSession(
            data, options, providers=providers, enable_fallback=0, disabled_optimizers=left_out
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise engine_error(f"ONNX Runtime cannot load {metadata.name}", error) from error
    if index is not None and session.get_providers()[0] != CUDA:
        # ONNX Runtime drops a provider that does not start, and goes on with the others.
        raise EngineError(
            f"device is cuda:{index}, but ONNX Runtime runs on {session.get_providers()[0]}: CUDA, cuDNN or the driver "
            "is missing or does not fit; see `mirnet-deploy doctor`, or choose the device cpu"
        )
    _check_graph(session, metadata)
    return session


def prepare_for_cuda(ort: Any) -> None:
    """What `ort`, the module onnxruntime, needs once before its first session on CUDA."""
    # While cuDNN searches for a kernel, it logs every execution plan that does not fit as an error of the process's
    # default logger, by the hundred. What cannot run at all raises an exception in any case.
    ort.set_default_logger_severity(4)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # loads CUDA and cuDNN from their pip packages, which are on no loader path


def _cuda_provider(ort: Any, index: int, stream: int | None, frees_on_closing: bool) -> tuple[str, dict[str, Any]]:
    if CUDA not in ort.get_available_providers():
        raise EngineError(
            f"device is cuda:{index}, but this onnxruntime {ort.__version__} has no CUDA provider: "
            'pip uninstall onnxruntime, then pip install "mirnet-deploy[cuda]"'
        )
    prepare_for_cuda(ort)
    # TF32 rounds to 10 bits of mantissa, which is not FP32, and brings nothing to FP16. HEURISTIC and EXHAUSTIVE are
    # two of cuDNN's heuristics (A and B): neither measures anything, and with the second planning takes 2.5 times as
    # long (benchmarks/GPU.md).
    options: dict[str, Any] = {"device_id": index, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    if stream is not None:
        options["user_compute_stream"] = str(stream)
    if frees_on_closing:
        options["enable_cuda_graph"] = 1
    return CUDA, options


def _check_graph(session: Any, metadata: ArtifactMetadata) -> None:
    """Checks names, types and ranks. `get_inputs` does not list the inputs of the context, which have defaults."""
    source, result = TENSOR_NAMES[metadata.interface]
    kind = TENSOR_TYPES[metadata.interface]
    outputs = [(result, kind, 4)]
    if metadata.context:
        outputs.append((STATISTICS, "tensor(float)", 2))
    for side, nodes, expected in (
        ("inputs", session.get_inputs(), [(source, kind, 4)]),
        ("outputs", session.get_outputs(), outputs),
    ):
        check_tensors(metadata, side, [(node.name, node.type, len(node.shape)) for node in nodes], expected)
