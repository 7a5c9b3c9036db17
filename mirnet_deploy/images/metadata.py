"""What a file says beside its pixels, and how it is made true of the upright picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PIL import Image

from mirnet_deploy.images.exif import (
    exchange_resolutions,
    is_adobe_rgb,
    reset_orientation,
    resolution_of,
    set_pixel_sizes,
    set_resolution,
    unlink_next,
)
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.ifd import ORIENTATION, read_directory
from mirnet_deploy.images.picture import TRANSPOSED, Picture, Samples
from mirnet_deploy.images.profiles import adobe_rgb_profile, profile_space
from mirnet_deploy.images.xmp import lost_with, upright_xmp, xmp_orientation

EXIF_NAME = b"Exif\0\0"
"""What an EXIF block begins with in a JPEG, and by mistake elsewhere."""

_MOST_LINES = 12
"""Lines on what is lost from one file, at most: a file can be made to lose thousands of texts."""

_DCF_FORMATS: frozenset[Format] = frozenset({"jpg", "heic", "tiff"})
"""Formats of cameras, in which EXIF may be all that tells of Adobe RGB. What is developed from RAW is sRGB."""


@dataclass
class Metadata:
    """As the file has it. The fields are those of `Picture`, before anything is made true of the upright pixels."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def picture(
        self, pixels: Samples, alpha: Samples | None, kind: Format, *, lossless: bool = True, turned: bool = False
    ) -> Picture:
        """The upright picture of decoded samples, with this metadata; `turned` as in `make_true`."""
        height, width = pixels.shape[:2]
        orientation = self.make_true(width, height, kind, grey=pixels.ndim == 2, turned=turned)
        picture = Picture(pixels, alpha, icc=self.icc, format=kind, lossless=lossless).upright(orientation)
        return replace(
            picture,
            exif=self.exif,
            xmp=self.xmp,
            iptc=self.iptc,
            resolution=self.resolution,
            texts=tuple(self.texts),
            lost=tuple(self.lost),
        )

    def make_true(self, width: int, height: int, kind: Format, *, grey: bool, turned: bool = False) -> int:
        """Makes all of it true of the upright picture.

        Damaged parts harm no pixel: they are dropped, with a line in `lost`. An orientation that stands in XMP alone
        turns nothing, as in browsers; that it is gone is told. Where the file states a resolution beside EXIF's, that
        is the one that viewers use, and EXIF's becomes the same; else EXIF's counts.

        Args:
            width: in pixels, as stored; so is `height`.
            kind: the format of the file.
            grey: whether the pixels have one channel.
            turned: whether the pixels are upright as they are, whatever EXIF's orientation says.

        Returns:
            The orientation by which the pixels are to be turned.
        """
        orientation, told = self._take_exif()
        if turned:
            orientation = 1
        if self.icc and not profile_space(self.icc):
            self._lose("its colour profile is damaged and is left out")
            self.icc = None
        if self.exif:
            if not self.icc and kind in _DCF_FORMATS and is_adobe_rgb(self.exif):
                self.icc = adobe_rgb_profile(grey=grey)
            self.resolution = self.resolution or resolution_of(self.exif)
            if self.resolution:
                self.exif = set_resolution(self.exif, self.resolution)
        if orientation in TRANSPOSED:
            width, height = height, width
            self.resolution = self.resolution and self.resolution[::-1]
            self.exif = self.exif and exchange_resolutions(self.exif)
        self.exif = set_pixel_sizes(self.exif, width, height) if self.exif else None
        self.xmp = self._true_xmp(width, height, told=told)
        self.iptc = self.iptc or None
        self.lost = list(dict.fromkeys(self.lost))
        if len(self.lost) > _MOST_LINES:
            self.lost[_MOST_LINES:] = [f"{len(self.lost) - _MOST_LINES} more parts of it are lost"]
        return orientation

    def _lose(self, *lines: str) -> None:
        self.lost += lines

    def _take_exif(self) -> tuple[int, bool]:
        """Gives the EXIF block orientation 1 and takes its thumbnail away; the orientation that it had, and whether it
        told one."""
        if not self.exif:
            self.exif = None
            return 1, False
        block = self.exif.removeprefix(EXIF_NAME)
        try:
            told = ORIENTATION in read_directory(block).fields
            block, orientation = reset_orientation(block)
            self.exif = unlink_next(block)
            return orientation, told
        except ValueError:
            self._lose("its EXIF is damaged and is left out")
            self.exif = None
            return _lenient_orientation(block), True

    def _true_xmp(self, width: int, height: int, *, told: bool) -> bytes | None:
        """The packet of the upright picture; `told` says whether EXIF gave an orientation."""
        if not self.xmp:
            return None
        try:
            if not told and (claimed := xmp_orientation(self.xmp)) != 1:
                self._lose(f"orientation {claimed} stands in its XMP alone, and is not applied; it becomes 1")
            true = upright_xmp(self.xmp, width, height)
            self._lose(*lost_with(self.xmp))
        except ValueError as error:
            self._lose(f"{error}, and is left out")
            return None
        return true


def _lenient_orientation(block: bytes) -> int:
    """The orientation in a damaged EXIF block where Pillow, which is lenient as viewers are, can find it; else 1."""
    exif = Image.Exif()
    try:
        exif.load(EXIF_NAME + block)
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # damaged bytes make Pillow raise nearly anything
        return 1
    return orientation if isinstance(orientation, int) else 1
