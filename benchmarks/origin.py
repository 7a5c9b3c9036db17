"""Where figures come from: what every JSON of figures states beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.machine import describe_machine


def origin(kind: str, version: int = 1) -> dict[str, Any]:
    """What the JSON is (`format`, `format_version`), which code wrote it (`tool_version`; `commit`, None where it runs
    from no clone), when (`created`, UTC, ISO 8601), and on what (`machine`, as `doctor` sees it); plain values.

    Args:
        kind: the command that writes it, without the program's name.
        version: raised when a reader of the old layout would misread the new one.
    """
    return {
        "format": f"mirnet-deploy {kind}",
        "format_version": version,
        "tool_version": __version__,
        "commit": running_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine().to_dict(),
    }
