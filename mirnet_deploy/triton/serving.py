"""Whole pictures for a service: arrays and picture files, with a brightness and a strength for each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.enhancing import finished
from mirnet_deploy.errors import ImageError, MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.images.writing import Subsampling
from mirnet_deploy.jobs.inputs import NoTask, find_tasks
from mirnet_deploy.jobs.making import make_picture
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.pixels import Sink, Source, check_picture
from mirnet_deploy.results import PictureInfo
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.triton.config import BY_INSTANCE, WISHES

QUALITY = 95
SUBSAMPLING: Subsampling = "4:4:4"
"""Both of the files that are written, as in `mirnet-deploy enhance`."""


def settings_from(parameters: Mapping[str, str], device: str) -> RuntimeSettings:
    """The settings that the parameters of a configuration say: field -> its value as JSON, texts as they are.

    Parameters in capital letters are those of Triton's backend, and are left to it.

    >>> settings_from({"tile": "512", "backend": "openvino", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, "cpu").tile
    512

    Raises:
        UsageError: there is no such setting, or it cannot have this value.
    """
    known = [each.name for each in fields(RuntimeSettings) if each.name not in BY_INSTANCE]
    values: dict[str, Any] = {"device": device}
    for name, text in parameters.items():
        if name.isupper():
            continue
        if name not in known:
            raise UsageError(f"no parameter {name!r}; expected {', '.join(known)}")
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):
            values[name] = text
    return RuntimeSettings(**values)


@dataclass(frozen=True)
class MadeFile:
    """A picture file that was enhanced."""

    content: bytes
    info: PictureInfo
    notes: list[str] = field(default_factory=list)
    """What the user should know about it, such as what its format does not hold."""


class WholePictures:
    """Enhances arrays and files with one model, each with a brightness and a strength of its own.

    Args:
        model: as for `MIRNetRuntime`.
        settings: of pictures that are given no wishes.

    Raises:
        MirnetDeployError: as `MIRNetRuntime`.
    """

    def __init__(self, model: Any, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._runtime = MIRNetRuntime(model, settings.changed({"brightness": "auto", "strength": 1.0}))

    def enhance(self, image: NDArray[Any], wishes: Mapping[str, float]) -> tuple[NDArray[Any], PictureInfo]:
        """The result of one picture, and how it was made.

        Args:
            image: [H,W,3] RGB, uint8, uint16 or float32 in [0, 1].
            wishes: values of `WISHES` that differ from the settings.

        Returns:
            An array like `image`.

        Raises:
            ImageError, EngineError, UsageError: as `MIRNetRuntime.enhance`.
        """
        model = self._finishing(wishes)
        check_picture(image, self._runtime.info.metadata.interface)
        result = np.empty_like(image)
        return result, model.enhance_into(image, result)

    def enhance_file(self, content: bytes, wishes: Mapping[str, float]) -> MadeFile:
        """The file that `mirnet-deploy enhance` writes for a file of this content: of the same format, with its profile
        and its metadata; a TIFF for camera RAW.

        Raises:
            MirnetDeployError: it cannot be read or enhanced, or is a result of mirnet-deploy already.
            OSError: the folder for temporary files cannot be written.
        """
        model = self._finishing(wishes)
        metadata = self._runtime.info.metadata
        settings = JobSettings(
            metadata.name, str(metadata.sha256), model.settings, QUALITY, SUBSAMPLING, target_format=None, force=False
        )
        with temporary_folder() as folder:
            source = folder / "picture"
            source.write_bytes(content)
            try:
                (task,) = find_tasks([str(source)], output=folder / "result", target_format=None, recursive=False)
                if isinstance(task, NoTask):
                    raise ImageError(task.reason)
                made = make_picture(task, settings, Targets(settings), model, lambda description, share: None)
            except MirnetDeployError as error:
                raise type(error)(str(error).replace(str(source), "the file")) from error
            return MadeFile(task.target.read_bytes(), made.info, made.notes)

    def close(self) -> None:
        """Frees the model."""
        self._runtime.close()

    def _finishing(self, wishes: Mapping[str, float]) -> _Finishing:
        if unknown := set(wishes) - set(WISHES):
            raise UsageError(f"no wish {sorted(unknown)[0]!r}; expected {', '.join(WISHES)}")
        return _Finishing(self._runtime, self._settings.changed(wishes))


class _Finishing:
    """A runtime whose results are finished with a brightness and a strength (`jobs.making.Model`)."""

    def __init__(self, runtime: MIRNetRuntime, settings: RuntimeSettings) -> None:
        self._runtime, self.settings = runtime, settings

    def takes(self, dtype: Any) -> bool:
        return self._runtime.takes(dtype)

    def enhance_into(
        self, source: Source, sink: Sink, advance: Callable[[int], None] = lambda pixels: None
    ) -> PictureInfo:
        info, gain = finished(
            self.settings,
            self._runtime.info.metadata.interface,
            source,
            sink,
            lambda image, out, copies: self._runtime.enhance_into(image, out, advance),
        )
        return replace(info, settings=self.settings, gain=gain)


def to_json(info: PictureInfo, notes: list[str]) -> str:
    """How a picture was made, as JSON on one line; what is infinite is null."""
    made = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in info.to_dict().items()
    }
    return json.dumps({**made, "notes": notes})
