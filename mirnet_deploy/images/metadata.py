"""What a file says beside its pixels, and how it is made true of the upright picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PIL import Image

from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.ifd import ORIENTATION, read_directory, reset_orientation, set_pixel_sizes, unlink_next
from mirnet_deploy.images.picture import Picture, Samples
from mirnet_deploy.images.profiles import profile_space
from mirnet_deploy.images.xmp import lost_with, upright_xmp, xmp_orientation

EXIF_NAME = b"Exif\0\0"
"""What an EXIF block begins with in a JPEG, and by mistake elsewhere."""

_MOST_LINES = 12
"""Lines on what is lost from one file, at most: a file can be made to lose thousands of texts."""


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

    def picture(self, pixels: Samples, alpha: Samples | None, kind: Format, *, lossless: bool = True) -> Picture:
        """The upright picture of decoded samples, with this metadata.

        Damaged EXIF and XMP harm no pixel: they are dropped, with a line in `Picture.lost`. An orientation that stands
        in XMP alone turns nothing, as in browsers; that it is gone is told.
        """
        exif, orientation, told = self._exif()
        if self.icc and not profile_space(self.icc):
            self._lose("its colour profile is damaged and is left out")
            self.icc = None
        picture = Picture(pixels, alpha, icc=self.icc, format=kind, lossless=lossless, resolution=self.resolution)
        picture = picture.upright(orientation)
        if exif:
            exif = set_pixel_sizes(exif, picture.width, picture.height)
        xmp = None
        if self.xmp:
            try:
                if not told and (claimed := xmp_orientation(self.xmp)) != 1:
                    self._lose(f"orientation {claimed} stands in its XMP alone, and is not applied; it becomes 1")
                xmp = upright_xmp(self.xmp, picture.width, picture.height)
                self._lose(*lost_with(self.xmp))
            except ValueError as error:
                self._lose(f"{error}, and is left out")
        lost = list(dict.fromkeys(self.lost))
        if len(lost) > _MOST_LINES:
            lost[_MOST_LINES:] = [f"{len(lost) - _MOST_LINES} more parts of it are lost"]
        return replace(picture, exif=exif, xmp=xmp, iptc=self.iptc or None, texts=tuple(self.texts), lost=tuple(lost))

    def _lose(self, *lines: str) -> None:
        self.lost += lines

    def _exif(self) -> tuple[bytes | None, int, bool]:
        """The EXIF block with orientation 1 and no thumbnail, the orientation that it had, and whether it told one."""
        if not self.exif:
            return None, 1, False
        block = self.exif.removeprefix(EXIF_NAME)
        try:
            told = ORIENTATION in read_directory(block).fields
            block, orientation = reset_orientation(block)
            return unlink_next(block), orientation, told
        except ValueError:
            self._lose("its EXIF is damaged and is left out")
            return None, _lenient_orientation(block), True


def _lenient_orientation(block: bytes) -> int:
    """The orientation in a damaged EXIF block where Pillow, which is lenient as viewers are, can find it; else 1."""
    exif = Image.Exif()
    try:
        exif.load(EXIF_NAME + block)
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # damaged bytes make Pillow raise nearly anything
        return 1
    return orientation if isinstance(orientation, int) else 1
