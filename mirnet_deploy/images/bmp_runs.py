"""The run lengths of BMP (BI_RLE8, BI_RLE4). Pillow refuses files that end their rows early or skip pixels.

Source: Microsoft, "Bitmap Compression".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.images.integrity import truncated

_END_OF_ROW, _END, _DELTA = 0, 1, 2


def unpacked_runs(coded: memoryview, width: int, height: int, *, nibbles: bool) -> NDArray[np.uint8]:
    """uint8 [H,W] indices, the first row of the file first; 0 where the file sets none.

    Args:
        nibbles: whether a byte holds two pixels (RLE4).

    Raises:
        ImageError: the data ends before its end is marked; the message does not name the file.
    """
    rows = np.zeros((height, width), np.uint8)
    position, x, y = 0, 0, 0
    while y < height:
        if position + 2 > len(coded):
            if (x, y) == (width, height - 1):  # all pixels are there, only the mark is not
                break
            raise truncated("the BMP ends before its pixels do")
        count, value = coded[position], coded[position + 1]
        position += 2
        if count:
            pair = (value >> 4, value & 15) if nibbles else (value, value)
            run = np.array(pair * ((count + 1) // 2), np.uint8)[:count]
        elif value == _END_OF_ROW:
            x, y = 0, y + 1
            continue
        elif value == _END:
            break
        elif value == _DELTA:
            if position + 2 > len(coded):
                raise truncated("the BMP ends before its pixels do")
            x, y = x + coded[position], y + coded[position + 1]
            position += 2
            continue
        else:
            length = (value + 1) // 2 if nibbles else value
            stored = np.frombuffer(coded[position : position + length], np.uint8)
            if len(stored) < length:
                raise truncated("the BMP ends before its pixels do")
            run = np.stack([stored >> 4, stored & 15], axis=1).ravel()[:value] if nibbles else stored
            position += length + length % 2
        end = min(x + len(run), width)
        rows[y, x:end] = run[: max(0, end - x)]
        x += len(run)
    return rows
