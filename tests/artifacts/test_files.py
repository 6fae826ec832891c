"""Writing in one step: whole, or as it was before."""

import os
from pathlib import Path

import pytest

from cuecard.artifacts.files import publish_file, publish_folder
from cuecard.errors import ArtifactError

OLD = {"prompt.json": b"old", "adapter_config.json": b"old"}
NEW = {"prompt.json": b"new", "adapter_model.safetensors": b"new"}


def tree(folder: Path) -> dict[str, bytes]:
    found = folder.rglob("*")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}


def test_folder_is_made_with_its_parents_and_nothing_else(tmp_path: Path) -> None:
    publish_folder(tmp_path / "a" / "b", NEW, overwrite=False)
    assert tree(tmp_path) == {f"a/b/{name}": content for name, content in NEW.items()}


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    publish_folder(tmp_path / "p", NEW, overwrite=False)
    assert tree(tmp_path / "p") == NEW


def test_overwriting_replaces_every_file(tmp_path: Path) -> None:
    publish_folder(tmp_path / "p", OLD, overwrite=False)
    with pytest.raises(ArtifactError, match="not empty"):
        publish_folder(tmp_path / "p", NEW, overwrite=False)
    assert tree(tmp_path / "p") == OLD
    publish_folder(tmp_path / "p", NEW, overwrite=True)
    assert tree(tmp_path) == {f"p/{name}": content for name, content in NEW.items()}


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("ten years")
    with pytest.raises(ArtifactError, match="files other than"):
        publish_folder(tmp_path / "home", NEW, overwrite=True)
    assert tree(tmp_path) == {"home/thesis.txt": b"ten years"}


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_links_and_files_in_the_way_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "p"
    if kind == "file":
        target.write_bytes(b"mine")
    else:
        target.symlink_to(tmp_path / ("real" if kind == "link" else "nowhere"))
    with pytest.raises(ArtifactError, match="a link or a file"):
        publish_folder(target, NEW, overwrite=True)
    assert tree(tmp_path) == ({"p": b"mine"} if kind == "file" else {})


@pytest.mark.parametrize("broken_call", range(1, 8))
@pytest.mark.parametrize("before", [None, OLD], ids=["new", "overwriting"])
def test_a_failing_disk_leaves_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken_call: int,
    before: dict[str, bytes] | None,
) -> None:
    """Each flush and each rename fails in turn; a folder that cannot be flushed is no failure."""
    if before:
        publish_folder(tmp_path / "p", before, overwrite=False)
    calls = 0

    def failing(real: object) -> object:
        def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == broken_call:
                raise OSError(28, "No space left on device")
            return real(*arguments)  # type: ignore[operator]

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(Path, "rename", failing(Path.rename))
    staged_flush = len(NEW) + 1
    last_rename = staged_flush + (2 if before else 1)
    if broken_call == staged_flush or broken_call > last_rename:
        publish_folder(tmp_path / "p", NEW, overwrite=True)
        expected = NEW
    else:
        with pytest.raises(ArtifactError, match="No space left"):
            publish_folder(tmp_path / "p", NEW, overwrite=True)
        expected = before or {}
    monkeypatch.undo()
    assert tree(tmp_path) == {f"p/{name}": content for name, content in expected.items()}


def test_an_interrupt_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish_folder(tmp_path / "p", NEW, overwrite=False)
    with pytest.raises(KeyboardInterrupt):
        publish_file(tmp_path / "f", b"x", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="cannot write"):
        publish_folder(tmp_path / "file" / "p", NEW, overwrite=False)
    with pytest.raises(ArtifactError, match="cannot write"):
        publish_file(tmp_path / "file" / "p", b"x", overwrite=False)
    assert tree(tmp_path) == {"file": b"x"}


def test_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "f.npy"
    publish_file(path, b"one", overwrite=False)
    with pytest.raises(ArtifactError, match="already exists"):
        publish_file(path, b"two", overwrite=False)
    publish_file(path, b"two", overwrite=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ArtifactError, match="No space left"):
        publish_file(path, b"three", overwrite=True)
    assert tree(tmp_path) == {"a/f.npy": b"two"}


def test_file_does_not_replace_a_folder_or_link(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to(tmp_path / "elsewhere")
    for name in ("d", "l"):
        with pytest.raises(ArtifactError, match="not a regular file"):
            publish_file(tmp_path / name, b"x", overwrite=True)
    assert not (tmp_path / "elsewhere").exists()
