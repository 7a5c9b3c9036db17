"""`mirnet-deploy` and `python -m mirnet_deploy`. From the start of `main` a signal ends the process in silence.

Python's own answer is an exception, and in the middle of an import that becomes an ImportError ("not installed"), is
swallowed, or brings a library down. So nothing else is imported before, not even `signal`: the part of it that is built
into Python takes no time. A signal in Python's own start, before `main`, still shows Python's traceback.
"""

import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """Runs the command that `sys.argv` holds, and exits."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)  # Windows has no SIGHUP
        if number is not None and _signal.getsignal(number) != _signal.SIG_IGN:  # as under nohup
            _signal.signal(number, _end)
    from mirnet_deploy.cli.process import run

    run()


def _end(number: int, frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
