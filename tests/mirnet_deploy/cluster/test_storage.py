"""Names of files and objects: what URLs mean, what folders and globs hold, and what comes back of what was put."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from s3_server import Store

from mirnet_deploy.cluster.storage import Location, stored_pictures
from mirnet_deploy.errors import StorageError, UsageError


def test_a_path_stays_as_it_is_and_a_file_url_is_one(tmp_path: Path) -> None:
    assert Location.of("a/b.png") == Location("", "a/b.png")
    assert Location.of("file:///tmp/a%20b.png").local == Path("/tmp/a b.png")
    assert str(Location.of("a").below("b/c.png")) == "a/b/c.png"
    assert Location.of(str(tmp_path / "none")).state() is None
    (tmp_path / "some").write_bytes(b"12")
    state = Location.of(str(tmp_path / "some")).state()
    assert state is not None
    assert state[0] == 2


def test_an_unknown_url_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^ftp:// is not known; expected a path, file:// or one of s3, "):
        Location.of("ftp://there/a.png")


def test_credentials_are_never_shown(s3: Store) -> None:
    location = Location.of("s3://me:secret@night/a/b.png" + s3.query)
    assert str(location) == "s3://night/a/b.png"
    with pytest.raises(StorageError) as caught:
        Location.of("s3://me:secret@night/a?nonsense=1")
    assert str(caught.value).startswith("s3://night cannot be opened: ")
    assert "secret" not in str(caught.value)


def test_what_was_put_comes_back(s3: Store, tmp_path: Path) -> None:
    s3.bucket("back")
    there = Location.of(s3.url("back/deep")).below("er/a%20#?.png")
    assert there.state() is None
    data = bytes(range(256)) * 40_000  # 10 MB: in parts
    state = there.put(data)
    assert there.state() == state
    assert state[0] == len(data)
    there.fetch(tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == data
    head = s3.client.head_object(Bucket="back", Key="deep/er/a%20#?.png")
    assert head["ContentType"] == "image/png"


def test_what_cannot_be_had_is_one_line(s3: Store, tmp_path: Path) -> None:
    s3.bucket("lines")
    with pytest.raises(StorageError, match=r"^s3://lines/no\.png cannot be read: [^\n]+$"):
        Location.of(s3.url("lines/no.png")).fetch(tmp_path / "copy")
    with pytest.raises(StorageError, match=r"^s3://nobucket/a\.png cannot be written: [^\n]+$"):
        Location.of(s3.url("nobucket/a.png")).put(b"1")


def test_folders_and_globs_hold_what_they_do_on_a_disk(s3: Store, tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", "z.png", ".h.png", "a/.i/j.png", "notes.txt", "raw.cr2", "a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    s3.bucket("listed", tmp_path)

    def found(path: str, recursive: bool = False) -> list[str]:
        return [str(each.place) for each in stored_pictures(Location.of(s3.url(path)), recursive)]

    assert found("listed") == found("listed/") == ["a.png", "b.png", "raw.cr2", "z.png"]
    assert found("listed", True) == ["a.png", "b.png", "raw.cr2", "z.png", "a/c.JPG", "a/d/e.webp"]
    assert found("listed/a") == ["c.JPG"]
    assert found("listed/b.png") == ["b.png"]
    assert found("listed/none") == []
    assert found("listed/[ab].png") == ["a.png", "b.png"]
    assert found("listed/*/*.JPG") == ["c.JPG"]
    assert found("listed/a/**/*.w*") == found("listed/**/e.webp") == ["e.webp"]
    assert found("listed/*.webp") == []
    assert found("listed/a/**") == found("listed/a/**/*") == ["c.JPG", "e.webp"]
    assert found("listed/a/.i/*") == ["j.png"]
    assert found("listed/**/d/*") == ["e.webp"]
    assert found("listed/.*") == [".h.png"]
    assert found("listed/raw[.*]cr2") == ["raw.cr2"]
    one = stored_pictures(Location.of(s3.url("listed/a/c.JPG")), recursive=False)[0]
    assert (one.place, one.size, str(one.location)) == (PurePosixPath("c.JPG"), 1, "s3://listed/a/c.JPG")
    assert one.mtime_ns > 0
