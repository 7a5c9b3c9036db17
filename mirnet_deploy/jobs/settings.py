"""What decides the outputs of a job, apart from its inputs."""

from __future__ import annotations

from dataclasses import dataclass

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.images import DEFAULT_MAX_PIXELS
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.writing import Subsampling
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.record import Record
from mirnet_deploy.settings import RuntimeSettings


@dataclass(frozen=True)
class JobSettings:
    """How the pictures of a job are made and written."""

    model: str
    """The model's name, for reports."""
    model_sha256: str
    runtime: RuntimeSettings
    quality: int
    """Of JPEG, and of lossy WebP, HEIC, AVIF and JPEG XL, 1 to 100."""
    subsampling: Subsampling
    """Of the colour channels of JPEG, HEIC and 8-bit AVIF."""
    target_format: Format | None
    """The format that the user asked for, which also allows 16 bits to become 8; None for that of each input."""
    force: bool
    """Whether to do again what is done, and to replace files that are the user's."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger pictures are not decoded."""
    colour_management: bool = True
    """Whether pictures with an ICC profile are converted to sRGB for the network, and back (`images.colour`)."""

    in_memory: int | None = None
    """Bytes that a TIFF may take in memory before it goes through in bands; None for half of the free memory."""

    def record(self, input_sha256: str, task: Task, colours: str | None = None) -> Record:
        """The record of the task's output under these settings. What its format does not use is left out.

        Args:
            colours: see `jobs.colours.recorded`.
        """
        values = {**self.runtime.recorded(), "format": task.format}
        if task.format in ("jpg", "webp", "heic", "avif", "jxl"):
            values["quality"] = self.quality
        if task.format in ("jpg", "heic", "avif"):
            values["subsampling"] = self.subsampling
        if colours is not None:
            values["colours"] = colours
        return Record(input_sha256, self.model_sha256, values, __version__)
