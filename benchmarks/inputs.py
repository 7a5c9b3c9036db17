"""What measurements are made on: sizes, and pictures of real content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import MirnetDeployError, UsageError, first_line

Image = NDArray[np.uint8]
"""A picture: uint8 [H,W,3] RGB."""


@dataclass(frozen=True)
class Size:
    """Width and height of a test picture in pixels.

    Raises:
        UsageError: a side is not positive.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise UsageError(f"size {self} has no pixels; expected WxH such as 600x400")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Reads `WxH`; an upper-case X or a multiplication sign may also stand between the sides.

        >>> Size.parse("600x400")
        Size(width=600, height=400)

        Raises:
            UsageError: the text is something else.
        """
        match = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", text.strip())
        if match is None:
            raise UsageError(f"size {text!r} is not WxH; expected for example 600x400")
        return cls(int(match[1]), int(match[2]))

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


SAMPLE = "samples/crop_a.png"
"""The packaged photograph that `sample_picture` is made of: a crop of 256x256 pixels."""
PICTURE = f"mirnet_deploy/{SAMPLE}, cut or mirrored to the size"
"""What reports say of it."""


def sample_picture(size: Size) -> Image:
    """A dark photograph of any size: a packaged crop, cut, or mirrored as often as needed; C-contiguous.

    It has real content, because a picture of zeros can be faster than any photograph (denormals, sparse paths).
    """
    from PIL import Image as PillowImage

    with files("mirnet_deploy").joinpath(SAMPLE).open("rb") as stream, PillowImage.open(stream) as crop:
        pixels = np.asarray(crop.convert("RGB"))
    return fitted(pixels, size)


def fitted(pixels: Image, size: Size) -> Image:
    """A picture cut to a size, or mirrored as often as it takes; C-contiguous."""
    below, right = max(0, size.height - pixels.shape[0]), max(0, size.width - pixels.shape[1])
    mirrored = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(mirrored[: size.height, : size.width])


def one_line(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters; errors of other libraries carry their type."""
    text = first_line(error)
    return (text if isinstance(error, MirnetDeployError) else f"{type(error).__name__}: {text}")[:300]
