"""`mirnet-deploy` and `python -m mirnet_deploy`. From here on a signal ends the process in silence.

Python's own answer is an exception, and in the middle of an import that becomes an ImportError ("not installed"), is
swallowed, or brings a library down. So nothing else is imported before.
"""

import os
import signal


def _end(number: int, frame: object) -> None:
    os._exit(128 + number)


for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    _number = getattr(signal, _name, None)  # Windows has no SIGHUP
    if _number is not None and signal.getsignal(_number) is not signal.SIG_IGN:  # as under nohup
        signal.signal(_number, _end)


def main() -> None:
    """Runs the command that `sys.argv` holds, and exits."""
    from mirnet_deploy.cli.process import run

    run()


if __name__ == "__main__":
    main()
