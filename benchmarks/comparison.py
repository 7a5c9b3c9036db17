"""The forms of one checkpoint side by side: each is run once, then all take turns in one bench run, and a row for each
says what it costs and how far its results are from PyTorch's in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.apart import Apart
from mirnet_deploy.benchmarks.baselines import others
from mirnet_deploy.benchmarks.forms import REFERENCE, Form, FormRow
from mirnet_deploy.benchmarks.inputs import Image, Size, one_line, sample_picture
from mirnet_deploy.benchmarks.quality import MeasuredPair
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.need import lack_of_memory
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.benchmarks.subjects.runtime import RuntimeSubject
from mirnet_deploy.errors import EngineError
from mirnet_deploy.settings import RuntimeSettings


@dataclass
class Comparison:
    """What is known so far of the forms of one checkpoint."""

    forms: list[Form]
    apart: dict[str, Apart] = field(default_factory=dict)
    """Form -> its largest difference from the reference."""
    executed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Form -> the precision that it computed in, and how that is known; where its library tells."""

    @property
    def running(self) -> dict[str, str]:
        """The forms that run: name -> engine, as `SubjectSpec.engine`."""
        return {form.name: form.engine for form in self.forms if form.engine is not None}

    def first_runs(
        self, settings: RuntimeSettings, size: Size, advance: Callable[[], object], say: Callable[[str], object]
    ) -> None:
        """Runs every form once, alone, and compares its result with the reference's. One that fails is no longer among
        those that run.

        Args:
            advance: called after every form.
            say: gets a line for every form that does not run.
        """
        picture, reference = sample_picture(size), None
        for place, form in enumerate(self.forms):
            if form.engine is not None:
                try:
                    result, proof = _run_once(SubjectSpec(form.engine, settings), picture, size)
                    if proof is not None:
                        self.executed[form.name] = proof
                    reference = result if form.name == REFERENCE else reference
                    if reference is not None:
                        self.apart[form.name] = Apart.of(result, reference)
                except Exception as error:  # any library's out-of-memory: the others go on
                    self.forms[place] = Form(form.name, failure=one_line(error))
            if failure := self.forms[place].failure:
                say(f"{form.name} is left out: {failure}")
            advance()

    def watch(self, pair: MeasuredPair) -> None:
        """Takes note of what the forms made of a picture of the data."""
        outputs = {row.engine: output for row, output in zip(pair.rows, pair.outputs, strict=True)}
        reference = outputs.get(REFERENCE)
        if reference is None:
            return
        for name in self.running:
            output = outputs.get(name)
            if output is not None:
                here = Apart.of(output, reference)
                self.apart[name] = here.or_worse(self.apart[name]) if name in self.apart else here

    def added_to(self, report: Report) -> Report:
        """The report with a row for every form, and with the baselines and others' results that were held against
        ground truths."""
        return replace(report, forms=[*(self._row(form, report) for form in self.forms), *self._others(report)])

    def _others(self, report: Report) -> list[FormRow]:
        """All that was measured beside the forms; without a ground truth there is nothing to say of it."""
        if not report.quality or not report.quality.paired:
            return []
        rows = [mean for mean in report.quality.means if mean.engine not in self.running]
        results = others(mean.engine for mean in rows)
        kinds = {mean.engine: "results" if mean.engine in results else "no model" for mean in rows}
        return [FormRow(f"{mean.engine} ({kinds[mean.engine]})", engine=mean.engine, psnr=mean.psnr) for mean in rows]

    def _row(self, form: Form, report: Report) -> FormRow:
        if form.engine is None:
            return FormRow(form.name, failure=form.failure)
        engine = next(each for each in report.engines if each.name == form.name)
        row = next((each for each in report.latency if each.engine == form.name), None)
        is_first = report.engines[0].name == REFERENCE  # else the rows' ratios are to another form
        means = report.quality.means if report.quality else []
        apart = self.apart.get(form.name)
        precision, proof = self.executed.get(form.name, (engine.precision, engine.precision_proof))
        return FormRow(
            form.name,
            engine=form.name,
            device=engine.device,
            bytes=engine.file_bytes,
            precision=precision,
            precision_proof=proof,
            p50_ms=row.p50_ms if row else None,
            ratio=row.ratio if row and is_first else None,
            ratio_interval=row.ratio_interval if row and is_first else None,
            psnr=next((mean.psnr for mean in means if mean.engine == form.name), None),
            difference_psnr=apart.psnr if apart else None,
            max_levels=apart.max_levels if apart else None,
            failure=row.failure if row else None,
        )


def _run_once(spec: SubjectSpec, picture: Image, size: Size) -> tuple[Image, tuple[str, str] | None]:
    """The result, and `RuntimeSubject.executed`."""
    with open_subject(spec) as subject:
        if lack := lack_of_memory(subject.report, size):
            raise EngineError(lack)
        result: NDArray[Any] = subject.enhance(picture)
        return np.array(result), subject.executed() if isinstance(subject, RuntimeSubject) else None
