"""A report and its pictures -> the text of one HTML file, which works offline and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from mirnet_deploy.benchmarks.page import tables, words
from mirnet_deploy.benchmarks.page.blocks import Block, Code, Pictures, Row, Section, facts, lines, text
from mirnet_deploy.benchmarks.page.encoding import coded
from mirnet_deploy.benchmarks.page.pictures import Entry
from mirnet_deploy.benchmarks.quality import is_infinite
from mirnet_deploy.benchmarks.quality_tables import figure
from mirnet_deploy.errors import extra_module

MONTHS = (  # strftime's depend on the locale
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
LIMIT = 10_000_000
"""Bytes that a page has at most: its pictures have most of them (`encoding.BUDGET`)."""


def bench_page(report: Row, entries: Sequence[Entry]) -> str:
    """The page of `mirnet-deploy bench`. All of its figures are those of `report` (`Report.to_dict`).

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    shown, scale = coded(entries)
    said = {entry.name: _figures(report, entry) for entry in entries}
    lead: list[Block] = [Pictures(shown[:1], scale, said)] if shown else []
    others: list[Block] = [Pictures(shown[1:], scale, said)] if shown[1:] else []
    remarks = (report.get("quality") or {}).get("remarks") or []
    sections = [
        Section("quality", "Quality", [*tables.quality_blocks(report), *_some(remarks)]),
        Section("pictures", "More pictures", others),
        Section("latency", "Latency", tables.latency_blocks(report)),
        Section("floor", "Floor", tables.floor_blocks(report)),
        Section("throughput", "Throughput", tables.throughput_blocks(report)),
        Section("scaling", "Scaling", tables.sweep_blocks(report)),
        Section("forms", "Forms", tables.form_blocks(report)),
        Section("engines", "Engines", tables.engine_blocks(report)),
        Section("failures", "Failures", _some(report.get("failures") or [])),
        method(report),
    ]
    return render(words.title(report), words.summary(report), report, lead, sections)


def method(report: Row) -> Section:
    """How to repeat the run, on what it was made, and what the figures mean."""
    command, memory = report.get("command"), report["machine"].get("memory_bytes")
    machine = {**report["machine"], "memory_bytes": None, "memory": f"{memory / 2**30:.1f} GiB" if memory else None}
    parts = {
        "Machine": machine,
        "Conditions": report.get("conditions"),
        "Settings": report.get("settings"),
        "Protocol": report.get("protocol"),
    }
    blocks: list[Block] = [Code(command, "The command that repeats the run")] if command else []
    return Section(
        "method", "How it was measured", blocks + [facts(part, name) for name, part in parts.items() if part]
    )


def _some(texts: Sequence[str]) -> list[Block]:
    return [lines(texts)] if texts else []


def _figures(report: Row, entry: Entry) -> str:
    """The figures of a picture by the engine that it is shown of, from the report; "" where there are none."""
    rows = (report.get("quality") or {}).get("pictures") or []
    row = next((row for row in rows if (row["picture"], row["engine"]) == (entry.name, entry.engine)), None)
    if row is None or row.get("failure"):
        return ""
    said = [f"NIQE {figure(row, 'niqe')}", f"BRISQUE {figure(row, 'brisque')}"]
    if row.get("ssim") is not None:
        equal = is_infinite(row, "psnr")
        plain = "equal to the ground truth" if equal else f"PSNR {figure(row, 'psnr')} dB"
        matched = [] if equal else [f"GT-mean {figure(row, 'gt_mean_psnr')} dB"]
        said = [plain, f"SSIM {figure(row, 'ssim')}", *matched]
    return f"{entry.engine}: {', '.join(said)}"


def render(title: str, summary: str, report: Row, lead: Sequence[Block], sections: Sequence[Section]) -> str:
    """Lays out the blocks of `lead` below the summary, and then the sections that have blocks.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    style, script = _file("style.css"), _file("slider.js")
    return str(
        environment()
        .get_template("page.html")
        .render(
            title=title,
            summary=summary,
            created=report.get("created"),
            when=_when(report.get("created")),
            version=text(report.get("tool_version")),
            lead=lead,
            sections=[section for section in sections if section.blocks],
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def environment() -> Any:
    """jinja2 with the templates beside this module; whatever it is given is escaped.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = extra_module("jinja2", "--html needs jinja2", "bench")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _when(created: str | None) -> str:
    """A moment as people write it.

    >>> _when("2026-11-27T21:00:03+00:00")
    '27 November 2026, 21:00 UTC'
    """
    if created is None:
        return ""
    moment = datetime.fromisoformat(created).astimezone(UTC)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment:%Y, %H:%M} UTC"


def _file(name: str) -> str:
    return files("mirnet_deploy.benchmarks.page").joinpath("templates", name).read_text("utf-8")


def _hash(source: str) -> str:
    """What a policy of contents calls a style or a script by: its text between the tags, to the byte."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
