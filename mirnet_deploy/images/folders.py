"""The pictures in a folder: the one walk that all commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mirnet_deploy.images.formats import RAW_SUFFIXES, SUFFIXES

_SUFFIXES = frozenset(SUFFIXES) | RAW_SUFFIXES


def pictures_in(folder: Path, *, recursive: bool, on_error: Callable[[OSError], object]) -> Iterator[Path]:
    """Yields the files in `folder` that have a picture's suffix, in the order of folders and names.

    Hidden files and folders are left out. Links to folders are not followed: they may lead in circles.

    Args:
        recursive: whether to look into the folders below, too.
        on_error: is called with the error for each folder that cannot be read; it may raise.
    """
    for root, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES:
                yield Path(root) / name
