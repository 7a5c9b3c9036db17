"""What all tables have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "–"


def number(value: float | None, digits: int) -> str:
    """A figure, or what stands where there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"


def empty_table(title: str, columns: Sequence[str], text: int = 1) -> Table:
    """An empty table whose first `text` columns hold words (folded, never cut), and whose others hold figures."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        words = position < text
        table.add_column(column, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    return table
