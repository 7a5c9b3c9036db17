"""Stored results as rows of texts for the tables of Markdown pages: one function for each kind of table.

Every figure on a page that is made of a result is rounded here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from mirnet_deploy.benchmarks.drawing import MISSING, interval, number
from mirnet_deploy.benchmarks.quality import ALIGNED, METRICS, is_infinite
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.scale.tables import read_scale
from mirnet_deploy.benchmarks.scale.tables import tables as scale_tables
from mirnet_deploy.benchmarks.stored import read_report
from mirnet_deploy.errors import UsageError

Row = Mapping[str, str]
"""Column -> text; the column "name" is what the row is of."""

DIGITS = {
    "psnr": 2,
    "ssim": 3,
    "flip": 3,
    "niqe": 2,
    "brisque": 1,
    "gt_mean_psnr": 2,
    "gt_mean_ssim": 3,
    "apart": 1,
    "levels": 2,
    "ms": 1,
    "s": 2,
    "first_s": 1,
    "ratio": 2,
    "mp_per_s": 3,
    "mb": 1,
    "mib": 0,
    "giga": 1,
}
"""Figure -> digits behind the point. `psnr` is against a ground truth, `apart` between two results of one network."""
FAILED = "failed"
BUILDERS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def _text(figure: str, value: float | None) -> str:
    return number(value, DIGITS[figure])


def quality(path: Path) -> Iterator[Row]:
    """The means of `bench --data --json`."""
    report = read_report(path)
    if report.quality is None:
        raise UsageError(f"{path} holds no quality; it was measured without --data")
    for mean in report.quality.means:
        figures = vars(mean)
        texts = {each: "inf" if is_infinite(figures, each) else _text(each, figures[each]) for each in METRICS}
        texts |= {each: "inf" if is_infinite(figures, each) else _text(each, figures[each]) for each in ALIGNED}
        yield {"name": mean.engine, "pictures": str(mean.pictures), **texts}


def latency(path: Path) -> Iterator[Row]:
    """The latencies of `bench --json`, with peak memory where that was measured."""
    report: Report = read_report(path)
    backends = {engine.name: engine.backend for engine in report.engines}
    for row in report.latency:
        yield {
            "name": row.engine,
            "backend": backends.get(row.engine, ""),
            "size": row.size,
            "runs": str(len(row.times_ms)),
            "ms": FAILED if row.failure else _text("ms", row.p50_ms),
            "ratio": _text("ratio", row.ratio),
            "interval": interval(row.ratio_interval, DIGITS["ratio"]),
            "mp_per_s": _text("mp_per_s", row.megapixels_per_s),
            "mib": _text("mib", row.peak_rss_mib),
        }


def peers(path: Path) -> Iterator[Row]:
    """The tables of `bench peers --json`; the last row of each, `arithmetic`, is the floor."""
    for table in _content(path, "bench peers")["tables"]:
        place = {"model": table["model"], "size": table["size"]}
        for row in table["rows"]:
            seconds = None if row["median_ms"] is None else row["median_ms"] / 1000
            yield {
                "name": row["peer"],
                **place,
                "backend": row["backend"],
                "ms": FAILED if row["failure"] else _text("ms", row["median_ms"]),
                "s": FAILED if row["failure"] else _text("s", seconds),
                "ratio": _text("ratio", row["ratio"]),
                "interval": interval(row["interval"], DIGITS["ratio"]),
                "apart": "reference" if row["peer"] == table["reference"] else _apart(row),
            }
        floor = table["floor_ms"]
        yield {
            "name": "arithmetic",
            **place,
            "backend": "",
            "work": f"{_text('giga', table['multiplications'] / 1e9)} G",
            "rate": MISSING if floor is None else f"{table['product_gmacs']:.0f} G/s",
            "ms": _text("ms", floor),
            "s": MISSING if floor is None else _text("s", floor / 1000),
            "ratio": _text("ratio", table["floor_ratio"]),
            "interval": "",
            "apart": "",
        }


def _apart(row: Mapping[str, Any]) -> str:
    """How far a peer's result is from the reference's; a level at most is rounding, and not said."""
    if row["max_levels"] is None:
        return MISSING
    if row["max_levels"] == 0:
        return "equal"
    levels = f", {row['max_levels']} levels at most" if row["max_levels"] > 1 else ""
    return f"{_text('apart', row['psnr'])} dB{levels}"


def ort_cuda(path: Path) -> Iterator[Row]:
    """The rows of `bench ort-cuda`."""
    for row in _content(path, "bench ort-cuda")["rows"]:
        yield {
            "name": row["way"]["name"],
            "model": row["model"],
            "precision": row["precision"],
            "size": row["size"],
            "ms": FAILED if row["failure"] else _text("ms", row["p50_ms"]),
            "first_s": MISSING if row["first_ms"] is None else _text("first_s", row["first_ms"] / 1000),
            "apart": _text("apart", row["psnr"]),
        }


def training_step(path: Path) -> Iterator[Row]:
    """What `bench training-step --json` gives, or several of these as the `runs` of a file: a row for each preset, and
    a column for each way."""
    content = _content(path, "bench training-step")
    for run in content.get("runs", [content]):
        first = run["ways"][0]["milliseconds"]
        row = {"name": run["preset"], "batch": str(run["batch"]), "crop": str(run["crop"])}
        for place, way in enumerate(run["ways"]):
            faster = f", {_text('ratio', first / way['milliseconds'])} times as fast" if place else ""
            row[way["name"]] = f"{_text('ms', way['milliseconds'])} ms{faster}"
        yield row


def tiling(path: Path) -> Iterator[Row]:
    """The rows of `bench --tiling --json`."""
    for row in _content(path, "bench --tiling")["rows"]:
        foreseen = row["predicted_psnr"], row["predicted_max_abs"]
        yield {
            "name": row["picture"],
            "size": f"{row['width']}x{row['height']}",
            "tile": str(row["tile"]),
            "mode": row["mode"],
            "apart": _text("apart", row["psnr"]),
            "levels": _text("levels", row["max_abs"]),
            "step": _text("levels", row["step"]),
            "predicted": "" if None in foreseen else f"{_text('apart', foreseen[0])} / {_text('levels', foreseen[1])}",
            "passes": f"{row['passes']}" + (f" + {_text('ratio', row['sampled'])}" if row["sampled"] else ""),
            "ratio": "" if row["ratio"] is None else _text("ratio", row["ratio"]),
        }


def export(path: Path) -> Iterator[Row]:
    """The artifacts of `export --json`."""
    content = _content(path, "export")
    if not isinstance(content, list):
        raise TypeError("it is no list of artifacts")
    for row in content:
        name, library = PurePath(row["path"]).name, BUILDERS.get(row["builder"], row["builder"])
        parity = row["parity"] or {}
        largest = parity.get("max_abs")
        decibels = (_text("apart", parity.get(each)) for each in ("psnr", "residual_psnr"))
        plain, residual = (text if text == MISSING else f"{text} dB" for text in decibels)
        said = f"{largest:.1e}" if row["interface"] == "float" and largest is not None else None
        yield {
            "name": name if library is None else f"{name} ({library} {row['builder_version']})",
            "precision": f"{row['precision']}: {_proven(row['precision_proof'])}",
            "mb": _text("mb", row["bytes"] / 1e6),
            "largest": "not executed" if largest is None else said or f"{largest:.0f} level{'s' * (largest != 1)}",
            "apart": plain,
            "residual": residual,
        }


def _proven(proof: str) -> str:
    """The precision that was proven of an artifact, without where that was read."""
    return proof.partition(" (")[0].replace(" compute in ", " in ")


def scale(path: Path) -> Iterator[Row]:
    """The tables of `bench scale --json`, which the column `table` tells apart, with the columns that it prints; its
    first one is `name`."""
    for name, table in scale_tables(read_scale(path)).items():
        for first, *others in table.rows:
            yield {"name": first, "table": name, **dict(zip(table.heads[1:], others, strict=True))}


def _content(path: Path, kind: str) -> Any:
    """The content of a JSON file, which is of the command `kind` as far as it, or each row of its list, says so: older
    files have no `format`."""
    content = json.loads(path.read_bytes())
    for part in content if isinstance(content, list) else [content]:
        if (found := part.get("format", f"mirnet-deploy {kind}")) != f"mirnet-deploy {kind}":
            raise UsageError(f"{path} is one of {found!r}; expected 'mirnet-deploy {kind}'")
    return content


KINDS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "quality": quality,
    "latency": latency,
    "peers": peers,
    "ort-cuda": ort_cuda,
    "training-step": training_step,
    "tiling": tiling,
    "export": export,
    "scale": scale,
}


def read_rows(kind: str, path: Path) -> list[Row]:
    """The rows of a stored result, in its order.

    Raises:
        UsageError: the kind is unknown; the file cannot be read, or holds no such table.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no table of {kind!r}; expected {', '.join(KINDS)}")
    try:
        return list(KINDS[kind](path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    except KeyError as error:
        raise UsageError(f"{path} holds no table of {kind}: it has no {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"{path} holds no table of {kind}: it is laid out otherwise") from error
