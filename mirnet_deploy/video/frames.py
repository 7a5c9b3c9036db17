"""Enhances the frames of a video, several at once, and gives the results in order."""

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
"""[K]: the K means of a frame less those of its thumbnail."""
Made = TypeVar("Made")
"""A frame's result."""


def enhance_in_order(
    frames: Iterable[Buffer],
    enhance: Callable[[Buffer, Defect | None], tuple[Made, Defect | None]],
    in_flight: int,
) -> Iterator[Made]:
    """Yields the results of `frames` in order, with at most `in_flight` of them under way, each in a thread of its own.

    A frame starts from the defect of the frame `in_flight` before it or, where that is not of the same scene, of the
    first frame of its scene. That first frame has nothing to start from, and the others of the scene wait for it. So
    the same video gives the same results, however the threads take turns.

    Args:
        frames: [H,W,3] each; the next one is asked for only when fewer than `in_flight` are under way.
        enhance: enhances a frame, from the defect of an earlier frame of its scene, or from None for the first one.
            Returns the result and the frame's own defect, which is None where no means were shared.
        in_flight: at least 1.

    Raises:
        Exception: what `enhance` raises for a frame, in the place of its result; no frame follows.
    """
    cuts, scene = SceneCuts(), 0
    under_way: deque[tuple[Future[tuple[Made, Defect | None]], int]] = deque()
    first: Future[tuple[Made, Defect | None]] | None = None
    """The first frame of the scene, until its defect is known."""
    found: Defect | None = None
    """The defect that the next frame of the scene starts from."""
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
            if len(under_way) == in_flight:  # before the next frame, which may depend on this result, is asked for
                done, its_scene = under_way.popleft()
                made, defect = done.result()
                if its_scene == scene:
                    found, first = defect, None
                yield made
        while under_way:
            yield under_way.popleft()[0].result()[0]
    finally:
        # Waits, also where the caller stops early: a frame that has begun reads the caller's memory until it is done.
        executor.shutdown(cancel_futures=True)


def _cut(cuts: SceneCuts, frame: Buffer) -> bool:
    """Whether `frame` begins a scene. One that is not a picture does; `enhance` then raises its error in its place."""
    try:
        picture = as_array(frame)
        check_picture(picture, "float")
    except ImageError:
        return True
    return cuts.before(picture)
