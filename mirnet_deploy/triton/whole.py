"""Whole pictures for a service: arrays and picture files, with a brightness and a strength for each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError, MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.images import DEFAULT_MAX_PIXELS
from mirnet_deploy.images.picture import check_size
from mirnet_deploy.images.writing import Subsampling
from mirnet_deploy.jobs.inputs import NoTask, find_tasks
from mirnet_deploy.jobs.making import make_picture
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.pixels import Sink, Source, check_picture
from mirnet_deploy.results import PictureInfo
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.triton.config import BY_INSTANCE, MAX_PIXELS

QUALITY = 95
SUBSAMPLING: Subsampling = "4:4:4"
"""Both of the files that are written, as in `mirnet-deploy enhance`."""


def settings_from(parameters: Mapping[str, str], device: str) -> tuple[RuntimeSettings, int]:
    """The settings that the parameters of a configuration say, and the most pixels of a picture: name -> its value as
    JSON, texts as they are.

    Parameters in capital letters are those of Triton's backend, and are left to it.

    >>> settings_from({"tile": "512", "backend": "openvino", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, "cpu")[0].tile
    512

    Raises:
        UsageError: there is no such setting, or it cannot have this value.
    """
    known = [each.name for each in fields(RuntimeSettings) if each.name not in BY_INSTANCE]
    known.append(MAX_PIXELS)
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
    most = values.pop(MAX_PIXELS, DEFAULT_MAX_PIXELS)
    if type(most) is not int or most < 1:
        raise UsageError(f"{MAX_PIXELS} is {most!r}; expected a whole number of at least 1")
    return RuntimeSettings(**values), most


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
        settings: of pictures that come without a brightness and a strength.
        max_pixels: larger pictures are refused.

    Raises:
        MirnetDeployError: as `MIRNetRuntime`.
    """

    def __init__(self, model: Any, settings: RuntimeSettings, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._runtime = MIRNetRuntime(model, settings)

    def enhance(self, image: NDArray[Any], finish: Mapping[str, float]) -> tuple[NDArray[Any], PictureInfo]:
        """The result of one picture, and how it was made.

        Args:
            image: [H,W,3] RGB, uint8, uint16 or float32 in [0, 1].
            finish: as for `MIRNetRuntime.enhance_into`.

        Returns:
            An array like `image`.

        Raises:
            ImageError, EngineError, UsageError: as `MIRNetRuntime.enhance`; or it is too large.
        """
        check_picture(image, self._runtime.info.metadata.interface)
        try:
            check_size(image.shape[1], image.shape[0], self._max_pixels)
        except ImageError as error:
            raise ImageError(f"image {error}") from error
        result = np.empty_like(image)
        return result, self._runtime.enhance_into(image, result, finish=finish)

    def enhance_file(self, content: bytes, finish: Mapping[str, float]) -> MadeFile:
        """The file that `mirnet-deploy enhance` writes for a file of this content: of the same format, with its profile
        and its metadata; a TIFF for camera RAW.

        Raises:
            MirnetDeployError: it cannot be read or enhanced, or is a result of mirnet-deploy already.
            OSError: the folder for temporary files cannot be written.
        """
        about = self._runtime.info
        settings = JobSettings(
            about.metadata.name,
            str(about.metadata.sha256),
            about.settings.finishing(finish),
            QUALITY,
            SUBSAMPLING,
            target_format=None,
            force=False,
            max_pixels=self._max_pixels,
        )
        with temporary_folder() as folder:
            source = folder / "picture"
            source.write_bytes(content)
            model = _Finishing(self._runtime, finish)
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


class _Finishing:
    """A runtime with a brightness and a strength of one picture (`jobs.making.Model`)."""

    def __init__(self, runtime: MIRNetRuntime, finish: Mapping[str, float]) -> None:
        self._runtime, self._finish = runtime, finish
        self.takes = runtime.takes

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        return self._runtime.enhance_into(source, sink, advance, self._finish)


def to_json(info: PictureInfo, notes: list[str]) -> str:
    """How a picture was made, as JSON on one line; what is infinite is null."""
    made = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in info.to_dict().items()
    }
    return json.dumps({**made, "notes": notes})
