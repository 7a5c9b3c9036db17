"""What the fuzzer gives: small files of every kind that is read, made from scratch, and damaged copies of them."""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import profiles
from artifacts import make_onnx, make_plan, metadata
from pictures import USUAL
from PIL import Image
from raw_pictures import dng
from small_files import IPTC, bmp, bottom_up, exif, jpeg, noise, orientation, pillow, png, resources, smooth, xmp
from tiff_cases import BITS, GREY8, MAP16, RGB8, RGB16, RGBA8, RGBA16, differences, few_bits, ycbcr
from tiffs import page, tiff

from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.writing import encode_image
from mirnet_deploy.jobs.record import Record, stamped

PACKET = xmp(
    'tiff:Orientation="6" exif:PixelXDimension="9" xmpNote:HasExtendedXMP="AB"',
    "<dc:title><rdf:Alt><rdf:li>Night</rdf:li></rdf:Alt></dc:title><tiff:ImageWidth>9</tiff:ImageWidth>",
)
EXIF = exif(
    orientation(6),
    (315, 2, 12, b"A. Nobody \xff\0"),
    (34665, 4, 1, struct.pack("<I", 8)),
    (37500, 7, 40, bytes(40)),
)
PROFILE = profiles.PROFILES["Display P3"]
RECORD = Record("a" * 64, "b" * 64, {"tile": 64, "brightness": None}, "0.1.0", "made by hand")


def pngs() -> Iterator[bytes]:
    text, clear = (b"tEXt", b"Comment\0by hand"), (b"tRNS", b"\0\x07\0\x08\0\x09")
    chunks = [
        (b"iCCP", b"P3\0\0" + zlib.compress(PROFILE)),
        (b"eXIf", EXIF),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps: 20")),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    ]
    named = [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", bytes(range(32))), (b"cICP", bytes([12, 13, 0, 1]))]
    yield png(noise(3), 2, 8, *chunks)
    yield png(noise(3, 16), 2, 16, *named, clear)
    yield png(noise(4, 16), 6, 16, text, interlaced=True)
    yield png(noise(1) & 3, 3, 2, (b"PLTE", bytes(range(12))), (b"tRNS", b"\0\x80"))
    yield stamped(png(noise(2), 4, 8), RECORD)


def jpegs() -> Iterator[bytes]:
    yield jpeg(
        (0xE1, b"Exif\0\0" + EXIF),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
        (0xE2, b"ICC_PROFILE\0\1\1" + PROFILE),
        (0xED, b"Photoshop 3.0\0" + resources((1028, IPTC), (1005, bytes(16)))),
        (0xFE, b"a comment"),
    )
    yield jpeg(progressive=True, subsampling=2)
    yield bytes(imagecodecs.jpeg8_encode(noise(3, 12), bitspersample=12))
    yield bytes(imagecodecs.jpeg8_encode(noise(3, 14), bitspersample=14, lossless=True))
    guid, extension = b"AB".ljust(32, b"0"), PACKET.replace(b"Night", b"Day")
    yield jpeg(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET.replace(b'"AB"', b'"' + guid + b'"')),
        *(
            (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(extension), at) + part)
            for at, part in ((0, extension[:400]), (400, extension[400:]))
        ),
    )
    yield jpeg(pixels=noise(1), restart_marker_rows=1)
    file = io.BytesIO()
    Image.fromarray(smooth()).save(file, "MPO", save_all=True, append_images=[Image.fromarray(noise(3))])
    yield file.getvalue()


def webps() -> Iterator[bytes]:
    yield pillow(noise(4), "WEBP", lossless=True, exif=EXIF, xmp=PACKET, icc_profile=PROFILE)
    yield stamped(pillow(smooth(), "WEBP"), RECORD)


def bmps() -> Iterator[bytes]:
    yield bmp(24, bottom_up(noise(3)), header=124, profile=PROFILE, colour=b"MBED")
    yield bmp(32, noise(4).tobytes(), header=108, compression=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    yield bmp(16, noise(1, 16).tobytes(), compression=3, masks=(0xF800, 0x7E0, 0x1F))
    yield bmp(8, bytes([5, 1, 0, 3, 1, 2, 3, 0, 0, 2, 2, 1, 9, 2, 0, 0, 0, 1]), compression=1, palette=bytes(1024))
    yield bmp(4, bytes([5, 0x12, 0, 3, 0x12, 0x30, 0, 1]), compression=2, palette=bytes(64))


def tiffs() -> Iterator[bytes]:
    more: dict[int, Any] = {34675: (7, PROFILE), 700: (1, PACKET), 33723: (7, IPTC), 274: (3, [6]), 270: (2, b"x\0")}
    yield tiff(page(RGB8, rows=4, more=more))
    yield tiff(page(RGB16, tile=16, order=">", compression=8, pack=zlib.compress), order=">")
    yield tiff(page(RGBA8, planar=True, rows=5, more={338: (3, [1])}), page(GREY8[:4, :4], 1, more={254: (4, [1])}))
    yield tiff(page(RGBA16, rows=4, more={338: (3, [2])}), big=True)
    yield tiff(page(GREY8, 3, more={320: (3, MAP16)}), order="<")
    yield tiff(few_bits(RGB16 >> 4, 12, 2, rows=4))
    pack = differences(RGB16.shape[1], 3, "<u2")
    yield tiff(page(RGB16, compression=8, more={317: (3, [2])}, pack=lambda data: zlib.compress(pack(data))))
    yield ycbcr(2)
    yield tiff(page(RGB8[:4, :4], more={254: (4, [1])}, subs=[page(RGB8)]))
    for compression in ("tiff_lzw", "packbits", "jpeg", "tiff_deflate", "zstd", "lzma"):
        yield pillow(smooth(), "TIFF", compression=compression, exif=Image.Exif().tobytes())
    for compression in ("group3", "group4"):
        yield pillow(BITS.astype(bool), "TIFF", compression=compression)


def of_kind(kind: Format) -> Iterator[bytes]:
    """HEIC, AVIF or JPEG XL in its depths, with and without metadata."""
    twelve = noise(4, 12).astype(np.uint16) * 16
    yield encode_image(Picture(smooth(), None, EXIF, PROFILE, kind, False, PACKET), kind, **USUAL)
    yield encode_image(Picture(twelve[..., :3].copy(), twelve[..., 3].copy(), format=kind, depth=12), kind, **USUAL)
    yield stamped(encode_image(Picture(noise(1), format=kind), kind, **USUAL), RECORD)
    if kind == "jxl":
        import imagecodecs

        yield bytes(imagecodecs.jpegxl_encode(noise(3), lossless=True))
        yield bytes(imagecodecs.jpegxl_encode_jpeg(jpeg()))


def raws() -> Iterator[bytes]:
    light = np.random.default_rng(3).random((32, 48, 3))
    yield dng(light)
    yield dng(light, pattern="RGGB", orientation=6, preview=noise(3))


def icc_profiles() -> Iterator[bytes]:
    yield from profiles.PROFILES.values()
    yield profiles.matrix_profile(profiles.SRGB, profiles.SRGB_CURVE, version=4)
    yield profiles.grey_profile(profiles.gamma(1.8))
    yield profiles.tables_profile(profiles.P3, 1.8)


def packets() -> Iterator[bytes]:
    yield PACKET
    yield xmp('hdrgm:Version="1.0" Camera:MotionPhoto="1"', "<xmp:Thumbnails/><tiff:Orientation>3</tiff:Orientation>")
    yield PACKET.decode().encode("utf-16")


def records() -> Iterator[bytes]:
    yield from (stamped(data, RECORD) for data in (png(noise(1), 0, 8), pillow(smooth(), "WEBP"), jpeg()))


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1.5,
    float("nan"),
    "",
    "x\ny",
    [],
    [[]],
    {},
    {"": {}},
    "fp32",
)
"""Values of other types and sizes than any field has."""


def sidecars() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        make_plan(Path(folder) / "a.plan")
        whole = json.loads((Path(folder) / "a.plan.json").read_text())
    whole["parity"] = {"executed": "by hand", "crops": 2, "max_abs": 1.0, "psnr": 50.0, "residual_psnr": 40.0}
    yield json.dumps(whole).encode()
    yield json.dumps(asdict(metadata(sha256=whole["sha256"], name="a"))).encode()
    for name in whole:
        for odd in ODD:
            yield json.dumps({**whole, name: odd}).encode()


def onnx_files() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for interface in ("float", "image"):
            yield make_onnx(Path(folder) / "a.onnx", "blur", interface=interface).read_bytes()
        yield make_onnx(Path(folder) / "a.onnx", "identity", context=0).read_bytes()


def checkpoints() -> Iterator[bytes]:
    import torch
    from safetensors.torch import save

    from mirnet_deploy.training.checkpoint import FORMAT, FORMAT_VERSION
    from mirnet_deploy.training.config import MIRNetConfig
    from mirnet_deploy.training.network import MIRNet

    config = MIRNetConfig(8, 1, 1)
    torch.manual_seed(1)
    state = MIRNet(config).state_dict()
    few = {name: state[name] for name in list(state)[:3]}
    ours = {"format": FORMAT, "format_version": FORMAT_VERSION, "config": config.to_dict(), "network": state}
    for content in (ours, {"params_ema": few, "epoch": 3, "lr": 1e-4}, few):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            yield file.getvalue()
    yield save({name: value.contiguous() for name, value in state.items()})
    yield save(few)


_MAKERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "png": pngs,
    "jpg": jpegs,
    "webp": webps,
    "bmp": bmps,
    "tiff": tiffs,
    "bands": tiffs,
    "heic": lambda: of_kind("heic"),
    "avif": lambda: of_kind("avif"),
    "jxl": lambda: of_kind("jxl"),
    "raw": raws,
    "icc": icc_profiles,
    "xmp": packets,
    "record": records,
    "sidecar": sidecars,
    "onnx": onnx_files,
    "checkpoint": checkpoints,
    "commands": lambda: iter(
        [b"enhance in.png", b"info a.onnx", b"weights a.pt b.pt", b"train nowhere", b"export a.pt"]
    ),
}


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """The seeds of a target of `fuzz_targets`."""
    return tuple(_MAKERS[target]())


def mutated(rng: random.Random, files: Sequence[bytes]) -> bytes:
    """One of the files, damaged in one to six ways."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_MUTATIONS)(rng, data, files)
    return _repaired(bytes(data)) if rng.random() < 0.7 else bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """Every second time in the beginning, where most formats keep what decides."""
    return rng.randrange(1 + min(len(data), rng.choice((300, len(data)))))


def _flip(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _count in range(rng.choice((1, 2, 8))):
        if data:
            data[min(_place(rng, data), len(data) - 1)] ^= 1 << rng.randrange(8)


def _run(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Some bytes again and again, or one value, over what was there or before it."""
    at = _place(rng, data)
    piece = bytes(data[at : at + rng.randrange(1, 17)]) if rng.random() < 0.5 else bytes([rng.choice((0, 255, 10, 91))])
    filling = piece * rng.choice((1, 2, 10, 3000))
    data[at : at + rng.choice((0, len(filling)))] = filling[:20_000]


def _cut(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : rng.choice((len(data), at + rng.randrange(1, 65)))]


def _splice(rng: random.Random, data: bytearray, files: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(files))
    first, second = _place(rng, other), _place(rng, other)
    at = _place(rng, data)
    data[at : rng.choice((len(data), at + abs(second - first)))] = other[min(first, second) : max(first, second)]


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """What may be a length, an offset or a count becomes an odd one."""
    width = rng.choice((1, 2, 4, 4, 8))
    at = _place(rng, data) // (1 if rng.random() < 0.5 else width) * width
    value = rng.choice((0, 1, -1, 2 ** (8 * width - 1), 2**31, 2**32 - 1, len(data), rng.randrange(256)))
    if at + width <= len(data):
        data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, rng.choice(("little", "big")))


_MUTATIONS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _run, _cut, _splice, _number, _number,
)  # fmt: skip


def _repaired(data: bytes) -> bytes:
    """A PNG with true checksums, as far as its chunks can be followed; other data as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            break
        out[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out)
