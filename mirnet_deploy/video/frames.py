"""The frames of a video in order, several of them under way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError
from mirnet_deploy.pixels import Buffer, as_array, check_picture
from mirnet_deploy.video.scene_cuts import SceneCuts

Defect = NDArray[np.float64]
"""[K]: the means of a frame less those of its thumbnail."""
Made = TypeVar("Made")


def enhance_in_order(
    frames: Iterable[Buffer],
    enhance: Callable[[Buffer, Defect | None], tuple[Made, Defect | None]],
    in_flight: int,
) -> Iterator[Made]:
    """Results of `frames`, in order, with `in_flight` of them under way, each in a thread of its own.

    A frame starts from the defect of the last frame that was finished when it began: of the one `in_flight` before it,
    or of the first of its scene. The first of a scene has nothing to start from, and the others of the scene wait for
    it. So the same video gives the same results, however the threads take turns.

    Args:
        enhance: makes a frame with the defect of another one of its scene, None for the first; gives its own.
    """
    cuts, scene = SceneCuts(), 0
    under_way: deque[tuple[Future[tuple[Made, Defect | None]], int]] = deque()
    first: Future[tuple[Made, Defect | None]] | None = None
    """The first frame of the scene, until its defect is known."""
    found: Defect | None = None
    executor = ThreadPoolExecutor(in_flight, "mirnet-frame")
    try:
        for frame in frames:
            if _cut(cuts, frame) or (first and first.exception()):
                scene, found = scene + 1, None
                first = future = executor.submit(enhance, frame, None)
            else:
                if first:
                    found, first = first.result()[1], None
                future = executor.submit(enhance, frame, found)
            under_way.append((future, scene))
            if len(under_way) == in_flight:  # before the next frame is asked for: it may depend on this result
                done, its_scene = under_way.popleft()
                made, defect = done.result()
                if its_scene == scene:
                    found, first = defect, None
                yield made
        while under_way:
            yield under_way.popleft()[0].result()[0]
    finally:
        # Also where the caller wants no more frames: what has begun reads the caller's memory until it ends.
        executor.shutdown(cancel_futures=True)


def _cut(cuts: SceneCuts, frame: Buffer) -> bool:
    """Whether a scene begins. A frame that is not a picture is a scene of its own; its error is raised in its place."""
    try:
        picture = as_array(frame)
        check_picture(picture, "float")
    except ImageError:
        return True
    return cuts.before(picture)
