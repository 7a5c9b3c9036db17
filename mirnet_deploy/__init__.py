"""MIRNet low-light enhancement, from training to a production engine. `from mirnet_deploy import MIRNetRuntime`."""

TYPE_CHECKING = False  # nothing is imported: before `__main__` runs, Python answers signals with tracebacks

if TYPE_CHECKING:
    from mirnet_deploy.artifacts.version import __version__ as __version__
    from mirnet_deploy.devices.base import DevicePicture
    from mirnet_deploy.errors import MirnetDeployError, MirnetDeployWarning
    from mirnet_deploy.memory import MemoryPlan
    from mirnet_deploy.results import Enhanced, Enqueued, PictureInfo, RuntimeInfo
    from mirnet_deploy.runtime import MIRNetRuntime
    from mirnet_deploy.settings import RuntimeSettings

__all__ = [
    "DevicePicture",
    "Enhanced",
    "Enqueued",
    "MIRNetRuntime",
    "MemoryPlan",
    "MirnetDeployError",
    "MirnetDeployWarning",
    "PictureInfo",
    "RuntimeInfo",
    "RuntimeSettings",
    "__version__",
]

_HOMES = {
    "DevicePicture": "mirnet_deploy.devices.base",
    "Enhanced": "mirnet_deploy.results",
    "Enqueued": "mirnet_deploy.results",
    "MIRNetRuntime": "mirnet_deploy.runtime",
    "MemoryPlan": "mirnet_deploy.memory",
    "PictureInfo": "mirnet_deploy.results",
    "MirnetDeployError": "mirnet_deploy.errors",
    "MirnetDeployWarning": "mirnet_deploy.errors",
    "RuntimeInfo": "mirnet_deploy.results",
    "RuntimeSettings": "mirnet_deploy.settings",
    "__version__": "mirnet_deploy.artifacts.version",
}
"""Name -> the module that it is imported from at its first use, so that `mirnet-deploy --help` loads no array library
and no engine."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
