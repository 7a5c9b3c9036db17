"""A fleet: one folder with an ONNX file, plans of it for many GPUs, and the manifest that says which is which.

`fleet.json` holds one `Fleet` as JSON. Its hashes, as a sidecar's, show damage and mix-ups, not who made the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

from mirnet_deploy.artifacts.metadata import ArtifactMetadata, Builder, Precision
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.errors import ArtifactError

MANIFEST = "fleet.json"
FLEET_VERSION = 1
"""Raised when a reader of the old manifest would misread the new one."""


@dataclass(frozen=True)
class FleetFile:
    """A file of a fleet.

    Raises:
        ArtifactError: a field holds a value that it cannot have; above all, `file` leads out of the folder.
    """

    file: str
    """Its name in the fleet's folder."""
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        suffix = ".plan" if isinstance(self, FleetPlan) else ".onnx"
        if not isinstance(self.file, str) or not re.fullmatch(rf"[\w-][\w.-]*{re.escape(suffix)}", self.file, re.ASCII):
            raise ArtifactError(f"file is {self.file!r}; expected the name of a file in its folder, NAME{suffix}")
        if not isinstance(self.sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ArtifactError(f"sha256 of {self.file} is {self.sha256!r}; expected 64 hex digits")
        if type(self.bytes) is not int or self.bytes < 1:
            raise ArtifactError(f"bytes of {self.file} is {self.bytes!r}; expected a whole number from 1")

    @classmethod
    def of(cls, values: object) -> Self:
        """Reads what `asdict` made.

        Raises:
            ArtifactError: it is no such object, or a field is missing, unknown or of a wrong value.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or sorted(values) != sorted(names):
            raise ArtifactError(f"{str(values)[:80]} stands where an object with {', '.join(names)} is expected")
        return cls(**values)


@dataclass(frozen=True)
class FleetPlan(FleetFile):
    """A plan of a fleet, and what it fits."""

    target: str
    """The GPU, as in `ArtifactMetadata.targets`: "sm89" (TensorRT-RTX), or a GPU's name (TensorRT)."""
    builder: Builder
    builder_version: str
    precision: Precision

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("builder", get_args(Builder)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise ArtifactError(f"{name} of {self.file} is {getattr(self, name)!r}; expected one of {allowed}")
        for name in ("target", "builder_version"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ArtifactError(f"{name} of {self.file} is {getattr(self, name)!r}; expected text")

    @property
    def key(self) -> tuple[str, str, str]:
        """Target, builder and its version: a fleet has one plan of each."""
        return self.target, self.builder, self.builder_version


@dataclass(frozen=True)
class Fleet:
    """What a fleet's manifest holds.

    Raises:
        ArtifactError: two plans are for the same target, builder and version, or are one file.
    """

    folder: Path
    onnx: FleetFile
    """What all plans were built from, and `--build-missing` builds from."""
    onnx_cpu: FleetFile
    """What runs without a GPU: the FP32 file, which is faster there."""
    plans: tuple[FleetPlan, ...] = ()

    def __post_init__(self) -> None:
        for what in ("key", "file"):
            values = [getattr(plan, what) for plan in self.plans]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ArtifactError(f"{twice if what == 'file' else ' '.join(twice)} stands in it twice")

    def path(self, entry: FleetFile) -> Path:
        """Where a file of the fleet lies."""
        return self.folder / entry.file

    def checked(self, plan: FleetPlan) -> Path:
        """The file of a plan, after its bytes, its sidecar and the manifest were held against one another.

        Raises:
            ArtifactError: it is missing or damaged, or they do not belong together.
        """
        path = self.path(plan)
        metadata = read_sidecar(path)
        if metadata.sha256 != plan.sha256 or not fits(metadata, self.onnx.sha256, plan.key):
            raise ArtifactError(
                f"{path} is not the plan that {self.folder / MANIFEST} describes ({' '.join(plan.key)}): replaced; "
                "export it again with --force"
            )
        return path

    def checked_onnx(self, entry: FleetFile) -> Path:
        """The file of `onnx` or `onnx_cpu`, after its bytes, sidecar and manifest were held against one another.

        Raises:
            ArtifactError: it is missing or damaged, or they do not belong together.
        """
        path = self.path(entry)
        if read_sidecar(path).sha256 != entry.sha256:
            raise ArtifactError(f"{path} is not the file that {self.folder / MANIFEST} describes: replaced")
        return path

    def with_plan(self, plan: FleetPlan) -> Fleet:
        """This fleet with one more plan, which replaces one of the same key."""
        others = [each for each in self.plans if each.key != plan.key]
        plans = sorted((*others, plan), key=lambda each: (len(each.target), each.key))  # sm80 before sm120
        return Fleet(self.folder, self.onnx, self.onnx_cpu, tuple(plans))

    def to_json(self) -> str:
        """The JSON text of a manifest."""
        values: dict[str, Any] = {
            "format_version": FLEET_VERSION,
            "onnx": asdict(self.onnx),
            "onnx_cpu": asdict(self.onnx_cpu),
            "plans": [asdict(plan) for plan in self.plans],
        }
        return json.dumps(values, indent=2) + "\n"


def fits(metadata: ArtifactMetadata, onnx_sha256: str, key: tuple[str, str, str]) -> bool:
    """Whether a plan with that sidecar was built from that ONNX file, and for that target by that library and version
    (`FleetPlan.key`). No plan is loaded by another version than built it."""
    target, builder, version = key
    return (metadata.onnx_sha256, metadata.builder, metadata.builder_version) == (
        onnx_sha256, builder, version,
    ) and target in (metadata.targets or [])  # fmt: skip


def is_fleet(path: Path) -> bool:
    """Whether the path is a folder with a manifest in it."""
    return (path / MANIFEST).is_file()


def read_fleet(folder: Path) -> Fleet:
    """Reads the manifest in `folder`. Of the files, none is looked at.

    Raises:
        ArtifactError: there is none; or it is damaged, foreign, or names a file outside of the folder.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, Mapping) or not isinstance(values.get("plans"), list):
            raise ArtifactError("it has no list of plans")
        if (version := values.get("format_version")) != FLEET_VERSION:
            raise ArtifactError(f"format version {version!r}; this mirnet-deploy reads {FLEET_VERSION}")
        if unknown := sorted(set(values) - {"format_version", "onnx", "onnx_cpu", "plans"}):
            raise ArtifactError(f"unknown fields {', '.join(unknown)}")
        plans = tuple(FleetPlan.of(each) for each in values["plans"])
        return Fleet(folder, FleetFile.of(values.get("onnx")), FleetFile.of(values.get("onnx_cpu")), plans)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, ArtifactError) as error:
        raise ArtifactError(f"{path} is not the manifest of a fleet: {error}") from error
