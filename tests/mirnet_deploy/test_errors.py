"""Warnings point at the user's line, wherever that is."""

from __future__ import annotations

from typing import Any

import pytest

from mirnet_deploy.errors import MirnetDeployWarning, warn


@pytest.mark.parametrize("names", [{}, {"__name__": "theirs"}])
def test_code_without_a_module_is_warned_too(names: dict[str, Any]) -> None:
    """As it is in an embedded interpreter, and in `exec`."""
    with pytest.warns(MirnetDeployWarning, match="hello"):
        exec("warn('hello')", names | {"warn": warn})
