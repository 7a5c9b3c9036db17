"""The page as text: whole, escaped, within its limit, with the JSON's figures, and with nothing to fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from bench_reports import ENGINES, NASTY, SECOND, full_gallery, full_report
from click.testing import CliRunner, Result
from PIL import Image

from mirnet_deploy.benchmarks.page.blocks import MOST_ROWS
from mirnet_deploy.benchmarks.page.page import LIMIT, bench_page
from mirnet_deploy.benchmarks.page.pictures import Gallery
from mirnet_deploy.benchmarks.quality import ALIGNED, METRICS, MeasuredPair, QualityRow, mean_rows, measure_picture
from mirnet_deploy.benchmarks.quality_tables import means_table, picture_table, worst_lines
from mirnet_deploy.benchmarks.quality_tables import tests_table as paired_table  # pytest would take it for a test
from mirnet_deploy.benchmarks.report import Quality
from mirnet_deploy.benchmarks.seams import find_seams
from mirnet_deploy.benchmarks.stored import _value
from mirnet_deploy.benchmarks.tiling import TilingSettings
from mirnet_deploy.cli import main
from mirnet_deploy.settings import RuntimeSettings

VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes, the text of the page, and its tables by caption; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.raw: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("style", "script"):
            self.raw[inside] = self.raw.get(inside, "") + data
        elif inside == "caption":
            self._caption += data
        elif {"th", "td"} & set(self._open):
            self._rows[-1][-1] += f" [{data}]" if inside == "small" else data
        if inside not in ("style", "script"):
            self.text += data

    def rows(self, caption: str) -> list[dict[str, str]]:
        head, *body = self.tables[caption]
        return [dict(zip(head, row, strict=True)) for row in body]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return full_report()


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> Page:
    return Page(bench_page(report, full_gallery(report).entries))


def check_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:image/webp;base64,", "#")) or not value, (tag, name, value[:60])
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"], "the policy forbids them"
    assert not re.search(r"url\(|@import|https?:", page.raw["style"] + page.raw["script"])


def test_nothing_is_fetched_and_the_policy_allows_only_what_is_in_the_page(page: Page) -> None:
    check_nothing_is_fetched(page)
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    (policy,) = (each["content"] for each in metas if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    hashes = {
        name: f"'sha256-{base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()}'"
        for name in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes["style"],
        "script-src": hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_names_are_escaped_wherever_they_stand(page: Page) -> None:
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "b" not in {tag for tag, _ in page.elements}
    assert page.text.count(SECOND) > 5
    assert NASTY in page.text
    alts = [attributes.get("alt") for tag, attributes in page.elements if tag == "img"]
    assert f"{NASTY}: input" in alts
    assert "Example <CPU> 9000" in page.text


def test_its_parts_are_named_for_those_who_do_not_see_it(page: Page) -> None:
    assert ("html", {"lang": "en"}) in page.elements
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    for tag, attributes in page.elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        if tag == "input":
            assert attributes["aria-label"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.elements if tag == "a"}
    assert links <= set(ids)
    assert len(links) > 5


def test_figures_of_speed_are_the_report_s(page: Page, report: dict[str, Any]) -> None:
    rows = page.rows("Latency at 600x400, 60 runs")
    assert [row["engine"] for row in rows] == [*ENGINES, "absent.onnx"]
    for row, truth in zip(rows, report["latency"][:2], strict=False):
        low, high = truth["ratio_interval"]
        assert row["p50 ms"] == f"{truth['p50_ms']:.1f}"
        assert row["p99 ms"] == f"{truth['p99_ms']:.1f}"
        assert row["std ms"] == f"{truth['std_ms']:.1f}"
        assert row["images/s"] == f"{truth['images_per_s']:.3f}"
        assert row["ratio"] == f"{truth['ratio']:.2f} [{low:.2f} to {high:.2f}]"
        assert row["peak MiB"] == f"{truth['peak_rss_mib']:.0f}"
        assert row["warm-up runs"] == "3 [stable]"
    assert rows[2]["p50 ms"] == "failed"
    assert "GPU MiB" not in rows[0], "nothing was measured there"
    (phases, _) = page.rows("Phases, p50 in ms")
    assert (phases["read"], phases["write"]) == ("4.5", "20.2")
    (throughput,) = page.rows("Pictures per second")
    assert (throughput["in flight"], throughput["images/s"], throughput["MP/s"]) == ("2", "12.300", "2.952")
    sweeps = page.rows("Pictures of growing size")
    truths = [row for row in report["sweeps"] if row["axis"] == "size"]
    for row, truth in zip(sweeps, truths, strict=True):
        assert (row["engine"], row["size"]) == (truth["engine"], truth["value"])
        assert row["ms/MP"] == f"{truth['ms_per_megapixel']:.1f}"
        assert row["peak MiB"] == f"{truth['peak_rss_mib']:.0f}"
    first, second, plan = page.rows("Floor at 600x400")
    assert (first["GMAC"], first["run"], first["MB"], first["unfused MB"]) == ("32.90", "2.00", "8.4", "9140")
    assert (first["MAC/byte"], first["GMAC/s"], first["GB/s"]) == ("3917", "188 [fp32]", "24.2")
    assert (first["floor ms"], first["floor / p50"]) == ("174.5 [arithmetic]", "70 %")
    assert second["GMAC/s"] == "400 [bf16]"
    assert (plan["GMAC"], plan["floor / p50"]) == ("–", "–")
    assert "lite.plan at 600x400, work: the ONNX file is not beside it" in page.text
    assert "Roofline at 600x400" in page.text
    form, plan = page.rows("Forms of one checkpoint")
    assert (form["MB"], form["ratio"], form["from FP32 dB"]) == ("2.8", "0.31 [0.30 to 0.33]", "101.1")
    assert "failed" in plan.values()
    assert report["command"] in page.text
    assert report["failures"][0] in page.text
    assert report["conditions"]["remarks"][0] in page.text


def test_figures_of_quality_are_the_report_s(page: Page, report: dict[str, Any]) -> None:
    plain = {"PSNR dB": ("psnr", 2), "SSIM": ("ssim", 4), "FLIP": ("flip", 3)}
    plain |= {"NIQE": ("niqe", 2), "BRISQUE": ("brisque", 1)}
    aligned = {"GT-mean PSNR dB": ("gt_mean_psnr", 2), "GT-mean SSIM": ("gt_mean_ssim", 4)}
    tables = {
        "Means, and their 95 % intervals": plain,
        "GT-mean: brightness given": aligned,
    }
    for title, digits in tables.items():
        for row, truth in zip(page.rows(title), report["quality"]["means"], strict=True):
            assert row["engine"] == truth["engine"]
            assert row["pictures"] == "9"
            for heading, (name, places) in digits.items():
                low, high = truth["intervals"][name]
                assert row[heading] == f"{truth[name]:.{places}f} [{low:.{places}f} to {high:.{places}f}]"
    for row, truth in zip(page.rows("Every picture"), report["quality"]["pictures"], strict=True):
        assert (row["picture"], row["engine"]) == (truth["picture"], truth["engine"])
        for heading, (name, places) in (plain | aligned).items():
            assert row[heading] == f"{truth[name]:.{places}f}"
    (test,) = page.rows("Paired tests")
    assert (test["metric"], test["mean difference"], test["95 %"]) == ("PSNR dB", "+2.50", "+2.10 to +2.90")
    assert test["p"] == "< 0.001"
    (worst,) = page.rows("Worst pictures")
    assert (worst["picture"], worst["metric"], worst["value"]) == (NASTY, "PSNR dB", "22.50")


def test_the_key_of_a_roofline_has_markers_for_engines_alone(report: dict[str, Any]) -> None:
    figure = bench_page(report, []).partition("Roofline at")[2].partition("</figure>")[0]
    _, *entries = figure.partition('class="key"')[2].split("<span>")
    assert ["roof, " in each for each in entries] == [True, True, False, False]
    assert ["marker" in each for each in entries] == [False, False, True, True]


def test_a_batch_is_one_of_tiles(report: dict[str, Any]) -> None:
    sweep = [{**report["sweeps"][0], "axis": "batch", "value": str(batch)} for batch in (1, 2)]
    page = Page(bench_page({**report, "sweeps": sweep}, []))
    assert "tiles in a batch" in page.text


def test_a_picture_without_a_ground_truth_has_what_needs_none(report: dict[str, Any]) -> None:
    low = np.full((20, 30, 3), 40, np.uint8)
    rows = [QualityRow("lite", "a", niqe=4.256, brisque=30.04), QualityRow("lite", "b", niqe=5.0)]
    gallery = Gallery()
    for row in rows:
        gallery.add_measured(MeasuredPair(row.picture, [row], low, None, [low]), before=0)
    quality = asdict(Quality("night", mean_rows(rows), rows, [], paired=False))
    page = Page(bench_page({**report, "quality": quality}, gallery.entries))
    assert "30×20. lite: NIQE 4.26, BRISQUE 30.0." in page.text
    assert "30×20. lite: NIQE 5.00, BRISQUE –." in page.text
    assert "PSNR" not in page.text.split("NIQE 5.00, BRISQUE –.")[0]


def test_what_equals_its_ground_truth_is_infinite_on_the_page_and_in_the_terminal(report: dict[str, Any]) -> None:
    high = np.random.default_rng(0).integers(100, 200, (20, 20, 3), dtype=np.uint8) // 2 * 2
    rows = [
        measure_picture("lite", "half", high // 2, high),  # equal once its mean is the target's
        measure_picture("lite", "equal", high, high),
        measure_picture("lite", "alone", high, None),
        QualityRow("lite", "failed", failure="no room"),
    ]
    assert [row.identical for row in rows] == [False, True, False, False]
    psnr = f"{rows[0].psnr:.2f}"
    quality = asdict(Quality("night", mean_rows(rows), rows, []))
    found = Page(bench_page({**report, "quality": quality}, [])).rows("Every picture")
    assert [row["PSNR dB"] for row in found] == [psnr, "inf", "–", "failed"]
    assert [row["GT-mean PSNR dB"] for row in found] == ["inf", "inf", "–", ""]
    table = picture_table(rows, ["psnr", "gt_mean_psnr"])
    assert [list(column.cells) for column in table.columns[2:]] == [
        [psnr, "inf", "–", "failed"],
        ["inf", "inf", "–", ""],
    ]


def test_the_terminal_has_the_words_and_the_digits_of_the_page(report: dict[str, Any], page: Page) -> None:
    quality = _value(Quality, report["quality"], "quality")
    means, tests = page.rows("Means, and their 95 % intervals"), page.rows("Paired tests")
    table = means_table("", quality.means, METRICS)
    assert [column.header for column in table.columns] == list(means[0])
    assert [str(next(iter(column.cells))).replace("\n", " [") for column in table.columns] == [
        cell.removesuffix("]") for cell in means[0].values()
    ]
    aligned = means_table("", quality.means, ALIGNED)
    assert [column.header for column in aligned.columns] == list(page.rows("GT-mean: brightness given")[0])
    shown = {str(column.header): next(iter(column.cells)) for column in paired_table(quality.tests).columns}
    assert shown == {heading: tests[0][heading] for heading in shown}
    assert worst_lines(quality.worst) == [f"worst of lite by PSNR dB: {NASTY} (22.50)"]


def test_the_summary_says_what_was_measured_in_figures(report: dict[str, Any]) -> None:
    first, second = report["latency"][:2]
    mean = report["quality"]["means"][0]
    said = Page(bench_page({**report, "ended": "cut short: interrupted"}, [])).text
    for words in (
        f"lite took {first['p50_ms']:.1f} ms (median of 60 runs; 90th percentile {first['p90_ms']:.1f} ms).",
        f"{SECOND} took 1.40 times as long (95 % interval 1.36 to 1.46).",
        f"lite reached a PSNR of {mean['psnr']:.2f} dB",
        "The run was cut short: interrupted. 1 measurement failed.",
    ):
        assert words in said
    assert second["ratio"] == 1.4


def test_a_report_of_today_s_format_without_quality_is_a_page(report: dict[str, Any]) -> None:
    engines = [{name: value for name, value in report["engines"][0].items() if name != "file_bytes"}]
    names = ("engine", "size", "times_ms", "p50_ms", "p90_ms", "p99_ms", "images_per_s", "megapixels_per_s", "ratio")
    old = {name: report[name] for name in ("machine", "settings", "protocol", "created", "tool_version", "ended")}
    rows = [{name: report["latency"][0][name] for name in names} | {"failure": None, "memory_failure": None}]
    page = Page(bench_page({**old, "engines": engines, "latency": rows, "quality": None, "failures": []}, []))
    assert set(page.tables) == {"Latency at 600x400, 60 runs", "What was measured, and the first digits of its SHA-256"}
    assert "27 November 2026, 21:00 UTC" in page.text


def test_a_page_stays_below_its_limit_with_large_pictures_and_long_lists() -> None:
    report = full_report(1000)
    rng = np.random.default_rng(0)
    gallery = Gallery()
    noise = rng.integers(0, 256, (800, 1200, 3), dtype=np.uint8)
    for index in range(20):
        rows = [QualityRow(engine, f"p{index}", 9.0 + index, 0.1, 9.0, 0.1) for engine in ENGINES]
        outputs = [noise[::-1].copy(), noise[:, ::-1].copy()]
        gallery.add_measured(MeasuredPair(f"p{index}", rows, noise // 99, noise, [*outputs]), 0)
    report["failures"] = [f"failure {index}" for index in range(1000)]
    text = bench_page(report, gallery.entries)
    assert 4_000_000 < len(text.encode()) < LIMIT
    page = Page(text)
    assert len(page.rows("Every picture")) == MOST_ROWS
    assert f"{2000 - MOST_ROWS} more rows are in the JSON." in page.text
    assert f"{1000 - MOST_ROWS} more are in the JSON." in page.text


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_the_command_writes_a_page_and_replaces_none_unasked(tmp_path: Path) -> None:
    for side in ("low", "high"):
        (tmp_path / side).mkdir()
        Image.fromarray(np.full((32, 48, 3), 60 if side == "low" else 100, np.uint8)).save(tmp_path / side / "a 'b.png")
    model, target, out = make_onnx(tmp_path / "m.onnx", "brighter"), tmp_path / "report.html", tmp_path / "report.json"
    target.write_text("mine")
    arguments = ("--engine", model, "--size", "24x16", "--runs", 2, "--warmup", 0, "--no-memory", "--html", target)
    refused = bench(*arguments)
    assert (refused.exit_code, target.read_text()) == (2, "mine")
    done = bench(*arguments, "--force", "--data", tmp_path, "--baselines", "--json", out)
    assert done.exit_code == 0, done.output
    page, report = Page(target.read_text()), json.loads(out.read_text())
    check_nothing_is_fetched(page)
    means = {row["engine"]: row for row in report["quality"]["means"]}
    assert [row["PSNR dB"] for row in page.rows("Means")] == [f"{mean['psnr']:.2f}" for mean in means.values()]
    alts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert alts[:3] == ["a 'b: input", f"a 'b: {model}", "a 'b: ground truth"]
    assert bench(*arguments, "--force").exit_code == 0
    alts = [attributes["alt"] or "" for tag, attributes in Page(target.read_text()).elements if tag == "img"]
    assert len(alts) == 2
    assert all("cut or mirrored to 24x16" in alt for alt in alts), "without pairs what was timed is shown"


def test_the_page_of_tiles_shows_where_they_meet(tmp_path: Path) -> None:
    model, picture = make_onnx(tmp_path / "mean.onnx", "mean"), tmp_path / "ramp.png"
    Image.fromarray(np.linspace(100, 250, 200).astype(np.uint8)[None, :, None].repeat(140, 0).repeat(3, 2)).save(
        picture
    )
    target, out = tmp_path / "tiles.html", tmp_path / "tiles.json"
    done = bench("--engine", model, "--tiling", picture, "--tile", 64, "--html", target, "--json", out)
    assert done.exit_code == 0, done.output
    page, rows = Page(target.read_text()), json.loads(out.read_text())["rows"]
    check_nothing_is_fetched(page)
    for row, truth in zip(page.rows("Tiles against the whole"), rows, strict=True):
        assert (row["mode"], row["PSNR dB"], row["largest step"]) == (
            truth["mode"],
            f"{truth['psnr']:.1f}",
            f"{truth['step']:.2f}",
        )
    alts = [attributes["alt"] or "" for tag, attributes in page.elements if tag == "img"]
    assert [alt.split(",")[0] for alt in alts[-2:]] == [
        "Absolute difference local tiles − whole",
        "Absolute difference exact tiles − whole",
    ]
    settings = TilingSettings(picture, runtime=RuntimeSettings(tile=64))
    jumps = np.abs(np.diff(find_seams(str(model), picture, 64, settings).results["local"][70, :, 0], prepend=0.5))
    borders = {f"{float(100 * column / 200)}%" for column in np.flatnonzero(jumps > 0.03)[1:]}
    lines = [attributes["x1"] for tag, attributes in page.elements if tag == "line" and attributes["y2"] == "100%"]
    assert len(borders) == 5
    assert set(lines) == borders, "every tile subtracts a mean of its own, so the result jumps where they meet"


def test_that_jinja2_is_missing_is_said_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("mirnet_deploy.errors.import_module", without)
    done = bench("--engine", "nonsense", "--html", tmp_path / "x.html")
    assert done.exit_code == 1
    missing = "--html needs jinja2 (No module named 'jinja2')"
    assert done.stderr.strip() == f'error: {missing}: pip install "mirnet-deploy[bench]"'
