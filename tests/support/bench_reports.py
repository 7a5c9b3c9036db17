"""A report of `mirnet-deploy bench` with every part that its format has, as `Report.to_dict` gives it, and pictures.

The values are made up, but they fit each other, as far as the page says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mirnet_deploy.benchmarks.page.pictures import Gallery
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow

FIRST, SECOND = "lite", 'weights/<script>alert(1)</script>&"quoted".pt@fp16'
ENGINES = (FIRST, SECOND)
METRICS = ("psnr", "ssim", "gt_mean_psnr", "gt_mean_ssim", "flip", "niqe", "brisque")
NASTY = "a <b>'bold'</b> & \"quoted\" picture"


def _latency(engine: str, scale: float, runs: int) -> dict[str, Any]:
    rng = np.random.default_rng(len(engine))
    times = (scale * (100 + rng.gamma(2, 3, runs))).tolist()
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    per_second = 1000 * len(times) / sum(times)
    return {
        "engine": engine,
        "size": "600x400",
        "times_ms": times,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "std_ms": float(np.std(times, ddof=1)),
        "images_per_s": per_second,
        "megapixels_per_s": 0.24 * per_second,
        "ratio": scale,
        "ratio_interval": [0.97 * scale, 1.04 * scale],
        "warmup_runs": 3,
        "warmup_stable": True,
        "cold_start_s": 1.23,
        "phases_ms": {"read": 4.5, "upload": None, "compute": p50 - 3, "download": None, "write": 20.25},
        "peak_rss_mib": 512.5 * scale,
        "peak_gpu_mib": None,
        "failure": None,
        "memory_failure": None,
    }


def _picture(engine: str, picture: str, index: int) -> dict[str, Any]:
    base = 20 + index % 7 + (2.5 if engine == FIRST else 0)
    figures = (base, 0.7 + index / 100, base + 4, 0.75 + index / 100, 0.2 - index / 500, 4.5 + index / 9, 20.0 + index)
    return {"engine": engine, "picture": picture, **dict(zip(METRICS, figures, strict=True)), "identical": False} | {
        "brightness_psnr": base + 2,
        "failure": None,
    }


def _mean(engine: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = {metric: float(np.mean([row[metric] for row in rows])) for metric in METRICS}
    return {
        "engine": engine,
        "pictures": len(rows),
        "of": len(rows),
        "identical": 0,
        **means,
        "brightness_psnr": 24.5,
        "brightness_share": 0.5,
        "intervals": {metric: [0.95 * value, 1.05 * value] for metric, value in means.items()},
    }


def _sweep(axis: str, engine: str, value: str, megapixels: float, index: int) -> dict[str, Any]:
    cost = (400 if engine == FIRST else 650) / (1 + index) + 300
    return {
        "axis": axis,
        "engine": engine,
        "value": value,
        "megapixels": megapixels,
        "p50_ms": cost * megapixels,
        "ms_per_megapixel": cost,
        "peak_rss_mib": 300 + 250 * megapixels + 20 * index,
        "peak_gpu_mib": None,
        "failure": None,
    }


def _floor(engine: str, p50_ms: float, **values: Any) -> dict[str, Any]:
    macs, floor = 32_900_000_000, 174.5
    return {
        "engine": engine,
        "size": "600x400",
        "macs": macs,
        "least_bytes": 8_400_000,
        "unfused_bytes": 9_140_000_000,
        "runs": 9,
        "run_macs": 2 * macs,
        "intensity": macs / 8_400_000,
        "precision": "fp32",
        "product": "torch 2.13.0, float32, 2048x2048, 2 threads",
        "product_gmacs": 188.5,
        "copy": "numpy, 256 MiB in source and target, 2 threads",
        "copy_gbytes": 24.25,
        "floor_ms": floor,
        "bound": "arithmetic",
        "of_floor": floor / p50_ms,
        "reached_gmacs": macs / p50_ms / 1e6,
        "remarks": [],
        **values,
    }


def full_report(pictures: int = 9) -> dict[str, Any]:
    """Every part of format version 2, with two engines."""
    names = [NASTY, *(f"night/{index}.png" for index in range(1, pictures))]
    rows = [_picture(engine, name, index) for index, name in enumerate(names) for engine in ENGINES]
    sizes = [("320x240", 0.0768), ("600x400", 0.24), ("1280x720", 0.9216), ("1920x1080", 2.0736)]
    sweeps = [_sweep("size", e, size, mp, i) for e in ENGINES for i, (size, mp) in enumerate(sizes)]
    sweeps += [_sweep("threads", FIRST, str(2**i), 0.24, i) for i in range(3)]
    failed: dict[str, Any] = {
        **dict.fromkeys(_latency(FIRST, 1.0, 2)),
        "engine": "absent.onnx",
        "size": "600x400",
        "times_ms": [],
    }
    failure = "absent.onnx at 600x400: MemoryError: no room"
    return {
        "format": "mirnet-deploy bench",
        "format_version": 2,
        "protocol": {"latency": "Wall clock around enhance().", "quality": "RGB, 8 bit & data_range 255."},
        "created": "2026-11-27T21:00:00+00:00",
        "tool_version": "0.1.0",
        "command": f"mirnet-deploy bench --engine lite --engine '{SECOND}' --data night --html report.html",
        "settings": {"engines": list(ENGINES), "sizes": ["600x400"], "runs": 60, "data": "night", "claimed": None},
        "machine": {
            "python": "3.11.7",
            "os": "Linux-6.1",
            "cpu": "Example <CPU> 9000",
            "cores": 2,
            "bf16": False,
            "memory_bytes": 8 * 2**30,
            "gpus": [],
            "onnxruntime": {"onnxruntime": "1.27.0"},
            "openvino": "2026.2.0",
            "tensorrt": {},
            "torch": None,
            "numpy": "2.4.0",
        },
        "conditions": {
            "cpu_mhz": [2400.0, 2650.0, 2700.0],
            "other_cpu_share": 0.034,
            "load_before": 0.4,
            "throttled": None,
            "gpu": None,
            "remarks": ["the clock fell by 11 % in the run"],
        },
        "engines": [
            {
                "name": name,
                "path": None,
                "sha256": "ab" * 32,
                "kind": "onnx",
                "interface": "image",
                "precision": "fp32",
                "precision_proof": "223 convolutions compute in FLOAT",
                "weights": "ema",
                "network": {"n_feat": 24},
                "backend": "onnxruntime 1.27.0",
                "device": "cpu",
                "tile": "auto (512)",
                "graphs": "off",
                "file_bytes": 2_812_345,
            }
            for name in ENGINES
        ],
        "latency": [
            _latency(FIRST, 1.0, 60),
            _latency(SECOND, 1.4, 10),
            {**failed, "failure": "MemoryError: no room"},
        ],
        "throughput": [
            {
                "engine": FIRST,
                "size": "600x400",
                "batch": 4,
                "in_flight": 2,
                "images_per_s": 12.3,
                "megapixels_per_s": 2.952,
                "runs": 16,
                "failure": None,
            }
        ],
        "sweeps": sweeps,
        "floor": [
            _floor(FIRST, 250.0),
            _floor(SECOND, 349.0, precision="bf16", product_gmacs=400.0),
            {"engine": "lite.plan", "size": "600x400", "remarks": ["work: the ONNX file is not beside it"]},
        ],
        "forms": [
            {
                "form": "ONNX FP32",
                "engine": FIRST,
                "bytes": 2_812_345,
                "precision": "fp32",
                "precision_proof": "223 convolutions",
                "p50_ms": 104.5,
                "ratio": 0.31,
                "ratio_interval": [0.3, 0.33],
                "psnr": 22.87,
                "difference_psnr": 101.1,
                "max_levels": 1,
                "failure": None,
            },
            {"form": "plan", "engine": "lite.plan", "failure": "there is no GPU"},
        ],
        "quality": {
            "data": "night",
            "means": [_mean(engine, [row for row in rows if row["engine"] == engine]) for engine in ENGINES],
            "pictures": rows,
            "tests": [
                {
                    "engine": FIRST,
                    "against": SECOND,
                    "metric": "psnr",
                    "mean_difference": 2.5,
                    "interval": [2.1, 2.9],
                    "p_value": 0.0004,
                    "test": "Wilcoxon signed rank",
                    "pictures": pictures,
                }
            ],
            "worst": [{"engine": FIRST, "picture": names[0], "metric": "psnr", "value": 22.5}],
            "remarks": ["Of lite's error half is brightness."],
        },
        "failures": [failure],
        "ended": "whole",
    }


def scene(seed: int, height: int = 200, width: int = 300) -> NDArray[np.uint8]:
    """A bright picture with edges: some shapes on a slope of light; uint8 [H,W,3]."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(90, 200, width)[None, :, None] * np.ones((height, 1, 3))
    picture = Image.fromarray(slope.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        pen.ellipse((x - 20, y - 20, x + 20, y + 20), tuple(int(each) for each in rng.integers(40, 255, 3)))
    return np.asarray(picture)


def full_gallery(report: dict[str, Any]) -> Gallery:
    """Pictures for the report: dark scenes, outputs of both engines that are off, and the scenes themselves."""
    gallery = Gallery()
    names = dict.fromkeys(row["picture"] for row in report["quality"]["pictures"])
    for seed, name in enumerate(names):
        high = scene(seed)
        rows = [
            QualityRow(row["engine"], name, row["psnr"], row["ssim"], row["gt_mean_psnr"], row["gt_mean_ssim"])
            for row in report["quality"]["pictures"]
            if row["picture"] == name
        ]
        near, far = (np.clip(high.astype(int) + off, 0, 255).astype(np.uint8) for off in (12, -25))
        gallery.add_measured(MeasuredPair(name, rows, high // 6, high, [near, far]), before=0)
    return gallery
