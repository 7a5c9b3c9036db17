"""OpenCV's codecs, without a word of theirs: of damaged data they print lines, which are to be one, ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mirnet_deploy.images.picture import Samples

_lock = threading.Lock()
_inside, _level = 0, 0
"""How many threads are within `silent_opencv`, and the level of messages before the first of them."""


@contextmanager
def silent_opencv() -> Iterator[Any]:
    """Gives the module cv2. Within the block, in any number of threads, it prints nothing."""
    global _inside, _level  # noqa: PLW0603 (so has OpenCV)
    import cv2

    logging = cv2.utils.logging
    with _lock:
        _inside += 1
        if _inside == 1:
            _level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield cv2
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                logging.setLogLevel(_level)


def decode_by_opencv(data: bytes) -> Samples | None:
    """The samples in a file as they are stored, [H,W] or [H,W,C], colours as BGR; None if it cannot be decoded."""
    with silent_opencv() as cv2:
        samples: Samples | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return samples
