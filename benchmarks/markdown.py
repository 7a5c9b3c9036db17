"""Tables of Markdown pages that are made of stored results, and checked against them.

Before such a table stands a comment, which a reader of the page does not see:

    <!-- table: KIND FILE…
    columns: name = picture | psnr = PSNR | ssim
    where: size = 600x400
    rows: lite@onnxruntime = **bundled `lite`** | gamma -->

FILE is relative to the page. `columns` are those of the kind (`stored_tables`) and their headings; the first one is
"name", with a blank heading if it is not given. `where` leaves out all other rows. `rows` names them in the order of
the table, with what stands for their names there, in which {column} is a text of the same row; without it all rows
stand there, by their names. A name that repeats the one above is left blank. The table that follows the comment, also
behind blank lines, is the one that is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirnet_deploy.benchmarks.stored_tables import Row, read_rows
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import write_atomically

_PARTS = re.compile(
    r"^[^\S\n]*(?P<fence>```+|~~~+).*?^[^\S\n]*(?P=fence)[^\n]*$"
    r"|^<!-- table:(?P<asked>(?:(?!-->|<!--).)*)-->(?P<behind>[^\n]*)\n?"
    r"(?:(?:[^\S\n]*\n)*(?P<table>(?:^\|[^\n]*(?:\n|\Z))+))?",
    re.MULTILINE | re.DOTALL,
)
"""A fenced block, in which nothing is looked for; or a comment and the lines of the table below it."""
_NEARLY = re.compile(r"^[^\S\n]*<!--\s*tables?(?:\s*:|\b[^\n]*\.json\b)[^\n]*", re.MULTILINE | re.IGNORECASE)
"""What was meant as such a comment, where `_PARTS` leaves it over."""


@dataclass(frozen=True)
class Asked:
    """What a comment asks for.

    Raises:
        UsageError: no file is named.
    """

    kind: str
    files: tuple[str, ...]
    columns: dict[str, str]
    """Column -> heading."""
    where: dict[str, str]
    """Column -> the text that a row must have there."""
    labels: dict[str, str]
    """Name of a row -> what stands for it, in the order of the table; {} for all rows."""

    @staticmethod
    def parse(text: str) -> Asked:
        """Reads a comment, of which `text` is what follows "table:"."""
        first, *rest = re.split(r"\b(columns|where|rows):", " ".join(text.split()))
        kind, *files = first.split() or [""]
        if not files:
            raise UsageError(f"a table names its kind and the file of its figures; here is {first!r}")
        given = {key: _pairs(entries) for key, entries in zip(rest[::2], rest[1::2], strict=True)}
        columns = {"name": ""} | given.get("columns", {})
        return Asked(kind, tuple(files), columns, given.get("where", {}), given.get("rows", {}))

    def make(self, folder: Path) -> str:
        """The lines of the table, each with its end; files are relative to `folder`.

        Raises:
            UsageError: a file, a row or a column is not there, or the kind is unknown.
        """
        rows = [row for file in self.files for row in read_rows(self.kind, folder / file)]
        rows = [row for row in rows if all(_cell(row, column) == text for column, text in self.where.items())]
        chosen = [
            (label, row) for name, label in self._labels(rows).items() for row in rows if _cell(row, "name") == name
        ]
        if missing := [name for name in self.labels if name not in {row["name"] for row in rows}]:
            raise UsageError(f"{' '.join(self.files)} has no row {missing[0]!r}")
        if not chosen:
            raise UsageError(f"{' '.join(self.files)} has no rows for this table")
        lines, above = [list(self.columns.values()), ["---"] * len(self.columns)], None
        for label, row in chosen:
            said = _with_columns(label, row)
            lines.append(["" if said == above else said, *(_shown(row, each) for each in list(self.columns)[1:])])
            above = said
        return "".join(_line(cells) for cells in lines)

    def _labels(self, rows: Sequence[Row]) -> dict[str, str]:
        return self.labels or {row["name"]: "{name}" for row in rows}


def _pairs(entries: str) -> dict[str, str]:
    """`key = text`, with bars between them; a key alone stands for itself."""
    split = (entry.partition(" = ") for entry in entries.split("|"))
    return {key.strip(): (text if equals else key).strip() for key, equals, text in split}


def _cell(row: Row, column: str) -> str:
    if column not in row:
        raise UsageError(f"the row {row['name']!r} has no column {column!r}; it has {', '.join(row)}")
    return row[column]


def _shown(row: Row, column: str) -> str:
    """As it stands on a page, where a bar would end its cell."""
    return _cell(row, column).replace("|", r"\|")


def _with_columns(label: str, row: Row) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: _shown(row, found[1]), label)


def _line(cells: Sequence[str]) -> str:
    """A line of a table, as they are written here: `|---|`, and `| |` for an empty cell."""
    if set(cells) == {"---"}:
        return f"|{'|'.join(cells)}|\n"
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n"


@dataclass(frozen=True)
class Page:
    """A page, as it is and as its results make it."""

    text: str
    tables: int
    faults: list[str]
    """A line for each table that cannot be made."""
    differing: list[str]
    """A line for each table that is another than its results make."""


def make_page(path: Path, text: str) -> Page:
    """Makes the tables of the page `path`, whose content is `text`. One that cannot be made stays as it is."""
    faults, differing, tables = [], [], 0

    def replaced(found: re.Match[str]) -> str:
        nonlocal tables
        if found["fence"]:
            return found[0]
        tables += 1
        place, old = f"{path}:{_line_of(text, found.start())}", found["table"] or ""
        if found["behind"].strip():
            faults.append(f"{place}: behind the end of the comment stands {found['behind'].strip()!r}")
            return found[0]
        try:
            asked = Asked.parse(found["asked"])
            made = asked.make(path.parent)
        except MirnetDeployError as error:
            faults.append(f"{place}: {error}")
            return found[0]
        if made == old:
            return found[0]
        differing.append(f"{place}: {' '.join(asked.files)}: {_difference(old, made)}")
        before = found[0].removesuffix(old)
        return f"{before}{'' if before.endswith(chr(10)) else chr(10)}{made}"

    new = _PARTS.sub(replaced, text)
    outside = _PARTS.sub(lambda found: "\n" * found[0].count("\n"), text)
    faults += [
        f"{path}:{_line_of(outside, each.start())}: {each[0].strip()!r} is no comment of a table; "
        "it begins a line, with '<!-- table: ', and has an end"
        for each in _NEARLY.finditer(outside)
    ]
    return Page(new, tables, faults, differing)


def _line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _difference(old: str, new: str) -> str:
    """The first line in which two tables differ, in words."""
    pairs = list(zip(old.splitlines(), new.splitlines(), strict=False))
    for was, now in pairs:
        if was != now:
            return f"the page has {was!r}, the result makes {now!r}"
    return f"the page has {len(old.splitlines())} lines of a table, the result makes {len(new.splitlines())}"


def make_pages(paths: Sequence[Path], *, write: bool) -> Iterator[Page]:
    """Makes the tables of pages, one after the other; with `write` a page whose tables differ is replaced.

    Raises:
        OSError: a page cannot be written.
    """
    for path in paths:
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            yield Page("", 0, [f"{path} cannot be read: {reason}"], [])
            continue
        windows = "\r\n" in text
        page = make_page(path, text.replace("\r\n", "\n"))
        if write and page.differing:
            write_atomically(path, (page.text.replace("\n", "\r\n") if windows else page.text).encode())
        yield page
