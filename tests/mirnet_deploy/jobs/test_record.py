"""The record in a result: it can be read back, is guarded by its hash, and decoders ignore it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pictures import USUAL
from PIL import Image

from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.iso_media import boxes
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import encode_image
from mirnet_deploy.jobs.inputs import NoTask, find_tasks
from mirnet_deploy.jobs.record import MAGIC, Record, Stamp, has_stamp, read_stamp, stamped


def picture(path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(path)
    return path


RECORD = Record("1" * 64, "2" * 64, {"tile": "auto"}, "1.0")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_record_is_read_back_and_decoders_ignore_it(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"a{suffix}")
    plain = path.read_bytes()
    assert not has_stamp(path)
    assert read_stamp(path) is None
    path.write_bytes(stamped(plain, RECORD))
    stamp = read_stamp(path)
    assert stamp is not None
    assert (stamp.record, stamp.intact) == (RECORD, True)
    with Image.open(path) as image:
        image.load()
    entry = find_tasks([str(path), str(picture(tmp_path / "b.png"))], output=None, target_format=None, recursive=False)[
        0
    ]
    assert isinstance(entry, NoTask)
    assert entry.own


def test_a_changed_file_is_not_intact(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.bmp")
    data = bytearray(stamped(path.read_bytes(), RECORD))
    data[60] ^= 1
    path.write_bytes(data)
    stamp = read_stamp(path)
    assert stamp is not None
    assert not stamp.intact
    path.write_bytes(data[-25:])
    assert read_stamp(path) == Stamp(None, intact=False)
    path.write_bytes(b"")
    assert not has_stamp(path)


def test_a_file_of_only_the_magic_word_is_not_intact(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(MAGIC)
    assert read_stamp(tmp_path / "a.png") == Stamp(None, intact=False)


def test_a_record_of_a_later_version_is_intact_and_unknown(tmp_path: Path) -> None:
    """So its picture is made again, and not taken for one that the user has changed."""

    @dataclass(frozen=True)
    class Later(Record):
        machine: str = "somewhere"

    path = picture(tmp_path / "a.png")
    path.write_bytes(stamped(path.read_bytes(), Later("1" * 64, "2" * 64, {}, "9.0")))
    assert read_stamp(path) == Stamp(None, intact=True)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    assert read_stamp(path) == Stamp(None, intact=False)


def test_a_record_that_nests_without_end_is_not_intact(tmp_path: Path) -> None:
    depth = 60_000
    path = picture(tmp_path / "a.png")
    path.write_bytes(path.read_bytes() + b"[" * depth + struct.pack(">I", depth) + MAGIC)
    assert read_stamp(path) == Stamp(None, intact=False)


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_in_a_file_of_boxes_the_record_lies_in_one(tmp_path: Path, kind: Format) -> None:
    pytest.importorskip({"heic": "pillow_heif", "avif": "cv2", "jxl": "imagecodecs"}[kind], reason="no such extra")
    pixels = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    plain = encode_image(Picture(pixels), kind, **USUAL)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(stamped(plain, RECORD))
    assert read_stamp(path) == Stamp(RECORD, True)
    data = path.read_bytes()
    found = list(boxes(data))
    assert found[-1][0] == b"free"
    assert found[-1][2] == len(data)
    np.testing.assert_array_equal(read_image(path).pixels, decode_image(plain, "a", max_pixels=10**6).pixels)
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert read_stamp(path) == Stamp(RECORD, False)
