"""The command line's edges, in processes of their own: closed, full and broken streams, signals, too little memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_onnx
from PIL import Image

import mirnet_deploy
from mirnet_deploy.cli.process import on_signals

resource = pytest.importorskip("resource", reason="POSIX")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX streams and signals")
PROGRAM = [sys.executable, "-m", "mirnet_deploy"]
PIXELS = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(16, 24, 3)
# A shell that runs the tests in the background makes its children ignore SIGINT, and nohup SIGHUP.
FRESH = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
)


@pytest.fixture
def enhance(tmp_path: Path) -> list[str]:
    """A command that enhances a small picture, to itself, as tmp_path/out.png."""
    Image.fromarray(PIXELS).save(tmp_path / "in.png")
    model = make_onnx(tmp_path / "identity.onnx")
    return [
        "enhance",
        *map(str, (tmp_path / "in.png", "--model", model, "--device", "cpu", "-o", tmp_path / "out.png")),
    ]


def made(tmp_path: Path) -> np.ndarray:
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    return np.asarray(Image.open(tmp_path / "out.png"))


def closing(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def test_in_a_thread_of_another_program_its_handlers_stay() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with on_signals(lambda number: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_closed_streams_change_nothing(enhance: list[str], tmp_path: Path) -> None:
    """As under cron, pythonw or a service; and what is printed goes into no file that got the stream's number."""
    done = subprocess.run([*PROGRAM, *enhance], preexec_fn=closing(0, 1, 2), check=False)
    assert done.returncode == 0
    np.testing.assert_array_equal(made(tmp_path), PIXELS)
    child = (
        FRESH
        + "from mirnet_deploy.cli.process import _open_streams as o; o(); print([os.fstat(n).st_rdev for n in (0, 2)])"
    )
    seen = subprocess.run([sys.executable, "-c", child], stdout=-1, preexec_fn=closing(0, 2), check=True, text=True)
    null = Path(os.devnull).stat().st_rdev
    assert seen.stdout == f"[{null}, {null}]\n"


@pytest.mark.parametrize("command", ["--help", "--version", "info lite --json", "doctor --help"])
def test_a_full_standard_output_is_one_line_of_error(command: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*PROGRAM, *command.split()], stdout=full, stderr=-1, text=True, check=False)
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_full_streams_change_nothing_else(enhance: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*PROGRAM, *enhance], stdout=full, stderr=full, check=False)
        assert done.returncode == 1
        np.testing.assert_array_equal(made(tmp_path), PIXELS)
        done = subprocess.run([*PROGRAM, "enhance", "gone.png"], stdout=-1, stderr=full, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "0 enhanced, 0 skipped, 1 failed\n")


@pytest.mark.parametrize("command", ["--help", "doctor"])
def test_a_broken_pipe_ends_quietly(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, *command.split()], stdout=writer, stderr=-1, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


AT_IMPORT = (
    FRESH
    + """
class Finder:
    def find_spec(self, name, *_):
        if name == target:
            os.kill(os.getpid(), number)
target, number = sys.argv[1], int(sys.argv[2])
sys.meta_path.insert(0, Finder())
sys.argv = ["mirnet-deploy", *sys.argv[3:]]
from mirnet_deploy.__main__ import main
main()
"""
)


@pytest.mark.parametrize(
    ("module", "number", "command"),
    [
        ("click", signal.SIGTERM, "--help"),
        ("mirnet_deploy.cli.info", signal.SIGHUP, "info lite"),
        ("rich.table", signal.SIGINT, "info lite"),
        ("onnxruntime.capi", signal.SIGINT, "doctor"),
        ("torch", signal.SIGINT, "train nowhere"),
        ("torch", signal.SIGTERM, "export nowhere.pt"),
        ("numpy", signal.SIGINT, "bench --engine lite"),
    ],
)
def test_a_signal_in_the_middle_of_an_import_ends_it_in_silence(
    module: str, number: signal.Signals, command: str
) -> None:
    """It used to be a traceback, `pip install`, or a shorter report of `doctor`."""
    words = [sys.executable, "-c", AT_IMPORT, module, str(int(number)), *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_nothing_is_imported_before_signals_are_taken() -> None:
    """Each module would make the time longer in which a signal shows Python's own traceback."""
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import mirnet_deploy.__main__; "
        "print(*sorted(set(sys.modules) - before))"
    )
    words = [sys.executable, "-I", "-S", "-c", program, str(Path(mirnet_deploy.__file__).parents[1])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mirnet_deploy", "mirnet_deploy.__main__"]


@pytest.mark.parametrize("module", ["cv2", "onnxruntime"])
def test_a_signal_while_enhance_imports_is_told_as_such(module: str, enhance: list[str], tmp_path: Path) -> None:
    words = [sys.executable, "-c", AT_IMPORT, module, str(int(signal.SIGTERM)), *enhance, "--backend", "onnxruntime"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "interrupted: run the same command again to go on\n")
    assert "0 failed" in done.stdout
    assert {path.name for path in tmp_path.glob("*.png")} == {"in.png"}


def test_signals_that_are_ignored_stay_ignored() -> None:
    """As under nohup."""
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals(seen.append):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            # Not os.kill: pytest's faulthandler has a stack for signals which AMX's registers do not fit into.
            act = signal.getsignal(signal.SIGTERM)
            assert callable(act)
            act(signal.SIGTERM, None)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_second_signal_removes_what_is_half_written(tmp_path: Path) -> None:
    program = FRESH + (
        "from pathlib import Path; from mirnet_deploy.cli.process import on_signals\n"
        "from mirnet_deploy.files import atomic_path, temporary_folder\n"
        "again = lambda number: os.kill(os.getpid(), signal.SIGTERM)\n"
        "with temporary_folder() as folder, atomic_path(Path('x')) as half, on_signals(again):\n"
        "    half.write_text('half'); (folder / 'y').touch(); print(folder, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")
    assert not Path(done.stdout.strip()).exists()
    assert list(tmp_path.iterdir()) == []


BETWEEN = (
    FRESH
    + """
import threading, time
from pathlib import Path
import mirnet_deploy.cli.process as process, mirnet_deploy.files as files
rename = Path.replace
def slowly(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
Path.replace = slowly
def main():
    write = lambda: files.write_together({Path(name): b"new" for name in "abc"})
    thread = threading.Thread(target=write)
    write() if sys.argv[1] == "main" else (thread.start(), thread.join())
process.main = main
process.run()
"""
)


@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_signal_does_not_part_files_that_belong_together(tmp_path: Path, thread: str) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"old")
    words = [sys.executable, "-c", BETWEEN, thread]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys("abc", b"new")


def sweep(command: list[str], moments: list[float]) -> None:
    """Sends SIGINT and SIGTERM in turns, each to a process of its own, so many seconds after its start."""
    for index, moment in enumerate(moments):
        number = (signal.SIGINT, signal.SIGTERM)[index % 2]
        child = subprocess.Popen(
            [sys.executable, *PROGRAM[1:], *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        time.sleep(moment)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
        if "Traceback" in said and "mirnet_deploy/cli" not in said:  # Python itself had not begun, or just found us
            continue
        assert child.returncode in (0, 128 + number, -number), (moment, said)
        assert "Traceback" not in said
        assert "pip install" not in said


def test_signals_at_some_moments(enhance: list[str], tmp_path: Path) -> None:
    sweep(enhance, [0.15, 0.3, 0.45, 0.6])
    assert {path.name for path in tmp_path.iterdir()} <= {"in.png", "out.png", "identity.onnx", "identity.onnx.json"}


@pytest.mark.long
@pytest.mark.parametrize("command", ["enhance", "doctor", "info lite", "export weights/lite.pt --builder none -o"])
def test_signals_at_any_moment(command: str, enhance: list[str], tmp_path: Path) -> None:
    """`pytest -m long -k any_moment`"""
    words = enhance if command == "enhance" else command.split()
    sweep([*words, str(tmp_path)] if words[-1] == "-o" else words, [number / 50 for number in range(1, 100)])
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def enhance_within(mebibytes: int, command: list[str]) -> int:
    """Runs `enhance` where so much memory can be had, and checks that it says what is the matter or makes it right.

    Returns its exit code.
    """
    limit = mebibytes << 20
    done = subprocess.run(
        [*PROGRAM, *command, "--backend", "onnxruntime"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    target = Path(command[-1])
    if done.returncode == 0:
        np.testing.assert_array_equal(made(target.parent), PIXELS)
        target.unlink()
        return 0
    assert not target.exists()
    assert not list(target.parent.glob(".*"))
    if done.returncode == 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]  # libraries add their own
        assert len(said) == 1 or "OpenBLAS error" in done.stderr, (mebibytes, done.stderr)
        assert "Traceback" not in done.stderr, (mebibytes, done.stderr)
        assert "pip install" not in done.stderr
    else:  # ONNX Runtime and the C library do not outlive every allocation that fails
        assert done.returncode in (-signal.SIGSEGV, -signal.SIGABRT, 127), (mebibytes, done.stderr)
    return done.returncode


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept, or not known")
def test_too_little_memory_is_one_line(enhance: list[str]) -> None:
    for mebibytes in (60, 160):
        assert enhance_within(mebibytes, enhance) == 1


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept, or not known")
def test_any_memory_is_enough_or_one_line(enhance: list[str]) -> None:
    """`pytest -m long -k any_memory`"""
    codes = [enhance_within(mebibytes, enhance) for mebibytes in range(40, 640, 10)]
    assert codes[-1] == 0
    assert sum(code not in (0, 1) for code in codes) <= 3


FAILING = """
import sys
import _testcapi, cv2, PIL.Image
from mirnet_deploy.__main__ import main
import mirnet_deploy.cli.enhance as enhance, mirnet_deploy.engines.onnxruntime, mirnet_deploy.jobs.job
first, sys.argv = int(sys.argv[1]), ["mirnet-deploy", *sys.argv[2:]]
run = enhance._run
def failing(*arguments):
    _testcapi.set_nomemory(first, first + 1)  # the allocation of this number fails
    try:
        return run(*arguments)
    finally:
        _testcapi.remove_mem_hooks()
enhance._run = failing
main()
"""


def enhance_with_a_failure(first: int, command: list[str]) -> None:
    words = [sys.executable, "-c", FAILING, str(first), *command, "--backend", "onnxruntime"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    target = Path(command[-1])
    if done.returncode == 0:
        np.testing.assert_array_equal(made(target.parent), PIXELS)
        target.unlink()
    else:
        assert done.returncode == 1, (first, done.stderr)
        assert "memory" in done.stderr, (first, done.stderr)
        assert "Traceback" not in done.stderr, (first, done.stderr)
        assert not target.exists()


def test_an_allocation_that_fails_is_told(enhance: list[str]) -> None:
    pytest.importorskip("_testcapi", reason="CPython's own, which some distributions leave out")
    # Behind the first imports, in whose locks and paths CPython answers with other errors than a MemoryError.
    enhance_with_a_failure(1000, enhance)


def test_memory_that_fails_while_signals_are_taken_is_a_memory_error() -> None:
    pytest.importorskip("_testcapi", reason="CPython's own, which some distributions leave out")
    code = (
        "import _testcapi\nfrom mirnet_deploy.cli.process import end, on_signals\nfailed = 0\n"
        "for first in range(100):\n    _testcapi.set_nomemory(first, first + 1)\n    try:\n"
        "        with on_signals(end):\n            pass\n    except MemoryError:\n        failed += 1\n"
        "    finally:\n        _testcapi.remove_mem_hooks()\nprint(failed)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0


@pytest.mark.long
def test_any_allocation_may_fail(enhance: list[str]) -> None:
    """`pytest -m long -k any_allocation`"""
    pytest.importorskip("_testcapi", reason="CPython's own, which some distributions leave out")
    for number in range(60):
        enhance_with_a_failure(int(1.17**number * 2), enhance)
