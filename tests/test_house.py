"""The sources stay easy to work on: small modules and functions, documented packages, true examples."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

import mirnet_deploy

ROOT = Path(__file__).parents[1]
PACKAGES = ("mirnet_deploy", "training", "export", "benchmarks")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _imported_as(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in ("mirnet_deploy", *parts[parts[0] == "mirnet_deploy" :]) if part != "__init__")


NAMES = [_imported_as(path) for path in MODULES if path.stem != "__main__"]
NETWORK = ROOT / "training" / "network.py"
"""One architecture stays in one file, whatever its length."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_300_lines_and_a_function_60(path: Path) -> None:
    text = path.read_text()
    assert path == NETWORK or text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_few_modules_stand_beside_the_packages() -> None:
    assert len(list((ROOT / "mirnet_deploy").glob("*.py"))) <= 15


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    """On the imported package, as a user has it."""
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in NAMES for test in finder.find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in found) >= 5


def test_the_architecture_page_names_every_package_and_only_paths_that_exist() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for package in (path.parent for path in (ROOT / "mirnet_deploy").glob("*/__init__.py")):
        assert f"{package.name}/" in page, package
    for path in (ROOT / "mirnet_deploy").glob("[a-z]*.py"):
        assert path.stem in page, path
    for name in re.findall(r"`([a-z_]+/[a-z_]*(?:\.\w+)?)`", page):
        place = ROOT / name if name.split("/")[0] in PACKAGES else ROOT / "mirnet_deploy" / name
        assert place.exists() or place.with_suffix(".py").exists() or (ROOT / name).exists(), name


def test_every_public_name_can_be_imported() -> None:
    for name in mirnet_deploy.__all__:
        assert getattr(mirnet_deploy, name) is not None
    assert set(mirnet_deploy._HOMES) == set(mirnet_deploy.__all__)
