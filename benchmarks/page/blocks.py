"""What a page is made of: sections with blocks, each of which knows how it is laid out by its `kind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mirnet_deploy.benchmarks.drawing import FIGURES, MISSING, number
from mirnet_deploy.benchmarks.page.encoding import Scale, Shown
from mirnet_deploy.benchmarks.page.plots import Chart, StripPlot

MOST_ROWS = 200
"""Rows of a table, and lines of a list, that a page holds: the JSON has them all."""
Row: TypeAlias = Mapping[str, Any]
Cell: TypeAlias = tuple[str, str]
"""What stands in a table, and below it in small letters."""


@dataclass(frozen=True)
class Table:
    """Words and figures in columns."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    words: int = 1
    """How many columns, the first ones, hold words; the others hold figures."""
    left_out: int = 0
    folded: bool = False
    """Whether it is closed at first."""
    kind: str = "table"


@dataclass(frozen=True)
class Facts:
    """Names and what belongs to them."""

    facts: list[tuple[str, str]]
    title: str = ""
    kind: str = "facts"


@dataclass(frozen=True)
class Lines:
    """Sentences one below the other."""

    lines: list[str]
    left_out: int = 0
    kind: str = "lines"


@dataclass(frozen=True)
class Code:
    """What can be typed into a shell."""

    code: str
    title: str
    kind: str = "code"


@dataclass(frozen=True)
class Pictures:
    """Pictures to compare."""

    shown: list[Shown]
    scale: Scale
    facts: dict[str, str]
    """Name of a picture -> its figures."""
    kind: str = "pictures"


Block: TypeAlias = Table | Facts | Lines | Code | Pictures | StripPlot | Chart


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    anchor: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    lead: str = ""
    """What a reader must know of it, in a sentence or two."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and what it shows of a row."""

    heading: str
    show: Callable[[Row], str]
    needed: bool = False
    """Whether it stays where no row has it."""
    below: Callable[[Row], str] = lambda _: ""
    """What stands below it in small letters."""

    def cell(self, row: Row) -> Cell:
        """What it shows of a row."""
        below = self.below(row)
        return self.show(row), "" if below == MISSING else below


def column(heading: str, name: str, digits: int | None = None, *, needed: bool = False) -> Column:
    """A column of the field `name`: as a number with so many `digits`, or as text."""

    def show(row: Row) -> str:
        value = row.get(name)
        return number(value, digits) if digits is not None else text(value)

    return Column(heading, show, needed)


def figure_column(name: str, *, needed: bool = False) -> Column:
    """A column of the field `name`, one of `FIGURES`."""
    heading, digits = FIGURES[name]
    return column(heading, name, digits, needed=needed)


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Row], words: int = 1, *, folded: bool = False
) -> Table:
    """A table of `rows` without the columns that none of them has. A row with a `failure` has no figures."""
    shown = rows[:MOST_ROWS]
    kept = [
        each
        for position, each in enumerate(columns)
        if position < words or each.needed or any(each.show(row) != MISSING for row in rows)
    ]

    def cells(row: Row) -> list[Cell]:
        if row.get("failure"):
            return [*(each.cell(row) for each in kept[:words]), ("failed", ""), *[("", "")] * len(kept)][: len(kept)]
        return [each.cell(row) for each in kept]

    headings = [each.heading for each in kept]
    return Table(caption, headings, [cells(row) for row in shown], words, len(rows) - len(shown), folded)


def lines(texts: Sequence[str]) -> Lines:
    """At most `MOST_ROWS` of `texts`."""
    return Lines(list(texts[:MOST_ROWS]), max(0, len(texts) - MOST_ROWS))


def facts(values: Row, title: str = "") -> Facts:
    """Names and values of a mapping, without those that are None or empty."""
    said = [(name.replace("_", " "), text(value)) for name, value in values.items()]
    return Facts([(name, value) for name, value in said if value != MISSING], title)


def text(value: Any) -> str:
    """Any value of a report in words; `MISSING` where it is None or empty.

    >>> text({"cpu": None, "gpus": [{"name": "L4", "driver": "570"}]})
    'gpus: name: L4, driver: 570'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        parts = [(name, text(each)) for name, each in value.items()]
        return ", ".join(f"{name}: {each}" for name, each in parts if each != MISSING) or MISSING
    if isinstance(value, list | tuple):
        return ", ".join(text(each) for each in value) or MISSING
    return MISSING if value is None or value == "" else str(value)
