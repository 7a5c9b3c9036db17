"""MIRNet low-light enhancement, from training to a production engine. `from mirnet_deploy import MIRNetRuntime`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mirnet_deploy.errors import MirnetDeployError

if TYPE_CHECKING:
    from mirnet_deploy.results import Enhanced, PictureInfo
    from mirnet_deploy.runtime import MIRNetRuntime

__all__ = ["Enhanced", "MIRNetRuntime", "MirnetDeployError", "PictureInfo", "__version__"]

try:
    __version__ = version("mirnet-deploy")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"


def __getattr__(name: str) -> Any:
    # Lazily, so that `mirnet-deploy --help` loads no array library and no engine.
    if name in ("Enhanced", "MIRNetRuntime", "PictureInfo"):
        from mirnet_deploy import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
