"""HEIC and AVIF: samples of every depth come back, the boxes are followed, and what cannot be kept is told."""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pictures import USUAL, errors_of_damaged
from PIL import Image, ImageCms
from small_files import exif

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import Picture
from mirnet_deploy.images.boxes.picture import turned
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.ifd import ORIENTATION, read_directory
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.profiles import CURVES, PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.samples import to_16_bit
from mirnet_deploy.images.writing import check_encodable, encode_image, holds_profile, unkept

pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="the extra large is not installed")
if not hasattr(cv2, "imencodeWithMetadata"):
    pytest.skip("the extra avif is not installed: OpenCV is older than 4.13", allow_module_level=True)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""An EXIF block with orientation 6."""
NOISE = np.random.default_rng(5).integers(0, 1 << 12, (38, 46, 4), dtype=np.uint16)
EIGHT = (NOISE >> 4).astype(np.uint8)
BIG_ENOUGH = 10**6


def decode(data: bytes, name: str = "a") -> Picture:
    return decode_image(data, name, max_pixels=BIG_ENOUGH)


def samples(bits: int, *, grey: bool, alpha: bool) -> tuple[Samples, Samples | None]:
    values = EIGHT if bits == 8 else to_16_bit(NOISE >> (12 - bits), bits)
    pixels = values[..., 0] if grey else values[..., :3]
    return np.ascontiguousarray(pixels), values[..., 3].copy() if alpha else None


def heic(values: Samples = EIGHT[..., :3], **options: object) -> bytes:
    mode = {2: "L", 3: "RGB"}[values.ndim]
    file = io.BytesIO()
    made = pillow_heif.from_bytes(mode, values.shape[1::-1], values.tobytes())
    made.save(file, **{"quality": -1, "chroma": 444, "matrix_coefficients": 0, **options})
    return file.getvalue()


def avif(values: Samples = EIGHT[..., :3], **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "AVIF", **{"quality": 100, "subsampling": "4:4:4", **options})
    return file.getvalue()


@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_returns_every_bit_of_every_depth(kind: Format, bits: int, grey: bool, alpha: bool) -> None:
    pixels, transparency = samples(bits, grey=grey, alpha=alpha)
    depth = bits if bits > 8 else None
    picture = Picture(pixels, transparency, b"II*\0\x08" + bytes(9), None if grey else ICC, kind, xmp=XMP, depth=depth)
    again = decode(encode_image(picture, kind, **USUAL))
    if kind == "avif" and grey and alpha:  # written in colours
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(again.alpha, transparency)
    assert (again.exif, again.icc, again.xmp) == (picture.exif, picture.icc, XMP)
    assert (again.depth, again.format, again.lost) == (depth, kind, ())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 10])
def test_exif_of_an_avif_keeps_its_bytes_beside_an_orientation(order: str, bits: int) -> None:
    # The maker's notes point into the block by themselves, and the copyright is in UTF-8.
    inner = exif((37500, 7, 24, b"NOTE" + struct.pack(f"{order}I", 200) + b"maker's notes..."), order=order)
    copyright_text = "© Straße\0".encode()
    fields = [(271, 2, 6, b"Maker\0"), (33432, 2, len(copyright_text), copyright_text)]
    turned_field = (274, 3, 1, struct.pack(f"{order}H", 1))
    block = exif(*fields, turned_field, (34665, 4, 1, struct.pack(f"{order}I", 300)), order=order)
    block = block.ljust(300, b"\0") + inner[8:]
    again = decode(encode_image(Picture(*samples(bits, grey=False, alpha=False), block), "avif", **USUAL)).exif
    assert again
    assert len(again) == len(block)
    before, after = read_directory(block), read_directory(again)
    assert {**after.fields, 274: None}.keys() == before.fields.keys()
    for tag, (kind, count, place) in before.fields.items():
        if tag in (271, 33432):  # values that lie outside of the directory: where they lay
            assert after.fields[tag] == (kind, count, place)
    end = 8 + 2 + 12 * 4 + 4
    assert again[end:] == block[end:]
    assert after.integer(34665, 0) == 300
    assert (274 in after.fields) == (bits == 10)
    assert after.next == 0


def test_a_grey_profile_is_not_put_on_an_avif_of_three_channels() -> None:
    icc = grey_profile((2.2,), "grey")
    for grey, alpha, held in ((True, False, True), (True, True, False), (False, False, False)):
        for bits in (8, 10):
            picture = Picture(*samples(bits, grey=grey, alpha=alpha), icc=icc, format="avif")
            assert holds_profile(picture, "avif") == held
            assert decode(encode_image(picture, "avif", **USUAL)).icc == (icc if held else None)
            line = "its grey ICC profile is lost, since an AVIF of three channels holds those of RGB alone"
            assert unkept(picture, "avif") == ([] if held else [line])


def test_ten_bits_of_other_programs_are_not_cut_to_eight() -> None:
    ten = NOISE[..., :3] >> 2
    data = imagecodecs.avif_encode(ten, level=100, bitspersample=10, pixelformat="444", matrix=0)
    picture = decode(data)
    np.testing.assert_array_equal(picture.pixels, to_16_bit(ten, 10))
    assert picture.pixels.max() == 65535
    file = io.BytesIO()
    made = pillow_heif.from_bytes("RGB;10", (46, 38), np.ascontiguousarray(ten).tobytes())
    made.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    np.testing.assert_array_equal(decode(file.getvalue()).pixels, to_16_bit(ten, 10))


@pytest.mark.parametrize("bits", [8, 10])
def test_grey_with_alpha_of_avif_is_read_although_opencv_does_not(bits: int) -> None:
    values = np.ascontiguousarray(NOISE[..., :2] >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    picture = decode(imagecodecs.avif_encode(values, level=100, bitspersample=bits, pixelformat="400"))
    wanted = values if bits == 8 else to_16_bit(values, bits)
    np.testing.assert_array_equal(picture.pixels, wanted[..., 0])
    np.testing.assert_array_equal(picture.alpha, wanted[..., 1])


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_what_was_lossless_stays_so_and_what_was_not_keeps_its_quality(kind: Format) -> None:
    source = decode(encode_image(Picture(EIGHT[..., :3].copy(), format=kind), kind, **USUAL))
    assert source.lossless
    np.testing.assert_array_equal(decode(encode_image(source, kind, **USUAL)).pixels, EIGHT[..., :3])
    smooth = np.asarray(Image.fromarray(EIGHT[:6, :6, :3]).resize((160, 120), Image.Resampling.BICUBIC))
    lossy = {quality: encode_image(Picture(smooth), kind, **{**USUAL, "quality": quality}) for quality in (40, 95)}
    assert len(lossy[40]) < len(lossy[95])
    close = decode(lossy[95])
    assert not close.lossless
    assert np.sqrt(np.mean((close.pixels - smooth.astype(float)) ** 2)) < 3  # full resolution of colour, too
    quarter = encode_image(Picture(smooth), kind, **{**USUAL, "subsampling": "4:2:0"})
    assert len(quarter) != len(lossy[95])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_file_says_how_it_is_turned_and_exif_is_not_followed_too(orientation: int) -> None:
    exif = TURNED.replace(b"\0\x06\0\0\0\0\0\0", bytes([0, orientation]) + bytes(6))
    wanted = Picture(EIGHT[..., :3].copy()).upright(orientation).pixels
    for data in (avif(exif=exif), heic(exif=exif)):
        picture = decode(data)
        assert picture.pixels.shape == wanted.shape
        assert np.abs(picture.pixels.astype(int) - wanted).max() <= 4  # 4:4:4, but not quite lossless
        if b"ftypheic" in data:  # Pillow leaves EXIF out of an AVIF where nothing else stands in it
            assert picture.exif
            assert read_directory(picture.exif).integer(ORIENTATION, 0) == 1
    # Where the file has no property, EXIF's orientation turns nothing.
    upright, field = TURNED.replace(b"\0\x06", b"\0\x01"), b"\x01\x12\0\x03\0\0\0\x01\0"
    data = heic(exif=upright).replace(field + b"\x01", field + bytes([orientation]))
    np.testing.assert_array_equal(decode(data).pixels, EIGHT[..., :3])


def test_a_clean_aperture_is_cut_out() -> None:
    # libheif writes a HEIC of less than 64 pixels a side as one of 64, and cuts it.
    assert b"clap" in heic()
    np.testing.assert_array_equal(decode(heic()).pixels, EIGHT[..., :3])
    # The centre of 20x10 lies 3 left of and 2 below the centre of 46x38: columns 10 to 29, rows 16 to 25.
    body = b"".join(number.to_bytes(4, "big", signed=True) for number in (20, 1, 10, 1, -3, 1, 2, 1))
    np.testing.assert_array_equal(turned(EIGHT, ((b"clap", body),)), EIGHT[16:26, 10:30])
    with pytest.raises(ImageError, match="beyond the picture"):
        turned(EIGHT, ((b"clap", body[:16] + (30).to_bytes(4, "big") + body[20:]),))


def test_hdr_is_refused_and_other_colours_by_code_become_a_profile() -> None:
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        codes = {"color_primaries": 9, "transfer_characteristics": transfer, "matrix_coefficients": 9}
        with pytest.raises(ImageError, match=rf"^a\.x is an HDR picture \({name}\)"):
            decode(heic(full_range_flag=1, **codes), "a.x")
        data = imagecodecs.avif_encode(NOISE[..., :3] >> 2, bitspersample=10, primaries=9, transfer=transfer, matrix=9)
        with pytest.raises(ImageError, match=rf"^a\.x is an HDR picture \({name}\)"):
            decode(data, "a.x")
    p3 = rgb_profile(PRIMARIES[12], [CURVES[13]] * 3, "H.273 12/13")
    codes = {"color_primaries": 12, "transfer_characteristics": 13, "full_range_flag": 1}
    picture = decode(heic(**codes))
    assert (picture.icc, picture.lost) == (p3, ())
    np.testing.assert_array_equal(picture.pixels, EIGHT[..., :3])
    data = imagecodecs.avif_encode(
        EIGHT[..., :3].copy(), level=100, pixelformat="444", primaries=12, transfer=13, matrix=0
    )
    assert decode(data).icc == p3
    assert decode(avif()).icc is None


def test_sequences_are_refused_and_of_several_pictures_the_first_is_read() -> None:
    frames = [Image.fromarray(EIGHT[..., :3]), Image.fromarray(255 - EIGHT[..., :3])]
    file = io.BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"^a\.x is animated or has several pages"):
        decode(file.getvalue(), "a.x")
    burst = pillow_heif.HeifFile()
    for frame in frames:
        burst.add_from_pillow(frame)
    file = io.BytesIO()
    burst.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    picture = decode(file.getvalue())
    np.testing.assert_array_equal(picture.pixels, EIGHT[..., :3])
    assert picture.lost == ("1 more picture is in the file, and lost",)


def test_a_grid_is_one_picture() -> None:
    values = np.random.default_rng(2).integers(0, 256, (130, 200, 3), dtype=np.uint8)
    data = heic(values, tile_size=64)
    if b"grid" not in data:
        pytest.skip("this pillow-heif writes no grids")
    picture = decode(data)
    np.testing.assert_array_equal(picture.pixels, values)
    assert picture.lost == ()


@pytest.mark.parametrize(
    ("urn", "name"),
    [
        (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", "depth map"),
        (b"urn:com:apple:photo:2020:aux:hdrgainmap\0\0\0\0", "gain map"),
    ],
)
def test_depth_and_gain_maps_are_told(urn: bytes, name: str) -> None:
    picture = Picture(EIGHT[..., :3].copy(), EIGHT[..., 3].copy(), format="avif")
    data = encode_image(picture, "avif", **USUAL)
    alpha = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
    assert len(urn) == len(alpha)
    assert data.count(alpha) == 1
    assert decode(data.replace(alpha, urn)).lost == (f"its {name} is lost",)
    assert decode(data).lost == ()


@pytest.mark.parametrize("make", [heic, avif])
def test_cut_and_damaged_files_give_one_line(make, capfd: pytest.CaptureFixture[str]) -> None:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_INFO)
    data = make(exif=TURNED)
    lengths = {*range(1, 40), *np.linspace(40, len(data) - 1, 60, dtype=int).tolist()}
    for length in sorted(lengths):
        with pytest.raises(ImageError, match=r"^cut\.x ") as caught:
            decode(data[:length], "cut.x")
        assert "\n" not in str(caught.value)
    # As long as the head is whole, it is told that the file is cut short.
    with pytest.raises(ImageError, match="is truncated"):
        decode(data[:-1])
    errors = errors_of_damaged(decode, data, (4, 500), 3)
    assert errors
    assert not [error for error in errors if "\n" in error]
    assert capfd.readouterr() == ("", "")
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_INFO


@pytest.mark.parametrize("make", [heic, avif])
def test_the_size_is_checked_before_decoding_and_bytes_behind_the_end_are_ignored(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(np.random.default_rng(2).integers(0, 256, (70, 80, 3), dtype=np.uint8))
    wanted = decode(data).pixels
    np.testing.assert_array_equal(decode(data + b"behind the end\xff\xd8").pixels, wanted)
    decode_image(data, "fits", max_pixels=80 * 70)

    def no_decoding(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", no_decoding)
    monkeypatch.setattr(pillow_heif, "open_heif", no_decoding)
    with pytest.raises(ImageError, match=r"big is 80x70, .* \(--max-pixels\)"):
        decode_image(data, "big", max_pixels=80 * 70 - 1)


def test_a_missing_library_is_named_for_reading_and_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"heic": heic(), "avif": avif()}
    picture = Picture(EIGHT[..., :3].copy())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(cv2, "__version__", "4.12.0")
    for kind, data in files.items():
        with pytest.raises(
            MissingDependencyError, match=rf'^a\.x: .*: pip install "mirnet-deploy\[{kind[:3]}'
        ) as caught:
            decode(data, "a.x")
        assert str(caught.value).endswith(f'"mirnet-deploy[{"heif" if kind == "heic" else kind}]"')
        with pytest.raises(MissingDependencyError, match="pip install"):
            check_encodable(picture, kind, allow_8_bit=False)


def test_a_deep_picture_becomes_twelve_bits() -> None:
    deep = Picture(to_16_bit(NOISE[..., :3], 12), format="heic")
    for kind in ("heic", "avif"):
        again = decode(encode_image(replace(deep, format=kind), kind, **USUAL))
        assert again.depth == 12
        np.testing.assert_array_equal(again.pixels, deep.pixels)


def test_an_orientation_within_xmp_that_is_not_the_pictures_turns_nothing() -> None:
    """As of a picture that it was made from. pillow-heif takes the first that it finds by its name."""
    other = b'<tiff:Orientation xmlns:tiff="x">6</tiff:Orientation><a xmlns:tiff="x" tiff:Orientation="6"/>'
    packet = XMP.replace(b"/></x", b">" + other + b"</rdf:RDF></x")
    assert packet != XMP
    for block in (None, b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x01\0\0\0\0"):  # as a LONG
        again = decode(
            encode_image(Picture(EIGHT[..., :3].copy(), exif=block, format="heic", xmp=packet), "heic", **USUAL)
        )
        np.testing.assert_array_equal(again.pixels, EIGHT[..., :3])
        assert (again.exif, again.xmp) == (block, packet)


def test_the_name_of_an_unknown_auxiliary_picture_is_told_in_a_line() -> None:
    data = encode_image(Picture(EIGHT[..., :3].copy(), EIGHT[..., 3].copy(), format="heic"), "heic", **USUAL)
    urn = b"urn:mpeg:hevc:2015:auxid:1"
    assert urn in data
    assert decode(data.replace(urn, urn[:-8] + b"\n\x1b[2J\0id")).lost == (
        r"its auxiliary picture (urn:mpeg:hevc:2015\n\x1b[2J) is lost",
    )
