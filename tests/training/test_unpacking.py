"""Files that are no checkpoints, or hold what is not read: one line that says what they are; nothing in them is run."""

from __future__ import annotations

import argparse
import bz2
import datetime
import gzip
import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.unpacking import unpack

TINY = MIRNetConfig(8, 1, 1)


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    """What a library warns of is nothing that a user of the command line can do."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"text")
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pth"))
    return stream.getvalue()


PAGE = "<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>"
FILES: dict[str, tuple[bytes, str]] = {
    "page": (PAGE.encode(), "is a web page, not a checkpoint"),
    "page after blanks": (b"\xef\xbb\xbf\r\n  <HTML lang=de>\xfc", "is a web page, not a checkpoint"),
    "page in UTF-16": (PAGE.encode("utf-16"), "is a web page, not a checkpoint"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page, not a checkpoint"),
    "json": (b'{"error": "Repository not found"}', r'is a text \(\{"error": "Repository not found"\} …\)'),
    "text": ("Zugriff verweigert: für Gäste\n".encode(), r"is a text \(Zugriff verweigert: f\\xfcr G"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of git-LFS .*git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s1--2.pth\n", "is a pointer of .*git-annex"),
    "empty": (b"", "is empty"),
    "zeros": (bytes(9000), "begins with zeros alone"),
    "zip": (zipped("a/b.txt", "c.pth"), "is a ZIP archive of a/b.txt, c.pth, not a checkpoint; unpack it"),
    "zip of nothing": (zipped(), "is a ZIP archive of nothing"),
    "zip cut short": (zipped("a/data.pkl")[:60], "is cut short or damaged"),
    "torchscript": (zipped("a/data.pkl", "a/constants.pkl", "a/code/x.py"), "is a TorchScript archive"),
    "exported program": (zipped("a/archive_format", "a/models/model.json"), r"is a program of torch\.export"),
    "gzip": (gzip.compress(b"x" * 99), "is a gzip archive; unpack it"),
    "bzip2": (bz2.compress(b"x" * 99), "is a bzip2 archive; unpack it"),
    "tar": (tarred(), "is a tar archive; unpack it"),
    "onnx": (b"\x08\x0a\x12\x07pytorch\x1a\x032.9", "is an ONNX file, not a checkpoint"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    "npy": (b"\x93NUMPY\x01\0" + bytes(99), "is a NumPy array"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), r"is a picture \(PNG\)"),
    "raw pickle": (pickle.dumps({"state_dict": {}}), r"is a Python pickle that torch\.save did not write"),
    "old pickle": (pickle.dumps({"state_dict": {}}, protocol=0), r"is a Python pickle that torch\.save did not write"),
    "noise": (bytes(range(1, 256)) * 9, "neither a file of torch.save nor safetensors"),
    "safetensors cut short": (
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ',
        "is a safetensors file that is cut short or damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_other_files_are_called_what_they_are(tmp_path: Path, case: str) -> None:
    data, message = FILES[case]
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert len(said) < 500
    assert "weights_only" not in said
    assert "add_safe_globals" not in said
    assert ("damaged" in said) == ("cut short" in case)


def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Doubled(), torch.zeros(1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match=r"a\.pt is a TorchScript archive.*state dict"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickled_module_is_named(tmp_path: Path, new: bool, wrapped: bool) -> None:
    network = MIRNet(TINY)
    content = {"model": network, "epoch": 1} if wrapped else network
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "a.pth")
    said = str(error.value)
    assert "mirnet_deploy.training.network." in said
    assert "\n" not in said
    assert ("is a whole pickled module" in said) == new  # the old format tells its first name alone
    assert "weights alone" in said
    assert "was not run" in said


class Strange:
    """A class that a checkpoint may hold and nobody knows."""


def test_unknown_objects_are_named_and_not_made(tmp_path: Path) -> None:
    torch.save({"state_dict": MIRNet(TINY).state_dict(), "config": Strange()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds Python objects beside the weights \(\S*Strange\)"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("new", [True, False])
def test_numbers_of_numpy_and_settings_are_read_around(tmp_path: Path, new: bool) -> None:
    content = {
        "state_dict": MIRNet(TINY).state_dict(),
        **{"f8": np.float64(1.5), "f4": np.float32(2.5), "i8": np.int64(-3), "u1": np.uint8(200), "b": np.bool_(True)},
        "text": np.str_("x"),
        "big": np.array([1.5, -2.0], dtype=">f8"),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "args": argparse.Namespace(lr=np.float32(1e-4), out=tmp_path),
        "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "random": np.random.RandomState(1).get_state(),
        "found": defaultdict(list, {"a": [1]}),
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    read = unpack(tmp_path / "a.pth").content
    assert {key: read[key] for key in ("f8", "f4", "i8", "u1", "b")} == {
        "f8": 1.5,
        "f4": 2.5,
        "i8": -3,
        "u1": 200,
        "b": True,
    }
    assert type(read["f4"]) is float
    assert read["text"] is None
    assert read["found"] == {"a": [1]}
    assert read["big"].tensor().tolist() == [1.5, -2.0]
    assert read["columns"].tensor().tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert load_checkpoint(tmp_path / "a.pth").config == TINY


def test_lists_and_numbers_as_keys(tmp_path: Path) -> None:
    state = MIRNet(TINY).state_dict()
    for content in ([state], ("x", state), {0: state}):
        torch.save(content, tmp_path / "a.pth")
        assert torch.equal(
            load_checkpoint(tmp_path / "a.pth").network.state_dict()["conv_in.weight"], state["conv_in.weight"]
        )


def test_a_later_pickle_protocol_is_called_that(tmp_path: Path) -> None:
    torch.save({"model": MIRNet(TINY).state_dict()}, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"a\.pth is pickled by protocol 4 or 5, which is not read; save it anew"):
        load_checkpoint(tmp_path / "a.pth")


def test_arrays_of_objects_stay_closed(tmp_path: Path) -> None:
    made: list[int] = []

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (made.append, (1,))

    torch.save({"a": np.array([None, "x"], dtype=object), "b": np.zeros(2, dtype="U3")}, tmp_path / "a.pth")
    read = unpack(tmp_path / "a.pth").content
    assert read["a"].tensor() is None
    assert read["b"].tensor() is None
    assert not made


def test_names_that_stand_ins_have_call_nothing_of_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": np.float64(4.5)}, tmp_path / "a.pth")
    monkeypatch.setattr(np, "dtype", None)
    assert unpack(tmp_path / "a.pth").content == {"a": 4.5}


KINDS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "complex": (lambda tensor: tensor.to(torch.complex64), "holds values of torch.complex64"),
    "meta": (lambda tensor: tensor.to("meta"), "has a shape and no values"),
    "integers": (lambda tensor: tensor.to(torch.int32), "holds values of torch.int32"),
    "quantized": (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "holds values of torch.qint8"),
    "sparse": (lambda tensor: tensor.to_sparse(), "is stored as torch.sparse_coo"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ours", [True, False])
def test_tensors_that_are_no_weights_are_named(tmp_path: Path, kind: str, ours: bool) -> None:
    change, message = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {name: change(tensor) for name, tensor in MIRNet(TINY).state_dict().items()}
        if ours:
            save_checkpoint(tmp_path / "a.pt", {"config": TINY.to_dict(), "network": state})
        else:
            torch.save({"model": state}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"a\.pt: \S+ {message}"):
        load_checkpoint(tmp_path / "a.pt")


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    state = MIRNet(TINY).state_dict()
    save_file(state, tmp_path / "a.pth")
    torch.save({"state_dict": state}, tmp_path / "b.safetensors")
    first, second = load_checkpoint(tmp_path / "a.pth"), load_checkpoint(tmp_path / "b.safetensors")
    assert (first.layout, second.layout) == ("safetensors", "published")
    for loaded in (first, second):
        assert torch.equal(loaded.network.state_dict()["conv_in.weight"], state["conv_in.weight"])


def test_a_size_that_the_weights_do_not_have_builds_nothing(tmp_path: Path) -> None:
    config = {**TINY.to_dict(), "n_rrg": 10**9}
    save_checkpoint(tmp_path / "a.pt", {"config": config, "network": MIRNet(TINY).state_dict()})
    with pytest.raises(CheckpointError, match=r"it says MIRNetConfig\(.*n_rrg=1000000000"):
        load_checkpoint(tmp_path / "a.pt")
