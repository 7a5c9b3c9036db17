"""JPEGs of more than 8 bits a sample, which Pillow does not read: by imagecodecs (libjpeg-turbo).

Source: ITU-T T.81, table B.2: 12 bits where samples are coded by the cosine transform, 2 to 16 where they are lossless.
"""

from __future__ import annotations

import numpy as np

from mirnet_deploy.errors import ImageError, extra_module
from mirnet_deploy.images.jpeg_metadata import Frame
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.samples import to_16_bit


def decode_deep_jpeg(data: bytes, frame: Frame) -> Samples:
    """The pixels, uint16 [H,W,3] RGB or [H,W] grey, C-contiguous.

    Raises:
        ImageError: the data is damaged; the message does not name the file.
        MissingDependencyError: imagecodecs is not installed.
        RuntimeError: what libjpeg says of damaged data.
    """
    library = extra_module("imagecodecs", f"a JPEG of {frame.bits} bits a sample needs imagecodecs", "large")
    space = "grayscale" if frame.channels == 1 else "rgb"
    try:
        samples = np.asarray(library.jpeg8_decode(data, outcolorspace=space))
    except RuntimeError as error:
        if "color conversion" in str(error):
            raise ImageError("is a lossless JPEG of YCbCr colours, which is not read; save it as PNG") from error
        raise
    shape = (frame.height, frame.width, 3)[: 2 if frame.channels == 1 else 3]
    if samples.shape != shape or samples.dtype != np.uint16:
        raise ImageError("is damaged: the JPEG's pixels are not those that its header announces")
    return to_16_bit(samples, frame.bits) if frame.bits < 16 else np.ascontiguousarray(samples)
