"""Checkpoint -> ONNX file: traced, proven in precision and in value, and only then saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata, Parity, Precision
from mirnet_deploy.artifacts.sidecar import write_artifact
from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.errors import ArtifactError, EngineError, ExportError
from mirnet_deploy.export import parity
from mirnet_deploy.export.interfaces import in_channel_order, with_interface
from mirnet_deploy.export.precision import prove_onnx
from mirnet_deploy.export.rewrites import REWRITES
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.export.tracing import trace
from mirnet_deploy.training.checkpoint import LoadedCheckpoint
from mirnet_deploy.training.reach import structural_reach


def export_onnx(
    checkpoint: LoadedCheckpoint,
    path: Path,
    settings: ExportSettings,
    precision: Precision,
    crops: Sequence[NDArray[np.uint8]],
) -> ArtifactMetadata:
    """Writes the network as the ONNX file `path` with its sidecar, and returns the sidecar's content.

    The artifact must agree with PyTorch on `crops`: uint8 [H,W,3] RGB, with sides that are multiples of 4.

    Raises:
        ExportError: the export, the proof of precision or the parity failed, and nothing was written; or a file cannot
            be written.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    model = build_model(checkpoint, settings, precision)
    proof = prove_onnx(model, checkpoint.network, precision)
    metadata = _describe(checkpoint, settings, precision, proof)
    measured = _prove(model, metadata, checkpoint, crops, path.name)
    return save_model(model, path, replace(metadata, parity=measured))


def export_plain(checkpoint: LoadedCheckpoint, path: Path) -> ArtifactMetadata:
    """Writes what PyTorch's exporter alone makes of the network, with a sidecar, and returns the sidecar's content.

    float32 [N,3,H,W] in and out, of any size; no rewrites, no context. For comparisons: it is not held against PyTorch.

    Raises:
        ExportError: PyTorch cannot export the network, or a file cannot be written.
    """
    settings = ExportSettings(interface="float", plain=True, name=path.stem)
    model = trace(with_interface(checkpoint.network, "float"), "float", settings.opset, context=0)
    proof = prove_onnx(model, checkpoint.network, "fp32")
    return save_model(model, path, _describe(checkpoint, settings, "fp32", proof))


def _describe(
    checkpoint: LoadedCheckpoint, settings: ExportSettings, precision: Precision, proof: str
) -> ArtifactMetadata:
    """The metadata, still without the parity and the hash."""
    return ArtifactMetadata(
        kind="onnx",
        name=settings.name,
        interface=settings.interface,
        precision=precision,
        precision_proof=proof,
        network=checkpoint.config.to_dict(),
        weights=checkpoint.weights,
        tile=settings.tile,
        halo=settings.halo,
        reach=structural_reach(checkpoint.config),
        batch=settings.batch,
        channel_order=settings.channel_order,
        context=settings.context(checkpoint.config),
        stages=checkpoint.config.pool_stages,
        opset=settings.opset,
        checkpoint_sha256=checkpoint.sha256,
        tool_version=__version__,
    )


def _prove(
    model: onnx.ModelProto,
    metadata: ArtifactMetadata,
    checkpoint: LoadedCheckpoint,
    crops: Sequence[NDArray[np.uint8]],
    name: str,
) -> Parity:
    """Runs a graph in the engine that will run it, and compares it with PyTorch on `crops`, uint8 [H,W,3] RGB.

    Raises:
        ExportError: the graph does not run, or misses a bound; the text calls it `name`.
    """
    network, interface = checkpoint.network, metadata.interface
    expected = parity.references(network, interface, crops)
    try:
        with closing(OnnxRuntimeEngine(model.SerializeToString(), metadata)) as engine:
            run, run_pooled = parity.in_order(engine, metadata)
            measured = parity.measure(run, engine.backend, interface, crops, expected)
            parity.check(measured, interface, metadata.precision, name)
            if metadata.context:
                parity.check_given(run_pooled, network, interface, metadata.precision, crops[0], name)
    except (ArtifactError, EngineError) as error:
        raise ExportError(f"{name} does not run: {error}") from error
    return measured


def build_model(checkpoint: LoadedCheckpoint, settings: ExportSettings, precision: Precision) -> onnx.ModelProto:
    """The traced and rewritten graph, not yet proven. The checkpoint's network is left as it is.

    Raises:
        ExportError: PyTorch cannot export the network, or its graph is not of the form that `trace` promises.
    """
    network = in_channel_order(checkpoint.network, settings.channel_order)
    if precision == "fp16":
        network = copy.deepcopy(network).half_with_islands()
    context = settings.context(checkpoint.config)
    model = trace(with_interface(network, settings.interface), settings.interface, settings.opset, context)
    for rewrite in REWRITES:
        rewrite(model)
    model.producer_name, model.producer_version = "mirnet-deploy", __version__
    return model


def save_model(model: onnx.ModelProto, path: Path, metadata: ArtifactMetadata) -> ArtifactMetadata:
    """Writes `model` with `metadata` inside it, and the sidecar; returns what the sidecar holds.

    The sidecar has the hash of the file, which the file itself cannot hold.

    Raises:
        ExportError: a file cannot be written, or the model is not valid ONNX.
    """
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(metadata, sha256=None).to_json()})
    try:
        onnx.checker.check_model(model)
        return write_artifact(path, model.SerializeToString(), metadata)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} is not valid ONNX: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
