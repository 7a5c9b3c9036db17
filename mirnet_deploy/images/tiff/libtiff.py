"""What Pillow's libtiff says of the strips that it decodes. By itself it prints it, and in fax codes goes on: its words
are then the only sign of damage."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import _imaging

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""TIFFErrorHandler (libtiff, tiffio.h): a name, a format and its values, a va_list."""
_thread = threading.local()


@contextmanager
def errors_of_libtiff() -> Iterator[list[str]]:
    """A block whose errors in libtiff go into the list, as formats without values, instead of to standard error.

    Only those of the calling thread: other threads' are handled as before. Where libtiff cannot be found, since it is
    one with Pillow, the list stays empty.
    """
    _listen()
    _thread.said = []
    try:
        yield _thread.said
    finally:
        _thread.said = None


@cache
def _listen() -> tuple[Any, Any]:
    """Puts our handler before the one of the process; both, which must live as long as libtiff."""
    try:
        install = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError):
        return None, None
    install.argtypes, install.restype = [_Handler], _Handler
    before: Any = None

    def handle(name: bytes, text: bytes, values: int) -> None:
        said = getattr(_thread, "said", None)
        if said is not None:
            said.append(text.decode("latin-1"))
        elif before:
            before(name, text, values)

    ours = _Handler(handle)
    before = install(ours)
    return ours, before
