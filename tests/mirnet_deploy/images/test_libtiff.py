"""What libtiff finds wrong is an error of ours, also where it goes on, and nothing that is printed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from small_files import pillow

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.tiff.libtiff import _listen

pytestmark = pytest.mark.skipif(not _listen()[0], reason="libtiff is one with Pillow here")
PIXELS = np.random.default_rng(4).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def damaged(whole: bytes, codes: bytes = b"\xff") -> bytes:
    """With other codes in its only strip, which mean nothing: eight zeros and a one in fax, an unknown one in LZW."""
    data = bytearray(whole)
    (start,) = TiffImagePlugin.TiffImageFile(io.BytesIO(whole)).tag_v2[273]
    data[start + 4 : start + 44] = (codes * 40)[:40]
    return bytes(data)


@pytest.mark.parametrize("compression", ["tiff_lzw", "group4", "jpeg", "lzma"])
def test_damage_is_told_once(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    fax = compression == "group4"
    whole = pillow(PIXELS[..., 0] > 127 if fax else PIXELS, "TIFF", compression=compression)
    decode_image(whole, "whole", max_pixels=10**6)
    with pytest.raises(ImageError, match=r"^a is (damaged|truncated)"):
        decode_image(damaged(whole, b"\0\x80" if fax else b"\xff"), "a", max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


def test_what_other_programs_meet_is_printed_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    data = damaged(pillow(PIXELS, "TIFF", compression="tiff_lzw"))
    with pytest.raises(ImageError):
        decode_image(data, "a", max_pixels=10**6)
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(data)).load()
    assert "code not yet in table" in capfd.readouterr().err
