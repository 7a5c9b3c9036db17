"""The record in a result: it can be read back, is guarded by its hash, and decoders ignore it."""

from __future__ import annotations

import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from artifacts import FIXTURES
from pictures import USUAL
from PIL import Image

from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.boxes.media import boxes
from mirnet_deploy.images.formats import Format
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
    path.write_bytes(stamped(picture(tmp_path / "b.png").read_bytes(), RECORD)[-40:])
    assert read_stamp(path) == Stamp(None, intact=False)
    path.write_bytes(b"")
    assert not has_stamp(path)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_a_change_of_any_byte_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"a{suffix}")
    data = stamped(path.read_bytes(), RECORD)
    # Only a PNG's chunk has a sum of its own; elsewhere what counts is the picture.
    for index in range(len(data) if suffix == ".png" else data.index(b'{"backend')):
        path.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        stamp = read_stamp(path)
        assert stamp is None or not stamp.intact, index
    path.write_bytes(data[:-1])
    assert read_stamp(path) is None


def test_a_png_ends_with_iend_and_its_record_is_a_chunk_that_editors_drop(tmp_path: Path) -> None:
    """What pngcheck checks: nothing follows IEND, all sums are right. The bits of the name: PNG, third edition, 5.4."""
    plain = picture(tmp_path / "a.png").read_bytes()
    data, at, chunks = stamped(plain, RECORD), 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        chunks.append((kind, body))
        at += 12 + size
    assert at == len(data)
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"miRD", b"IEND"]
    ancillary, private, reserved, safe_to_copy = (bool(letter & 32) for letter in b"miRD")
    assert (ancillary, private, reserved, safe_to_copy) == (True, True, False, False)
    assert data.replace(struct.pack(">I", len(chunks[2][1])) + b"miRD" + chunks[2][1], b"")[:-16] == plain[:-12]


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_states_its_size_and_its_record_is_a_chunk(tmp_path: Path, lossless: bool) -> None:
    """What webpmux checks. Behind what the RIFF's size says, it refuses anything."""
    Image.new("RGB", (5, 3), (1, 2, 3)).save(tmp_path / "a.webp", lossless=lossless)
    data, at, kinds = stamped((tmp_path / "a.webp").read_bytes(), RECORD), 12, []
    assert int.from_bytes(data[4:8], "little") + 8 == len(data)
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        kinds.append(data[at : at + 4])
        at += 8 + size + size % 2
    assert (at, kinds) == (len(data), [b"VP8L" if lossless else b"VP8 ", b"miRD"])


@pytest.mark.parametrize("name", ["plain.png", "tolerance.webp", "fast.tiff", "strength.jpg", "local.bmp"])
def test_records_of_version_0_1_0_lie_behind_the_file_and_are_recognised(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(FIXTURES / "records" / name, tmp_path))
    assert path.read_bytes().endswith(MAGIC)
    stamp = read_stamp(path)
    assert has_stamp(path)
    assert stamp
    assert stamp.intact
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    changed = read_stamp(path)
    assert changed
    assert not changed.intact


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
