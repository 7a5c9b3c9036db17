"""`mirnet-deploy enhance --ray`: the same job on a cluster, its report, and what the manifest says of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.enhance_report import report_on
from mirnet_deploy.cli.options import RUNTIME_OPTIONS, ClusterOptions
from mirnet_deploy.cli.process import end, on_signals
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import ClusterError, MirnetDeployError, UsageError
from mirnet_deploy.files import remove_leftovers

if TYPE_CHECKING:
    from mirnet_deploy.cluster.manifest import Manifest
    from mirnet_deploy.cluster.planning import Picture, Refused
    from mirnet_deploy.cluster.run import ClusterJob
    from mirnet_deploy.cluster.storage import Location
    from mirnet_deploy.jobs.settings import JobSettings


def enhance_on_cluster(
    options: ClusterOptions,
    paths: Sequence[str],
    output: str | None,
    asked: JobSettings,
    jobs: int,
    recursive: bool,
    as_json: bool,
) -> bool:
    """Runs the job and reports on it. Returns whether a picture failed.

    Raises:
        MirnetDeployError: the job cannot be done, or not to its end; what was done till then was reported.
    """
    from mirnet_deploy.cluster.nodes import spilled_bytes
    from mirnet_deploy.cluster.planning import plan
    from mirnet_deploy.cluster.session import cluster, leave

    place, manifest = _places(options, paths, output, asked)
    entries = plan(paths, place, asked.target_format, recursive, manifest.finished.values())
    started: list[ClusterJob] = []
    stdout, stderr, ended = sys.stdout, os.dup(2), None
    opened = ExitStack()

    def stop(number: int) -> None:
        with suppress(OSError):  # it was closed: the work is done
            os.dup2(stderr, 2)  # which leads nowhere while Ray starts
        opened.close()
        leave(None)  # where the cluster was still being reached or started, `opened` does not hold it yet
        sys.stdout = stdout
        if started:
            _stopped(started[0], entries, as_json)
        click.echo("interrupted: run the same command again to go on", err=True)
        end(number)

    # What comes again has to wait: `timeout` sends its signal twice, and Ray's processes would be left behind.
    with on_signals(stop, again=lambda number: None), opened:
        opened.callback(os.close, stderr)
        ray = opened.enter_context(cluster(options.address))
        bar = opened.enter_context(progress_bar("enhancing", len(entries)))
        job = _prepared(ray, options, asked, jobs, manifest, place, bool(options.manifest), len(entries))
        started.append(job)
        try:
            job.run(entries, bar)
            manifest.close()
        except ClusterError as error:
            ended = error
        job.facts["spilled_bytes"] = spilled_bytes(ray)
    remove_leftovers(_targets(job, entries, job.retried))
    report(job, as_json)
    if ended:
        raise ended
    return any(entry["status"] == "failed" for entry in job.entries.values())


def _places(
    options: ClusterOptions, paths: Sequence[str], output: str | None, asked: JobSettings
) -> tuple[Location, Manifest]:
    """The folder of the results, and the manifest as earlier runs left it."""
    from mirnet_deploy.artifacts.version import __version__
    from mirnet_deploy.cluster.manifest import NAME, Manifest
    from mirnet_deploy.cluster.order import settings_dict
    from mirnet_deploy.cluster.storage import Location

    if output is None or output == "-" or "-" in paths:
        raise UsageError("--ray takes files, folders and URLs, and needs -o FOLDER or -o URL")
    if asked.runtime.device.startswith("cuda") and not options.gpus_per_actor:
        raise UsageError(f"--device {asked.runtime.device} needs --gpus-per-actor, such as 1")
    place = _absolute(Location.of(output))
    where = place.below(NAME) if options.manifest is None else _absolute(Location.of(options.manifest))
    manifest = Manifest(where, {**settings_dict(asked), "output": str(place), "version": __version__})
    return place, manifest


def _absolute(location: Location) -> Location:
    return location if location.local is None else replace(location, path=str(location.local.absolute()))


def _prepared(
    ray: Any,
    options: ClusterOptions,
    asked: JobSettings,
    jobs: int,
    manifest: Manifest,
    output: Location,
    elsewhere: bool,
    count: int,
) -> ClusterJob:
    """The job, its settings resolved, and its line in the manifest."""
    from mirnet_deploy.cluster.nodes import Room, actors_for, check_machines, memory_of_actor, resolve
    from mirnet_deploy.cluster.order import Order, model_files, settings_dict, settings_of
    from mirnet_deploy.cluster.run import ClusterJob

    room = Room(asked.runtime.threads or 1, options.gpus_per_actor)
    actors = min(actors_for(ray, room, options.actors), max(count, 1))
    machines = check_machines(ray)
    model = ray.put(model_files(asked.model))
    known = None if manifest.settings is None or asked.force else settings_of(manifest.settings, asked.force)
    settings, backend = resolve(ray, model, asked, known, room, memory_of_actor(ray, room, actors), jobs)
    facts = {"machines": machines, "actors": actors, "gpus_per_actor": room.gpus, "backend": backend}
    manifest.begin(settings_dict(settings), command=plain_command(settings, output), cluster=facts)
    seen = None if elsewhere or output.local is None else manifest.location.local
    order = Order(asked, settings, backend, output, seen, jobs)
    return ClusterJob(ray, order, model, manifest, room, actors, facts)


def _stopped(job: ClusterJob, plan: Sequence[Picture | Refused], as_json: bool) -> None:
    """What is left to do when a signal has ended the job."""
    try:
        job.manifest.close()
        report(job, as_json)
    except MirnetDeployError as error:
        click.echo(f"error: {error}", err=True)
    unfinished = {index for index in range(len(plan)) if index not in job.entries}
    remove_leftovers(_targets(job, plan, job.retried | unfinished))


def _targets(job: ClusterJob, plan: Sequence[Picture | Refused], indices: set[int]) -> list[Path]:
    """What results of pictures may be called, as far as they lie on this machine."""
    from mirnet_deploy.cluster.planning import Picture
    from mirnet_deploy.images.formats import SUFFIXES

    entries = [plan[index] for index in sorted(indices)]
    pictures = [entry for entry in entries if isinstance(entry, Picture)]
    places = [
        picture.place.with_name(picture.place.stem + suffix)
        for picture in pictures
        for suffix in dict.fromkeys((picture.place.suffix, *SUFFIXES))
    ]
    found = [job.order.output.below(place).local for place in places]
    return [path for path in found if path is not None]


def report(job: ClusterJob, as_json: bool) -> None:
    """The report of plain `enhance`, and what is known of the cluster; see `cli.enhance_report`."""
    from mirnet_deploy.cluster.nodes import processors

    entries = [entry for _, entry in sorted(job.entries.items())]
    kinds = processors(entries)
    known = {**job.facts, "processors": kinds, "tried_again": len(job.retried)}
    settings, where = job.order.settings, str(job.manifest.location)
    shown = {"model_sha256": settings.model_sha256, "cluster": {**known, "manifest": where}}
    report_on(entries, as_json, False, shown)
    if len(kinds) > 1:
        click.echo(f"note: {len(kinds)} kinds of processors, which may round otherwise: {', '.join(kinds)}", err=True)
    spilled = known.get("spilled_bytes")
    told = "unknown" if spilled is None else str(spilled)
    click.echo(
        f"{_counted(known['actors'], 'actor')} on {_counted(len(known['machines']), 'machine')}; "
        f"{_counted(len(job.retried), 'picture')} tried again; "
        f"bytes spilled by Ray: {told}; manifest: {where}",
        err=True,
    )
    click.echo(f"the same on one machine: {plain_command(settings, job.order.output)}", err=True)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def plain_command(settings: JobSettings, output: Location) -> str:
    """The command that makes the same results on one machine, without its pictures; and without its output where that
    is no folder of this machine."""
    folder = "FOLDER" if output.local is None else str(output)
    words = ["mirnet-deploy", "enhance", "PATH...", "-o", folder, "--model", settings.model]
    defaults = type(settings.runtime)()
    for name in RUNTIME_OPTIONS:
        value = getattr(settings.runtime, name)
        if name == "graphs":
            words += [] if value else ["--no-graph"]
        elif value is not None and value != getattr(defaults, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--format", settings.target_format] if settings.target_format else []
    words += ["--quality", str(settings.quality), "--subsampling", settings.subsampling]
    words += ["--max-pixels", str(settings.max_pixels)]
    words += [] if settings.colour_management else ["--no-colour-management"]
    return shlex.join(words)
