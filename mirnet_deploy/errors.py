"""The exceptions of mirnet-deploy. They have one root, so that a caller can catch them all and the CLI can print a line
for each."""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module
from typing import Any


class MirnetDeployError(Exception):
    """Root of every error that mirnet-deploy raises on purpose.

    Its text is one line that names the thing, its value, what was expected and what to do. Control characters in it,
    which come from files and from their names, are escaped.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(MirnetDeployError):
    """A setting is out of range or contradicts another one (the CLI exits with 2)."""


class MissingDependencyError(MirnetDeployError):
    """An optional library is not installed; the text says which extra brings it."""


class ImageError(MirnetDeployError):
    """A picture cannot be read, written or enhanced as it is."""


class ArtifactError(MirnetDeployError):
    """An ONNX file, a plan or a sidecar is damaged, foreign or does not belong together."""


class EngineError(MirnetDeployError):
    """An inference library or a device refuses, or is not the one that was asked for."""


class DeviceMemoryError(EngineError):
    """A device has too little memory for what was asked of it."""


class StorageError(MirnetDeployError):
    """An object store refuses, or cannot be reached."""


class ClusterError(MirnetDeployError):
    """A Ray cluster cannot be reached, lacks what was asked for, or its machines are not alike."""


class CheckpointError(MirnetDeployError):
    """A checkpoint is damaged or does not hold a MIRNet."""


class DataError(MirnetDeployError):
    """A data folder does not hold the pairs that were asked for."""


class TrainingError(MirnetDeployError):
    """A training run cannot start or go on."""


class ExportError(MirnetDeployError):
    """An export step failed or missed its bound; nothing of that step was saved."""


_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""Control characters and the ends of lines, by number -> as they stand in a line."""


def one_line(text: str) -> str:
    """The text with its control characters escaped, so that it is one line and does nothing to a terminal.

    >>> one_line("a\\nb.png"), one_line("\\x1b[2J")
    ('a\\\\nb.png', '\\\\x1b[2J')
    """
    return text.translate(_ESCAPED)


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, or its type's name: for errors of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def telling(value: float, bound: float, digits: int = 3) -> str:
    """A number that misses a bound, in as many significant digits as tell it from the bound, at least `digits`.

    >>> telling(49.96, 50), telling(1.0000001, 1), telling(32.123, 50), telling(0.0000123, 50)
    ('49.96', '1.0000001', '32.1', '0.00')
    """
    if 0 < abs(value) < 1e-4 * abs(bound):
        return f"{value:.2f}"
    for count in range(digits, 18):
        text = f"{value:.{count}g}"
        if float(text) != bound:
            return text
    return repr(value)


def not_loaded(error: ImportError) -> str:
    """One line on a library that cannot be imported: its text's last line, which names the cause (numpy's has 20)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"a library cannot be loaded: {lines[-1] if lines else type(error).__name__}"


def missing(what: str, error: ImportError, extra: str) -> MissingDependencyError:
    """Makes an error from an import that failed; it names the remedy only where the library is not there.

    Args:
        what: "WHO needs WHAT".
        extra: of mirnet-deploy, which brings the library.
    """
    if isinstance(error, ModuleNotFoundError):
        return MissingDependencyError(f'{what} ({first_line(error)}): pip install "mirnet-deploy[{extra}]"')
    return MissingDependencyError(f"{what}, and {not_loaded(error)}")


def extra_module(module: str, what: str, extra: str) -> Any:
    """Imports the module of a library that one kind of picture needs; for `what` and `extra` see `missing`.

    Raises:
        MissingDependencyError: it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(what, error, extra) from error


class MirnetDeployWarning(UserWarning):
    """The work goes on, but not as it was asked for; the text is one line."""


class OtherTilesWarning(MirnetDeployWarning):
    """Memory ran out, so a picture was made in other tiles than the settings say: that is another result."""


def warn(text: str, category: type[MirnetDeployWarning] = MirnetDeployWarning) -> None:
    """Issues a warning of `category` that points at the line outside of this package that led to it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "mirnet_deploy":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


_NO_MEMORY = re.compile(r"out ?of ?memory|failed to allocate|bad_?alloc|alloc_failed|smaller than requested", re.I)


def engine_error(what: str, error: BaseException | str) -> EngineError:
    """Makes an error from a message of an inference library, whose words alone tell whether memory ran out.

    Args:
        what: what failed; it comes before the library's first line.
    """
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    reason = error if isinstance(error, str) else first_line(error)
    kind = DeviceMemoryError if _NO_MEMORY.search(text) else EngineError
    return kind(f"{what}: {reason}")
