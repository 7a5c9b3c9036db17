"""Reports of `mirnet-deploy bench --json`, read back, with every value checked for its type."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from mirnet_deploy.benchmarks.report import FORMAT, FORMAT_VERSION, Report
from mirnet_deploy.errors import UsageError


def read_report(path: Path) -> Report:
    """The report in a file of `bench --json`, of this format version or an older one, whose missing parts have their
    defaults. Fields that this version does not know are left out: what is added to a version does not change the rest.

    Raises:
        UsageError: the file cannot be read, is cut off or damaged, is something else, or of a newer format version.
    """
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a report of `bench --json`: cut off, damaged or no JSON ({error})") from error
    kind = content.get("format") if isinstance(content, dict) else None
    if kind != FORMAT:
        said = f"it is one of {kind!r}" if isinstance(kind, str) else "it names no format of ours"
        raise UsageError(f"{path} is not a report of `mirnet-deploy bench --json`: {said}")
    version = content.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise UsageError(
            f"{path} has format version {version!r}; this mirnet-deploy reads 1 to {FORMAT_VERSION}: use a newer one"
        )
    try:
        report: Report = _value(Report, content, "report")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return report


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@cache
def _fields_of(kind: type) -> dict[str, tuple[Any, bool]]:
    """Field of a dataclass -> its type, and whether it has no default."""
    hints = get_type_hints(kind)
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
        if each.init
    }


def _value(kind: Any, value: Any, place: str) -> Any:
    """`value` of JSON as a value of the type `kind`: a dataclass, a container of such, or a plain type.

    Raises:
        ValueError: it is of another type; the text names its `place`.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, place)
    if origin is Literal:
        good = value in inner
    elif is_dataclass(kind):
        return _dataclass(kind, value, place)
    elif origin in (list, tuple):
        return _sequence(origin, inner, value, place)
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {name: _value(inner[1], each, f"{place}.{name}") for name, each in value.items()}
        good = False
    elif kind is float:
        good = type(value) in (int, float) and math.isfinite(value)  # 1e999 is JSON
        value = float(value) if good else value
    else:
        good = type(value) is (type(None) if kind is None else kind)
    if not good:
        raise ValueError(f"{place} is {str(value)[:40]!r}; expected {getattr(kind, '__name__', kind)}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    """The value as the first of these types that it fits."""
    faults = []
    for kind in kinds:
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return _value(kind, value, place)
        except ValueError as error:
            faults.append(error)
    raise faults[-1]


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {str(value)[:40]!r}; expected an object")
    given = {}
    for name, (of, required) in _fields_of(kind).items():
        if name in value:
            given[name] = _value(of, value[name], f"{place}.{name}")
        elif required:
            raise ValueError(f"{place}.{name} is missing")
    return kind(**given)


def _sequence(origin: type, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{place} is {str(value)[:40]!r}; expected a list")
    if origin is tuple and not (len(inner) == 2 and inner[1] is ...):
        if len(value) != len(inner):
            raise ValueError(f"{place} has {len(value)} values; expected {len(inner)}")
        return tuple(
            _value(kind, each, f"{place}[{i}]") for i, (kind, each) in enumerate(zip(inner, value, strict=True))
        )
    return origin(_value(inner[0], each, f"{place}[{i}]") for i, each in enumerate(value))
