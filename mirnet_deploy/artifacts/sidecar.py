"""The sidecar beside every artifact, and the checks that come before an engine library sees a byte of the artifact.

`NAME.onnx.json` or `NAME.plan.json` holds one `ArtifactMetadata` as JSON. Its SHA-256 shows damage and mix-ups. It does
not show who made the file: whoever can replace the artifact can replace the sidecar.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.onnx_metadata import onnx_metadata
from mirnet_deploy.errors import ArtifactError
from mirnet_deploy.files import write_atomically, write_together


def sidecar_path(artifact: Path) -> Path:
    """`mirnet.plan` -> `mirnet.plan.json`."""
    return artifact.with_name(artifact.name + ".json")


def write_sidecar(artifact: Path, metadata: ArtifactMetadata) -> Path:
    """Writes the sidecar of `artifact` (whose hash `metadata` must hold) atomically and returns its path."""
    path = sidecar_path(artifact)
    write_atomically(path, metadata.to_json().encode())
    return path


def write_artifact(artifact: Path, data: bytes, metadata: ArtifactMetadata) -> ArtifactMetadata:
    """Writes `artifact` and its sidecar, both or neither; returns `metadata` with the hash of `data`.

    Raises:
        OSError: a file cannot be written; what was there before is as it was.
    """
    complete = replace(metadata, sha256=hashlib.sha256(data).hexdigest())
    write_together({artifact: data, sidecar_path(artifact): complete.to_json().encode()})
    return complete


def read_sidecar(artifact: Path) -> ArtifactMetadata:
    """Reads the sidecar of `artifact` and checks that it has this format, the kind of the file and the file's hash.

    Raises:
        ArtifactError: the artifact or the sidecar is missing or unreadable, or the two do not belong together.
    """
    return read_artifact(artifact)[1]


def read_artifact(artifact: Path) -> tuple[bytes, ArtifactMetadata]:
    """The bytes of `artifact` and its sidecar, checked as in `read_sidecar`.

    An artifact must be loaded from these bytes: a file that is read a second time may be another one by then.

    Raises:
        ArtifactError: as `read_sidecar`.
    """
    if not artifact.is_file():
        raise ArtifactError(f"{artifact} is not a file; expected an .onnx or .plan file that mirnet-deploy exported")
    path = sidecar_path(artifact)
    if not path.is_file():
        raise ArtifactError(
            f"{artifact} has no sidecar {path.name} beside it; only artifacts of `mirnet-deploy export` are loaded"
        )
    try:
        metadata = ArtifactMetadata.from_json(path.read_bytes(), str(path))
        data = artifact.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{artifact} cannot be read: {error}") from error
    if artifact.suffix != f".{metadata.kind}":
        raise ArtifactError(f"{path} describes a file of kind {metadata.kind}, not {artifact.name}")
    actual = hashlib.sha256(data).hexdigest()
    if metadata.sha256 != actual:
        raise ArtifactError(
            f"{artifact} does not match its sidecar (SHA-256 {actual[:12]}…, expected {str(metadata.sha256)[:12]}…): "
            "damaged or replaced; export it again"
        )
    return data, metadata


def read_onnx(path: Path) -> tuple[bytes, ArtifactMetadata]:
    """The bytes and the sidecar of an ONNX artifact, checked as in `read_artifact` and against the metadata inside it.

    Raises:
        ArtifactError: the file is missing, damaged or foreign, or the sidecar does not belong to it.
    """
    data, metadata = read_artifact(path)
    inside = onnx_metadata(data, str(path))
    if inside != replace(metadata, sha256=None):
        names = [name for name in vars(inside) if name != "sha256" and getattr(inside, name) != getattr(metadata, name)]
        raise ArtifactError(
            f"{path} and its sidecar disagree on {', '.join(names) or 'sha256'}: one was edited; export it again"
        )
    return data, metadata
