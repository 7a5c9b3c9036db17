"""Checkpoint files unpacked: what is in them as plain types and tensors. Nothing stored is ever executed.

The content of a file, not its name, decides how it is read. Pickled files are only ever read by
`torch.load(weights_only=True)`, which imports nothing that a file names. Numbers and arrays of NumPy, and some classes
that training programs keep their settings in, are read by the stand-ins below instead of their namesakes: these call
nothing.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirnet_deploy.artifacts.models import CHECKPOINT_SUFFIXES
from mirnet_deploy.errors import CheckpointError, first_line, missing
from mirnet_deploy.training.foreign import HEAD, foreign, is_safetensors
from mirnet_deploy.training.stored import DESCRIBE, WEIGHTS, expanded

_NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
"""NumPy's codes of the types whose values are read; of any other type only the place is kept."""


_LATER = re.compile(r"Unsupported operand 1(40|49)\b")
"""What torch says of the opcodes SHORT_BINUNICODE and FRAME, of which one comes first in protocols above 3."""


@dataclass(frozen=True)
class Unpacked:
    """The content of a checkpoint file."""

    content: dict[str, Any]
    """Plain types and tensors on the CPU. Of a `.safetensors` file: its tensors, 8 bits expanded to float32."""
    safetensors: bool
    averaged: bool = False
    """Whether a `.safetensors` file of ours says that its weights are averages."""
    describe: dict[str, Any] | None = None
    """The description in a `.safetensors` file of ours."""


def unpack(path: Path) -> Unpacked:
    """Reads a checkpoint file.

    Raises:
        CheckpointError: the file is missing, damaged, something else, or wants to run code; or safetensors is not
            installed. The text says what the file is, and what to do.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is not a file; expected a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)})")
        with path.open("rb") as stream:
            head = stream.read(HEAD)
        if is_safetensors(head):
            return _unpack_safetensors(path)
        other = foreign(path, head)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if other is not None:
        raise CheckpointError(f"{path} {other}")
    content = _load(path)
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a dict of named weights")
    return Unpacked({str(key): value for key, value in content.items()}, safetensors=False)


def _load(path: Path) -> Any:
    """What `torch.save` wrote into a file."""
    try:
        # The warnings are about torch's own changes: they tell a user of the command line nothing.
        with path.open("rb") as stream, warnings.catch_warnings(), torch.serialization.safe_globals(_STAND_INS):
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)  # of a path, the suffix would decide
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} {_refused(path, str(error))}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} does not fit into memory") from error
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise CheckpointError(
            f"{path} is cut short or damaged: {first_line(error)[:200]}; download it again"
        ) from error


def _refused(path: Path, text: str) -> str:
    """What a pickle holds that is not read."""
    names = set(re.findall(r"GLOBAL ([\w.<>]+)", text))
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a file from before torch 1.6, or a damaged one: then the text has told the first name
        pass
    if not names and _LATER.search(text):
        return "is pickled by protocol 4 or 5, which is not read; save it anew in protocol 2 or as .safetensors"
    if not names:
        return f"is damaged, or pickled in a way that is not read: {_cause(text)}; nothing in it was run"
    telling = sorted(names, key=lambda name: (name.startswith(("torch.", "builtins.")), name))
    objects = ", ".join(telling[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if any(name.startswith("torch.nn.") for name in names):
        return (
            f"is a whole pickled module ({objects}), which only the program that made it can open; its code was not "
            "run. Ask for the weights alone, or save them there: torch.save(model.state_dict(), 'weights.pth')"
        )
    return (
        f"holds Python objects beside the weights ({objects}), which are not read, since that can run code; their code "
        "was not run. Ask for a file of the weights alone, such as a .safetensors file"
    )


def _cause(text: str) -> str:
    """The last sentence of torch's explanation, which names the cause, cut off at 200 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "rror: " in line or "Unsupported" in line]
    return (telling or lines or ["no reason given"])[0].rpartition("rror: ")[2][:200]


def _unpack_safetensors(path: Path) -> Unpacked:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(str(missing(f"{path} needs safetensors", error, "export"))) from error
    try:
        with safe_open(path, framework="pt") as stream:
            stored = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
            metadata = stream.metadata() or {}
        describe = json.loads(metadata.get(DESCRIBE, "{}"))
        state = expanded(stored)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file that is cut short or damaged: {first_line(error)}; download it again"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    averaged = metadata.get(WEIGHTS) == "ema"
    return Unpacked(dict(state), True, averaged, describe if isinstance(describe, dict) else {})


class _Type:
    """Stands in for `numpy.dtype`."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) > 1 and state[1] == ">":
            self.order = ">"

    def values(self, data: object) -> NDArray[Any] | None:
        """The numbers in `data`, [N]; None where this is no type of numbers, or `data` has another length."""
        if self.code not in _NUMBERS or not isinstance(data, bytes) or len(data) % int(self.code[1:]):
            return None
        return np.frombuffer(data, self.order + self.code).astype(self.code)


class Array:
    """Stands in for `numpy.ndarray`."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def tensor(self) -> Tensor | None:
        """The numbers as a tensor; None for other arrays and damaged ones."""
        if len(self._state) != 5 or not isinstance(self._state[2], _Type):
            return None
        _, shape, kind, by_columns, data = self._state
        values = kind.values(data)
        if values is None or not isinstance(shape, tuple) or math.prod(shape) != len(values):
            return None
        return torch.from_numpy(values.reshape(shape, order="F" if by_columns else "C"))


class _Left:
    """Stands in for an object whose value is not needed."""

    def __new__(cls, *_: object) -> _Left:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _scalar(kind: object, data: object = None) -> Any:
    """Stands in for `numpy._core.multiarray.scalar`: the number as one of Python."""
    values = kind.values(data) if isinstance(kind, _Type) else None
    return values[0].item() if values is not None and len(values) == 1 else None


def _dictionary(*_: object) -> dict[Any, Any]:
    """Stands in for dictionaries of other types; the unpickler puts the values in."""
    return {}


_NUMPY = ("numpy._core.multiarray", "numpy.core.multiarray")
_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((_scalar, f"{module}.scalar") for module in _NUMPY),
    *((Array, f"{module}._reconstruct") for module in _NUMPY),
    (Array, "numpy.ndarray"),
    (_Type, "numpy.dtype"),
    (_Left, "argparse.Namespace"),
    (_Left, "types.SimpleNamespace"),
    *((_Left, f"datetime.{name}") for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *((_Left, f"pathlib{part}.{name}Path") for part in ("", "._local") for name in ("Posix", "Windows", "PurePosix")),
    *((_Left, f"builtins.{name}") for name in ("dict", "float", "int", "list")),  # what a defaultdict makes
    (_dictionary, "collections.defaultdict"),
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (dict, "lightning.pytorch.utilities.parsing.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
]
"""What is called in place of what a pickle names."""
