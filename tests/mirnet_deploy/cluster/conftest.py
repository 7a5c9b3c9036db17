"""What the tests of clusters share: a server of S3, and a cluster of three machines, each with its own processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Machines
from s3_server import Store, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    with s3_server() as store:
        yield store


@pytest.fixture(scope="session")
def machines(s3: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Started once: what a machine inherits of the environment holds for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        hooks = tmp_path_factory.mktemp("hooks")
        (hooks / "sitecustomize.py").write_text(
            (Path(__file__).parents[2] / "support" / "faulty_workers.py").read_text()
        )
        patch.setenv("FAULTY_WORKERS_ONCE", str(hooks / "once"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(hooks), os.environ.get("PYTHONPATH", "")]))
        cluster = Machines()
    yield cluster
    cluster.stop()
