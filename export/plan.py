"""ONNX -> TensorRT plan: parsed, compared with the graph it came from, proven in precision, built."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata, Parity, Precision
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export.builder import BuilderLibrary, progress_monitor
from mirnet_deploy.export.islands import Islands
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.config import SIZE_MULTIPLE

MIN_SIDE = SIZE_MULTIPLE
"""Side of the smallest picture that a plan, like the network, takes. (At 2 the levels no longer fit one another.)"""
NOT_EXECUTED = "not executed"
"""`Parity.executed` of an artifact that no device here could run."""

Progress = Callable[[str, float | None], AbstractContextManager[Callable[[float], Any]]]
"""Shows a step under its name while a block runs. Takes the length of the step, None where unknown, and gives the block
the function that moves the bar on by some of that length."""
Profile = dict[str, dict[str, list[int]]]
"""Input name -> {"min": shape, "opt": shape, "max": shape}."""


@dataclass(frozen=True)
class Plan:
    """A built plan and what was proven about it."""

    data: bytes
    precision_proof: str
    profile: Profile
    library: BuilderLibrary

    def metadata(self, source: ArtifactMetadata, sha256: str) -> ArtifactMetadata:
        """The plan's metadata: those of the ONNX file that it was built from, `source`, with the plan's own values."""
        return replace(
            source,
            kind="plan",
            precision_proof=self.precision_proof,
            profile=self.profile,
            sha256=sha256,
            onnx_sha256=source.sha256,
            builder=self.library.name,
            builder_version=self.library.version,
            targets=list(self.library.targets),
            parity=Parity(NOT_EXECUTED),
        )


def plan_of(
    data: bytes,
    source: ArtifactMetadata,
    islands: Islands,
    settings: ExportSettings,
    library: BuilderLibrary,
    advance: Callable[[float], Any],
) -> tuple[bytes, ArtifactMetadata]:
    """The plan of an ONNX artifact, and its metadata, which say that it was not executed.

    Args:
        data: the artifact's bytes.
        source: its metadata.
        advance: gets the share of the build that was done since its last call; the shares add up to 1.

    Raises:
        EngineError, ExportError: as `build_plan`.
    """
    done = 0.0

    def on_progress(now: float) -> None:
        nonlocal done
        advance(now - done)
        done = now

    model = data if settings.plain else without_defaults(data, CONTEXT_INPUTS)
    plan = build_plan(model, islands, settings, source.precision, library, on_progress)
    on_progress(1.0)
    return plan.data, plan.metadata(source, hashlib.sha256(plan.data).hexdigest())


def build_plan(
    model: bytes,
    islands: Islands,
    settings: ExportSettings,
    precision: Precision,
    library: BuilderLibrary,
    on_progress: Callable[[float], None],
) -> Plan:
    """Builds the plan of an ONNX model that `export_onnx` made. `on_progress` gets the share that is done, 0 to 1.

    Raises:
        EngineError: the library does not build for one of its targets.
        ExportError: the parser refuses a node, or a node has another precision (it is named); the inputs or outputs are
            not those asked for; or the builder refuses.
    """
    trt = library.trt
    builder = trt.Builder(library.logger)
    network = library.create_network(builder)
    parse(model, network, library)
    check_interface(network, settings, library)
    proof = prove_network(network, islands, precision, library)
    config = builder.create_builder_config()
    library.configure(config)
    config.progress_monitor = progress_monitor(trt, on_progress)
    profile = make_profile(settings)
    _add_profile(builder, config, profile, library)
    serialized = builder.build_serialized_network(network, config)
    errors, warnings = library.logger.drain()
    # A profile that does not fit the graph is built all the same, with a warning, and fails only at run time.
    faults = [text for text in warnings if "Profile" in text and "not self-consistent" in text]
    if serialized is None or faults:
        reasons = errors or faults or ["no reason given"]
        raise ExportError(f"{library.name} {library.version} built no plan: {_one_line(reasons[0])}")
    return Plan(bytes(serialized), proof, profile, library)


def parse(model: bytes, network: Any, library: BuilderLibrary) -> None:
    """Fills `network` from ONNX bytes.

    Raises:
        ExportError: the parser refuses the graph; the text has name and operator of the first node that it refuses.
    """
    library.logger.drain()
    parser = library.trt.OnnxParser(network, library.logger)
    if parser.parse(model):
        return
    if not parser.num_errors:
        errors = library.logger.drain()[0] or ["no reason given"]
        raise ExportError(f"{library.name} does not read the graph: {_one_line(errors[0])}")
    error = parser.get_error(0)
    raise ExportError(
        f"{library.name} {library.version} does not take node {error.node_name()} ({error.node_operator()}): "
        f"{_one_line(error.desc())}"
    )


def check_interface(network: Any, settings: ExportSettings, library: BuilderLibrary) -> None:
    """Checks that the parsed network has the inputs and outputs that were asked for; the parser may drop some silently.

    Raises:
        ExportError: names, dtypes or their order differ.
    """
    float32 = library.trt.float32
    picture = float32 if settings.interface == "float" else library.trt.uint8
    source, result = TENSOR_NAMES[settings.interface]
    expected = [[(source, picture)], [(result, picture)]]
    if not settings.plain:
        expected[0] += [(name, float32) for name in CONTEXT_INPUTS]
        expected[1].append((STATISTICS, float32))
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    actual = [[(tensor.name, tensor.dtype) for tensor in tensors] for tensors in (inputs, outputs)]
    if actual != expected:
        raise ExportError(f"the parsed network has tensors {actual}; expected {expected}")


def prove_network(network: Any, islands: Islands, precision: Precision, library: BuilderLibrary) -> str:
    """Proves the precision of the parsed network layer by layer, and says in words what was proven.

    Every convolution and deconvolution outside the islands has HALF (`fp16`) or FLOAT (`fp32`) outputs, those in the
    islands and all means over height and width have FLOAT ones, and no convolution of the ONNX graph is missing. Needs
    no GPU.

    Raises:
        ExportError: a layer is of another precision, or missing; it is named, as its ONNX node is.
    """
    trt = library.trt
    wide = trt.DataType.HALF if precision == "fp16" else trt.DataType.FLOAT
    found = set()
    pools = 0
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
            found.add(layer.name)
            _expect(layer, trt.DataType.FLOAT if layer.name in islands.inside else wide)
        elif _is_spatial_pool(layer, trt):
            pools += 1
            _expect(layer, trt.DataType.FLOAT)
    missing = sorted((islands.inside | islands.outside) - found)
    if missing:
        raise ExportError(f"node {missing[0]} is not in the network that {library.name} parsed")
    outside = len(found - islands.inside)
    proven = (
        f"{len(found)} convolutions and {pools} spatial means compute in FLOAT"
        if precision == "fp32"
        else f"{outside} of {outside} convolutions compute in HALF, {len(islands.inside)} in the FP32 islands and "
        f"{pools} spatial means in FLOAT"
    )
    return f"{proven} (network after parse, {library.name} {library.version})"


def _expect(layer: Any, expected: Any) -> None:
    actual = layer.get_output_type(0)
    if actual != expected:
        raise ExportError(f"node {layer.name} computes in {actual.name}; expected {expected.name}: no plan was saved")


def _is_spatial_pool(layer: Any, trt: Any) -> bool:
    """Whether the layer is a mean over height and width, or over blocks of them."""
    if layer.type == trt.LayerType.POOLING:
        layer.__class__ = trt.IPoolingLayer  # the bindings give only the base class
        return bool(layer.type == trt.PoolingType.AVERAGE)
    if layer.type != trt.LayerType.REDUCE:
        return False
    layer.__class__ = trt.IReduceLayer  # the bindings give only the base class
    return bool(layer.op == trt.ReduceOperation.AVG and layer.axes == (1 << 2 | 1 << 3))


def make_profile(settings: ExportSettings) -> Profile:
    """From one picture of the smallest size to `batch` full tiles at once, and tuned for the latter."""

    def shape(batch: int, side: int) -> list[int]:
        return [batch, 3, side, side] if settings.interface == "float" else [batch, side, side, 3]

    largest = shape(settings.batch, settings.tile)
    name = TENSOR_NAMES[settings.interface][0]
    profile = {name: {"min": shape(1, MIN_SIDE), "opt": largest, "max": largest}}
    if not settings.plain:
        weights = {"min": [1, MIN_SIDE], "opt": [settings.batch, settings.tile], "max": [settings.batch, settings.tile]}
        profile |= {"rows": weights, "cols": weights}
    return profile


def _add_profile(builder: Any, config: Any, profile: Profile, library: BuilderLibrary) -> None:
    entry = builder.create_optimization_profile()
    for name, shapes in profile.items():
        entry.set_shape(name, shapes["min"], shapes["opt"], shapes["max"])
    if config.add_optimization_profile(entry) < 0:
        raise ExportError(f"{library.name} refuses the optimization profile {profile}; choose a smaller tile or batch")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
