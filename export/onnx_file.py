"""Checkpoint -> ONNX file: traced, proven in precision and in value, and only then saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mirnet_deploy import __version__
from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata, Precision, file_sha256, write_sidecar
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export import parity
from mirnet_deploy.export.interfaces import in_channel_order, with_interface
from mirnet_deploy.export.precision import prove_onnx
from mirnet_deploy.export.rewrites import REWRITES
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.export.tracing import trace
from mirnet_deploy.files import write_atomically
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

    `crops` are uint8 [H,W,3] RGB, sides multiples of 4: the artifact must agree with PyTorch on them.

    Raises:
        ExportError: the export, the proof of precision or the parity failed; nothing was written.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    model = build_model(checkpoint, settings, precision)
    proof = prove_onnx(model, checkpoint.network, precision)
    run, run_pooled, executed = parity.onnx_session(model.SerializeToString())
    if settings.channel_order == "bgr":
        run, run_pooled = parity.turned(run, settings.interface), parity.turned_pooled(run_pooled, settings.interface)
    expected = parity.references(checkpoint.network, settings.interface, crops)
    measured = parity.measure(run, executed, settings.interface, crops, expected)
    parity.check(measured, settings.interface, precision, path.name)
    if not settings.plain:
        parity.check_given(run_pooled, checkpoint.network, settings.interface, precision, crops[0], path.name)
    metadata = ArtifactMetadata(
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
        parity=measured,
        tool_version=__version__,
    )
    return save_model(model, path, metadata)


def build_model(checkpoint: LoadedCheckpoint, settings: ExportSettings, precision: Precision) -> onnx.ModelProto:
    """The traced and rewritten graph, not yet proven. The checkpoint's network is left as it is.

    Raises:
        ExportError: PyTorch cannot export the network.
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
    """Writes `model` with `metadata` inside it (less its own hash), then the sidecar with the hash.

    Raises:
        ExportError: the folder cannot be written, or the model is not valid ONNX.
    """
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(metadata, sha256=None).to_json()})
    try:
        onnx.checker.check_model(model)
        write_atomically(path, model.SerializeToString())
        complete = replace(metadata, sha256=file_sha256(path))
        write_sidecar(path, complete)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} is not valid ONNX: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    return complete
