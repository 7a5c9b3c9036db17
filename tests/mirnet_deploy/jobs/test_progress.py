"""How far a picture is, in passes."""

from __future__ import annotations

from mirnet_deploy.jobs.progress import Passes


def test_an_attempt_that_is_made_anew_begins_its_pass_again() -> None:
    shown: list[tuple[str, float]] = []
    passes = Passes("a", 100, lambda text, share: shown.append((text, share)))
    for pixels in (100, 75, -175, 50, 50, 100):
        passes.advance(pixels)
    assert shown == [
        ("a", 0), ("a, pass 1", 1.0), ("a, pass 2", 0.75), ("a, pass 1", 0.0), ("a, pass 1", 0.5), ("a, pass 1", 1.0),
        ("a, pass 2", 1.0)
    ]  # fmt: skip
