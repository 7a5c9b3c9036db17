"""A folder with another method's results: an engine that was run elsewhere, and so has no latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.errors import DataError, UsageError
from mirnet_deploy.pairs import pictures_by_name, read_rgb8


@dataclass(frozen=True)
class ResultsFolder:
    """The results of one method, by the names of the pictures that they were made from (`Pair.name`)."""

    name: str
    folder: Path
    files: Mapping[str, Path]

    def result_of(self, picture: str, low: Image) -> Image:
        """The result for a picture, uint8 [H,W,3] RGB; `low` is the picture itself.

        Raises:
            DataError: there is no such file, or its size is not the picture's.
            ImageError: the file cannot be read.
        """
        if picture not in self.files:
            raise DataError(f"{self.folder} holds no picture {picture}")
        result = read_rgb8(self.files[picture])
        if result.shape != low.shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (result, low)]
            raise DataError(f"{self.files[picture]} is {sizes[0]}; expected {sizes[1]}, as the picture is")
        return result


def open_results(options: Sequence[str], pictures: Sequence[str], taken: Sequence[str]) -> list[ResultsFolder]:
    """Looks into the folders of `--results NAME=DIR`; files are found by name, whatever their format.

    Args:
        pictures: names of the pictures of the data.
        taken: names that engines and baselines have.

    Raises:
        UsageError: an option is not NAME=DIR, or a name is taken.
        DataError: a folder cannot be read, holds two files of one name, or none for any of the pictures.
    """
    found: list[ResultsFolder] = []
    for option in options:
        name, _, folder = option.partition("=")
        if not name or not folder:
            raise UsageError(f"--results is {option!r}; expected NAME=DIR, for example theirs=results/theirs")
        if name in (*taken, *(each.name for each in found)):
            raise UsageError(f"--results names {name}, which is something else's name already; choose another")
        files = pictures_by_name(Path(folder))
        if not files.keys() & set(pictures):
            raise DataError(
                f"{folder} holds no result for any of the {len(pictures)} pictures; expected files named as these are, "
                f"such as {pictures[0]}"
            )
        found.append(ResultsFolder(name, Path(folder), files))
    return found
