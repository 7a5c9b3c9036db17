"""The simulation against this machine: real commands on real pictures, and what was predicted of them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from mirnet_deploy.benchmarks.scale.deployment import Hosts
from mirnet_deploy.benchmarks.scale.measuring import Measuring, measure
from mirnet_deploy.benchmarks.scale.model import HOUR, Fleet, even_rate
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.machine import describe_processor

PLAIN = "mirnet-deploy enhance --model {model} --threads {threads} {source} -o {target}"
"""What is checked unless the user names another command."""
FEW = 4
"""The short run has one picture where the long one has so many: both start alike, so that the difference of their times
is that of pictures alone."""


@dataclass(frozen=True)
class Check:
    """What to check.

    Raises:
        UsageError: the command lacks a place, there are too few pictures, or too many actors for this machine.
    """

    what: Measuring
    """Of it `processes` is the number of actors, all commands together."""
    command: str = PLAIN
    """With {source} and {target}, folders; {model} and {threads} are filled in too."""
    commands: int = 1
    """At once, each with pictures of its own."""
    pictures: int = 24
    """Of each actor in the long run."""
    rounds: int = 3

    def __post_init__(self) -> None:
        for place in ("{source}", "{target}"):
            if place not in self.command:
                raise UsageError(f"--command {self.command!r} has no {place}")
        if self.pictures < FEW:
            raise UsageError(f"--each is {self.pictures}; expected at least {FEW}")
        actors, cores = self.what.processes, describe_processor()["cores"]
        if actors * self.what.threads > cores:
            raise UsageError(f"{actors} actors with {self.what.threads} threads do not fit on {cores} processors")
        if actors % self.commands:
            raise UsageError(f"{actors} actors cannot be shared by {self.commands} commands alike")


@dataclass(frozen=True)
class CheckRound:
    """One round: costs were measured and simulated, then the commands ran."""

    predicted_per_s: float
    """Pictures a second, from the simulation."""
    measured_per_s: float | None
    """Of the commands; None where more pictures took no longer, and nothing can be told."""
    short_s: float
    """Wall clock of the short run, from the first command's begin to the last one's end."""
    long_s: float

    @property
    def ratio(self) -> float | None:
        """Measured over predicted: below 1 the commands are slower."""
        return None if self.measured_per_s is None else self.measured_per_s / self.predicted_per_s


def run_check(check: Check) -> Iterator[CheckRound]:
    """Makes the rounds.

    Raises:
        MirnetDeployError: a command failed, or did not make all pictures.
    """
    short = check.pictures // FEW
    for _ in range(check.rounds):
        predicted = _predicted(check)
        short_s, long_s = _timed(check, short), _timed(check, check.pictures)
        more = (check.pictures - short) * check.what.processes
        yield CheckRound(predicted, more / (long_s - short_s) if long_s > short_s else None, short_s, long_s)


def _predicted(check: Check) -> float:
    """Pictures a second of this machine as a host."""
    actors = check.what.processes
    costs, manifest = measure(replace(check.what, pictures=check.pictures))
    hosts = Hosts("this machine", cores=actors * check.what.threads)
    return even_rate(Fleet(hosts, 1, costs, manifest=manifest)).pictures_per_hour / HOUR


def _timed(check: Check, each: int) -> float:
    """Wall clock of all commands, with so many pictures for each actor."""
    with temporary_folder() as folder, ExitStack() as stack:
        sources = [folder / f"source-{number}" for number in range(check.commands)]
        count = each * check.what.processes // check.commands
        for source in sources:
            source.mkdir()
            for index in range(count):
                path = check.what.paths[index % len(check.what.paths)]
                shutil.copy(path, source / f"{index:06d}{path.suffix}")
        begin = perf_counter()
        commands = [_started(check, source, stack) for source in sources]
        for process in commands:
            _, errors = process.communicate()
            if process.returncode:
                raise MirnetDeployError(f"--command failed: {(errors.strip().splitlines() or ['no output'])[-1][:300]}")
        seconds = perf_counter() - begin
        for source in sources:
            made = sum(path.suffix in _suffixes(check) for path in _target(source).rglob("*"))
            if made != count:
                raise MirnetDeployError(f"--command made {made} of {count} pictures")
    return seconds


def _started(check: Check, source: Path, stack: ExitStack) -> subprocess.Popen[str]:
    places = {"source": source, "target": _target(source), "model": check.what.model, "threads": check.what.threads}
    words = shlex.split(check.command)
    for name, value in places.items():
        words = [word.replace(f"{{{name}}}", str(value)) for word in words]
    if words[0] == "mirnet-deploy":  # this one, whatever is on the path
        words[:1] = [sys.executable, "-P", "-m", "mirnet_deploy"]
    try:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise UsageError(f"--command {words[0]} cannot be started: {error.strerror}") from error
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _target(source: Path) -> Path:
    return source.with_name(source.name.replace("source", "target"))


def _suffixes(check: Check) -> set[str]:
    return {path.suffix for path in check.what.paths}
