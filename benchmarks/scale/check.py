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
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO

from mirnet_deploy.benchmarks.scale.deployment import Hosts
from mirnet_deploy.benchmarks.scale.measuring import Measuring, last_line, measure
from mirnet_deploy.benchmarks.scale.model import HOUR, Cluster, steady_state
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.machine import describe_processor
from mirnet_deploy.pairs import images_in

PLAIN = "mirnet-deploy enhance --model {model} --device cpu --threads {threads} {source} -o {target}"
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
    pictures: int = 32
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
    hosts = Hosts("this machine", vcpus=actors * check.what.threads)
    return steady_state(Cluster(hosts, 1, costs, manifest=manifest)).pictures_per_hour / HOUR


def _timed(check: Check, each: int) -> float:
    """Wall clock of all commands, with so many pictures for each actor."""
    with temporary_folder() as folder, ExitStack() as stack:
        sources = [folder / f"source-{number}" for number in range(check.commands)]
        drawn = replace(check.what, pictures=check.pictures).drawn
        for actor in range(check.what.processes):
            source = sources[actor % check.commands]
            source.mkdir(exist_ok=True)
            for index, path in enumerate(drawn(actor)[:each]):
                shutil.copy(path, source / f"{actor:03d}-{index:06d}{path.suffix}")
        begin = perf_counter()
        commands = [_started(check, source, stack) for source in sources]
        for process, errors in commands:
            if process.wait():
                raise MirnetDeployError(f"--command failed: {last_line(errors)}")
        seconds = perf_counter() - begin
        for source in sources:
            count = len(list(source.iterdir()))
            made = len(images_in(_target(source), recursive=True)) if _target(source).is_dir() else 0
            if made != count:
                raise MirnetDeployError(f"--command made {made} of {count} pictures")
    return seconds


def _started(check: Check, source: Path, stack: ExitStack) -> tuple[subprocess.Popen[bytes], IO[str]]:
    """A command, and what it says of errors: in a file, as a pipe would fill while another command is waited for."""
    places = {"source": source, "target": _target(source), "model": check.what.model, "threads": check.what.threads}
    words = shlex.split(check.command)
    for name, value in places.items():
        words = [word.replace(f"{{{name}}}", str(value)) for word in words]
    if words[0] == "mirnet-deploy":  # this one, whatever is on the path
        words[:1] = [sys.executable, "-P", "-m", "mirnet_deploy"]
    errors = stack.enter_context(TemporaryFile("w+"))  # noqa: SIM115 (the stack closes it)
    try:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
    except OSError as error:
        raise UsageError(f"--command {words[0]} cannot be started: {error.strerror}") from error
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process, errors


def _target(source: Path) -> Path:
    return source.with_name(source.name.replace("source", "target"))
