"""What a user installs: the wheel made from the sdist has every package in its place, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("mirnet_deploy", "training", "export", "benchmarks")
PACKAGES = [
    ".".join(("mirnet_deploy", *path.relative_to(ROOT).parent.parts[top == "mirnet_deploy" :]))
    for top in TOPS
    for path in sorted((ROOT / top).rglob("__init__.py"))
]
"""Every folder with an `__init__.py`, as it is imported."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    folder: Path = tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    clone = tmp_path_factory.mktemp("clone")
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_puts_only_the_package_into_site_packages(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"mirnet_deploy", f"{wheel.name.split('-py3')[0]}.dist-info"}


def test_the_wheel_holds_model_samples_types_and_licence(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wanted = ["mirnet_deploy/py.typed", "mirnet_deploy/models/lite.onnx", "mirnet_deploy/models/lite.onnx.json"]
    wanted += ["mirnet_deploy/samples/crop_a.png", "mirnet_deploy/training/network.py"]
    wanted += [f"mirnet_deploy/benchmarks/parameters/{name}" for name in ("brisque_svm.txt", "ORIGIN.txt")]
    assert set(wanted) <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if "test" in name.lower()]


def test_the_wheel_holds_every_module(built: Path) -> None:
    """A folder that pyproject.toml does not list would be left out silently."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(PACKAGES) > 12
    for top in TOPS:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            assert "/".join(("mirnet_deploy", *parts[top == "mirnet_deploy" :])) in names


def test_the_sdist_holds_the_sources(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "training/network.py", "export/__init__.py", "benchmarks/__init__.py"} <= names


def test_the_installed_wheel_is_imported_without_the_clone(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import importlib\n"
        f"for name in {PACKAGES!r}:\n"
        f"    origin = importlib.import_module(name).__file__; assert origin.startswith({str(target)!r}), origin"
    )
    # -S and -P keep the clone and this environment's editable install from being imported instead.
    site = [str(Path(path)) for path in sys.path if path.endswith("site-packages")]
    code = f"import sys; sys.path += {site!r}\n" + code
    subprocess.run([sys.executable, "-S", "-P", "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("start", [["-m", "mirnet_deploy"], ["-c", "from mirnet_deploy.cli import main; main()"]])
def test_version(start: list[str]) -> None:
    said = subprocess.run([sys.executable, *start, "--version"], check=True, capture_output=True, text=True).stdout
    (line,) = said.splitlines()
    assert line.startswith("mirnet-deploy, version ") or line.startswith("mirnet_deploy, version ")


def test_the_tracked_tree_stays_small() -> None:
    """Under 20 MiB."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    sizes = [(ROOT / name).stat().st_size for name in tracked.split("\0") if name and (ROOT / name).is_file()]
    assert sum(sizes) < 20 * 2**20
