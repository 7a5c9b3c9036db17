"""Fleets for tests: a real, tiny ONNX file, and plans with correct sidecars and meaningless bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from artifacts import make_onnx, make_plan

from mirnet_deploy.artifacts.fleet import MANIFEST
from mirnet_deploy.files import file_sha256

RTX = ("tensorrt_rtx", "9.9")
"""Builder and version of `tensorrt_stand_in`."""


def make_fleet(folder: Path, *plans: tuple[str, str, str]) -> Path:
    """Writes a fleet with the given plans (target, builder, version); returns its folder."""
    folder.mkdir()
    for name in ("tiny.onnx", "tiny.fp16.onnx"):
        make_onnx(folder / name, "blur", interface="image", context=0, precision="fp16" if "fp16" in name else "fp32")
    sha256 = file_sha256(folder / "tiny.fp16.onnx")
    entries = []
    for number, (target, builder, version) in enumerate(plans):
        path = folder / f"{number}.plan"
        make_plan(path, targets=[target], builder=builder, builder_version=version, onnx_sha256=sha256)
        described = {"target": target, "builder": builder, "builder_version": version, "precision": "fp16"}
        entries.append(entry(path) | described)
    manifest = {"format_version": 1, "plans": entries}
    manifest |= {"onnx": entry(folder / "tiny.fp16.onnx"), "onnx_cpu": entry(folder / "tiny.onnx")}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def entry(path: Path) -> dict[str, Any]:
    """What a manifest says of any file."""
    return {"file": path.name, "sha256": file_sha256(path), "bytes": path.stat().st_size}
