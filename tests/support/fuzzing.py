"""A fuzzer by mutation: damaged copies of sound files go to a target, each batch in a process of its own.

    python tests/support/fuzzing.py --seconds 600 --seed 1 [TARGET ...]

An input is decided by the target, the seed and its number alone, so that every fault can be had again:

    python tests/support/fuzzing.py --show 1234 --seed 1 png > fault.png

`pytest -m long -k fuzz` is the first, with a seed that differs every time; `tests/test_fuzz.py` has a short form, too.

With `--guided` Atheris (`pip install atheris`) chooses what to damage further, by the lines of mirnet-deploy that an
input reaches; it stops at the first fault, and keeps the input.

What counts as a fault: an exception other than the target's own refusals, the death of the process, more than
`MOST_SECONDS` of processor time or `MOST_WAITING` seconds, more than `MOST_MEMORY` beyond what the process had before,
anything that is printed, and any file that is written, moved or removed, or program that is started, outside of the
input's folder.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_SECONDS, MOST_WAITING = 5.0, 60.0
MOST_MEMORY = 192 << 20
"""Bytes beyond those before an input, of at most `fuzz_targets.MOST_PIXELS` pixels."""
_ROOM = 4 << 30
"""Bytes of addresses beyond those at the beginning: so that a fault does not take the machine's memory."""
_BATCH = 3000
"""Inputs that a process gets, at most."""
_QUIET = {"raw"}
"""Targets whose library prints a line of its own, which cannot be turned off (`images/raw.py`)."""


ALL = "all"
"""In place of a target: all of them in turn, with damaged files alone."""
FAULTY = "faulty"
"""A target that does what the bytes say, for the test of the fuzzer."""
_FAULTS = (
    b"print('hello')",
    b"open(__file__, 'a')",
    b"bytearray(1 << 28)",
    b"raise KeyError('no')",
    b"import os; os.abort()",
    b"import time; time.sleep(99)",
)


def input_of(target: str, seed: int, number: int) -> tuple[str, bytes]:
    """The target that gets an input, and the input. The seeds as they are come first, then damaged ones."""
    if target == FAULTY:
        return target, _FAULTS[number]
    from fuzz_seeds import mutated, seeds
    from fuzz_targets import TARGETS

    if target == ALL:
        target, number = list(TARGETS)[number % len(TARGETS)], 1000 + number // len(TARGETS)
    files = seeds(target)
    return target, files[number] if number < len(files) else mutated(random.Random(f"{target} {seed} {number}"), files)


@dataclass(frozen=True)
class Fault:
    target: str
    seed: int
    number: int
    what: str


def fuzz(target: str, seed: int, inputs: int, seconds: float = float("inf")) -> tuple[int, list[Fault]]:
    """How many inputs a target got, until there were so many or the time was over, and its faults."""
    deadline, number, faults = time.monotonic() + seconds, 0, list[Fault]()
    while number < inputs and time.monotonic() < deadline:
        last = min(inputs, number + _BATCH)
        for number, what in _batch(target, seed, number, last, deadline):  # noqa: B020 (the next batch goes on there)
            if what:
                faults.append(Fault(target, seed, number, what))
        number += 1
    return number, faults


def _batch(target: str, seed: int, first: int, last: int, deadline: float) -> Iterator[tuple[int, str]]:
    """Yields the number of each input that was begun, with what was wrong with it or nothing."""
    words = [sys.executable, __file__, "--worker", str(first), "--inputs", str(last), "--seed", str(seed), target]
    process = subprocess.Popen([*words, "--seconds", str(max(0.0, deadline - time.monotonic()))], stdout=-1)
    assert process.stdout is not None
    waiting, number, ready = b"", first, False
    yield number, ""
    while True:
        if not select.select([process.stdout], [], [], MOST_WAITING if ready else 600)[0]:
            process.kill()
            yield number, f"takes more than {MOST_WAITING:.0f} seconds"
            break
        read = os.read(process.stdout.fileno(), 1 << 16)
        if not read:
            break
        *lines, waiting = (waiting + read).split(b"\n")
        for line in lines:
            ready = True
            at, _, what = line.decode(errors="replace").partition(" ")
            number = int(at)
            yield number, what
    process.stdout.close()
    if process.wait() and process.returncode != -9:
        yield number, f"the process ended with {process.returncode}"


def work(target: str, seed: int, first: int, last: int, seconds: float) -> None:
    """Gives the inputs to the target, and prints the number of each, and what is wrong with it."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as printed:
        for number in (1, 2):
            os.dup2(printed.fileno(), number)
        os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = tempfile.tempdir = scratch
        os.environ.setdefault("MIRNET_DEPLOY_BACKEND", "onnxruntime")
        _load(target, scratch)
        printed.seek(0)
        printed.truncate()
        outside: list[str] = []
        _watch(Path(scratch).resolve(), outside)
        _limit_addresses()
        for number in range(first, last):
            if time.monotonic() > end:
                break
            name, data = input_of(target, seed, number)
            told.write(f"{number}\n")
            what = _faults(lambda: _attempt(name, data, scratch))  # noqa: B023
            sys.stdout.flush()
            sys.stderr.flush()
            if printed.seek(0, 2) and name not in _QUIET:
                printed.seek(0)
                what.append(f"prints {printed.read()[:300]!r}")
            printed.seek(0)
            printed.truncate()
            what += outside
            outside.clear()
            for each in what:
                told.write(f"{number} {name}: {' '.join(each.split())[:600]}\n")


def _load(target: str, scratch: str) -> None:
    """Loads what a target takes, so that it counts neither as time nor as memory of its first input."""
    if target == FAULTY:
        return
    from fuzz_seeds import seeds
    from fuzz_targets import TARGETS
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")  # as the commands do
    Image.MAX_IMAGE_PIXELS = None
    for name in TARGETS if target == ALL else [target]:
        _faults(lambda: _attempt(name, seeds(name)[0], scratch))  # noqa: B023


def _attempt(target: str, data: bytes, scratch: str) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        os.chdir(folder)
        try:
            if target == FAULTY:
                exec(data, {"__file__": __file__})
                return
            from fuzz_targets import TARGETS

            TARGETS[target](data, Path(folder))
        finally:
            os.chdir(scratch)


def _faults(attempt: Callable[[], object], most_seconds: float = MOST_SECONDS) -> list[str]:
    """What is wrong with an attempt."""

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew
    memory, begin, what = _memory("VmRSS"), time.process_time(), list[str]()
    try:
        attempt()
    except Exception as error:
        frames = [f"{Path(each.filename).name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
        what.append(f"{type(error).__name__}: {str(error)[:400]} ({' '.join(frames[-6:])})")
    if (taken := time.process_time() - begin) > most_seconds:
        what.append(f"takes {taken:.1f} s of processor time")
    if (more := _memory("VmHWM") - memory) > MOST_MEMORY:
        what.append(f"takes {more >> 20} MiB of memory")
    return what


def _memory(name: str) -> int:
    """A figure of /proc/self/status in bytes; 0 where there is none."""
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) << 10 if found else 0


def _limit_addresses() -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _ROOM,) * 2)


def _watch(scratch: Path, outside: list[str]) -> None:
    """Notes what is written, moved, removed or started outside of a folder, as far as Python knows of it."""
    places = {"os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1, "os.link": 2}
    started = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.fork")

    def hook(event: str, given: tuple[Any, ...]) -> None:
        paths: Sequence[Any] = given[: places.get(event, 0)]
        if event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR):
            paths = given[:1]
        elif event in started:
            outside.append(f"{event} {given!r}")
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                whole = Path(os.path.realpath(os.fsdecode(path)))
                if not any(whole.is_relative_to(place) for place in (scratch, "/proc", "/dev/null")):
                    outside.append(f"{event} of {whole}")

    sys.addaudithook(hook)


def guided(target: str, seconds: float) -> None:
    """As `fuzz`, in this process, by Atheris: it damages further what reached new lines, and ends with a fault."""
    import atheris
    from fuzz_seeds import mutated, seeds

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds(target)):
            (Path(folder) / str(number)).write_bytes(data)
        _load(target, folder)
        options = [f"-max_total_time={seconds:.0f}", f"-rss_limit_mb={(MOST_MEMORY >> 20) + 1000}", "-max_len=65536"]
        atheris.Setup(
            ["fuzzing", *options, f"-timeout={MOST_SECONDS:.0f}", folder],
            lambda data: _attempt(target, data, folder),
            custom_mutator=lambda data, most, seed: mutated(random.Random(seed), [data, *seeds(target)])[:most],
        )
        atheris.Fuzz()


def _arguments() -> argparse.Namespace:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description="Gives damaged files to everything that reads files.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", choices=[*TARGETS, ALL, FAULTY, []], help=", ".join(TARGETS)
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="Of all targets together.")
    parser.add_argument("--inputs", type=int, default=10**9, help="Of each target, at most.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, metavar="NUMBER", help="Write this input of the one target instead.")
    parser.add_argument("--guided", action="store_true", help="By Atheris, one target: see above.")
    parser.add_argument("--worker", type=int, metavar="FIRST", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.targets = given.targets or list(TARGETS)
    return given


def main() -> int:
    given = _arguments()
    if given.show is not None:
        sys.stdout.buffer.write(input_of(given.targets[0], given.seed, given.show)[1])
        return 0
    if given.worker is not None:
        work(given.targets[0], given.seed, given.worker, given.inputs, given.seconds)
        return 0
    if given.guided:
        guided(given.targets[0], given.seconds)
        return 0
    found = 0
    for target in given.targets:
        count, faults = fuzz(target, given.seed, given.inputs, given.seconds / len(given.targets))
        print(f"{target}: {count} inputs, {len(faults)} faults", flush=True)
        for fault in faults:
            print(f"  --show {fault.number} --seed {fault.seed} {target}: {fault.what}", flush=True)
        found += len(faults)
    return 1 if found else 0


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    if "--guided" in sys.argv:
        import atheris

        with atheris.instrument_imports(include=["mirnet_deploy"]):
            import fuzz_targets  # noqa: F401
    sys.exit(main())
