"""Types of the fixtures in conftest.py, for the tests' signatures."""

from __future__ import annotations

from collections.abc import Callable

from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.export.pipeline import Exported

Export = Callable[[Interface, Precision], Exported]
"""`exported(interface, precision)`."""
