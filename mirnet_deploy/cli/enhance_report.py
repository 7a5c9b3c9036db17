"""What `enhance` tells of its results, wherever they were made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click


def report_on(entries: Sequence[Mapping[str, Any]], as_json: bool, err: bool, facts: Mapping[str, Any]) -> None:
    """Results (`Result.to_dict`) on stdout, as JSON with `facts` or as lines (with `err` on stderr too); failures, and
    what the user should know, on stderr."""
    counts = {status: sum(entry["status"] == status for entry in entries) for status in ("done", "skipped", "failed")}
    if as_json:
        click.echo(json.dumps({"pictures": entries, **facts, **counts}, indent=2))
    else:
        for entry in entries:
            if entry["status"] == "done":
                click.echo(f"{entry['input']} -> {entry['output']}", err=err)
    for entry in entries:
        if entry["status"] == "done" and entry["note"]:
            click.echo(f"note: {entry['output']}: {entry['note']}", err=True)
    for entry in entries:
        if entry["status"] == "failed":
            click.echo(f"error: {entry['error']}", err=True)
    why = Counter(entry["note"] for entry in entries if entry["status"] == "skipped")
    reasons = f" ({', '.join(f'{note}: {count}' for note, count in why.items())})" if why else ""
    summary = f"{counts['done']} enhanced, {counts['skipped']} skipped{reasons}, {counts['failed']} failed"
    click.echo(summary, err=as_json or err)
