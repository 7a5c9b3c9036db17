"""The version of mirnet-deploy, as artifacts, reports and records state it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mirnet-deploy")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"
