"""The quality part of a bench run: measures picture by picture, and says what there is so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mirnet_deploy.benchmarks.baselines import baselines
from mirnet_deploy.benchmarks.comparing import gaps, paired_tests, worst_pictures
from mirnet_deploy.benchmarks.honesty import claim_line, explained_lines
from mirnet_deploy.benchmarks.latency import Enhancer
from mirnet_deploy.benchmarks.page.pictures import Gallery
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow, mean_rows, measure_pairs
from mirnet_deploy.benchmarks.report import Quality
from mirnet_deploy.benchmarks.scenes import Scene
from mirnet_deploy.benchmarks.sheet import Sheet
from mirnet_deploy.benchmarks.subjects.results import ResultsFolder
from mirnet_deploy.pairs import Pair


def operations(scenes: Sequence[Scene], with_baselines: bool) -> list[Enhancer]:
    """What is measured before the engines: the baselines, or the untouched input where nothing else is there to compare
    with."""
    found: list[Enhancer] = [*baselines()]
    return found if with_baselines else found[: not _paired(scenes)]


class QualityRun:
    """Measures baselines, engines and others' results on pictures.

    Args:
        gallery: gets what a page may show.
        watch: gets every picture with what was made of it.
    """

    def __init__(
        self,
        data: Path,
        scenes: Sequence[Scene],
        engines: Sequence[Enhancer | ResultsFolder],
        *,
        with_baselines: bool,
        claimed: float | None,
        gallery: Gallery | None = None,
        watch: Callable[[MeasuredPair], None] | None = None,
    ) -> None:
        self._data, self._claimed, self._paired = data, claimed, _paired(scenes)
        first = operations(scenes, with_baselines)
        self._all: list[Enhancer | ResultsFolder] = [*first, *engines]
        self._first, self._gallery, self._watch = len(first), gallery, watch
        self._skip = bool(first)  # the input is the sheet's first column anyway
        self._reference = engines[0].name
        self._rows: list[QualityRow] = []
        ends = ["ground truth"] if self._paired else []
        self.sheet = Sheet(["input", *(each.name for each in self._all[self._skip :]), *ends])

    def measure(self, scenes: Iterable[Scene], advance: Callable[[], None]) -> Iterator[Quality]:
        """Measures the pictures, and yields what there is so far after each."""
        for pair in measure_pairs(scenes, self._all, advance):
            self._rows += pair.rows
            self.sheet.add(pair, skip=int(self._skip))
            if self._gallery:
                self._gallery.add_measured(pair, before=self._first)
            if self._watch:
                self._watch(pair)
            yield self.quality(whole=False)

    def quality(self, *, whole: bool) -> Quality:
        """What was measured so far; the intervals and tests, which take time, only if it is the `whole`."""
        means = mean_rows(self._rows, intervals=whole)
        remarks = explained_lines(means)
        if self._claimed is not None:
            remarks.append(claim_line(self._claimed, next(mean for mean in means if mean.engine == self._reference)))
        return Quality(
            str(self._data),
            means,
            list(self._rows),
            remarks + gaps(self._rows) if whole else remarks,
            tests=paired_tests(self._rows, self._reference) if whole else [],
            worst=worst_pictures(self._rows),
            paired=self._paired,
        )


def _paired(scenes: Sequence[Scene]) -> bool:
    return isinstance(scenes[0], Pair)
