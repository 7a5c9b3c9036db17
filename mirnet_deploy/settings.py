"""What a user may ask of a runtime, checked before anything is loaded."""

from __future__ import annotations

from typing import get_args

from mirnet_deploy.consistency import Consistency
from mirnet_deploy.errors import UsageError
from mirnet_deploy.limits import TileSetting
from mirnet_deploy.metadata import ChannelOrder


def check_settings(
    tile: TileSetting,
    batch: int,
    channel_order: ChannelOrder,
    max_memory: int | None,
    consistency: Consistency,
    tolerance: float,
) -> None:
    """Checks the types and ranges of what `MIRNetRuntime` takes.

    Raises:
        UsageError: a setting is not a value it can have.
    """
    if tile not in ("auto", "none") and (type(tile) is not int or tile < 1):
        raise UsageError(f"tile is {tile!r}; expected 'auto', 'none' or a whole number of pixels")
    if type(batch) is not int or batch < 1:
        raise UsageError(f"batch is {batch!r}; expected a whole number from 1")
    if channel_order not in get_args(ChannelOrder):
        raise UsageError(f"channel_order is {channel_order!r}; expected {' or '.join(get_args(ChannelOrder))}")
    if max_memory is not None and max_memory < 1:
        raise UsageError(f"max_memory is {max_memory}; expected a number of bytes, at least 1")
    if consistency not in get_args(Consistency):
        raise UsageError(f"consistency is {consistency!r}; expected {', '.join(get_args(Consistency))}")
    if not 0 < tolerance < float("inf"):
        raise UsageError(f"tolerance is {tolerance!r}; expected a PSNR in dB, above 0")
