"""The journal: what was written, in order, and what was removed or rewritten afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.errors import RegistryError
from cuecard.registry import Registry
from cuecard.registry.gc import collect_garbage
from cuecard.registry.records.journal import entry_key, last_entry, read_entry
from cuecard.registry.verify import verify

PROMPTS = Path("prompts")


@pytest.fixture
def written(disk: Registry, prompts: list[Path]) -> Registry:
    """Two versions, an alias that moved once, a deleted version."""
    disk.push(prompts[0], "news")
    disk.push(prompts[1], "news")
    disk.promote("news@1", "live")
    disk.promote("news@2", "live")
    disk.push(prompts[2], "news")
    disk.delete("news@3", why="not needed")
    return disk


def folder(registry: Registry) -> Path:
    return Path(registry.store.url)


def problems(registry: Registry, head: str | None = None) -> list[str]:
    return [problem.what for problem in verify(registry, head=head).problems]


def test_every_write_has_an_entry(written: Registry) -> None:
    keys = []
    for seq in range(1, last_entry(written.store) + 1):
        found = read_entry(written.store, seq)
        assert found is not None
        keys.append(found[0].key)
    assert keys == [
        "prompts/news/versions/00000001.json",
        "prompts/news/versions/00000002.json",
        "prompts/news/aliases/live/00000001.json",
        "prompts/news/aliases/live/00000002.json",
        "prompts/news/versions/00000003.json",
        "prompts/news/deleted/00000003.json",
    ]
    assert problems(written) == []


def test_on_every_store(registry: Registry, prompts: list[Path]) -> None:
    registry.push(prompts[0], "news")
    registry.push(prompts[0], "news")  # the same content: no write
    registry.promote("news@1", "live")
    assert last_entry(registry.store) == 2
    assert verify(registry).problems == []


@pytest.mark.parametrize("entries", [0, 1, 2, 3, 4, 5, 8, 9, 31, 33])
def test_the_last_entry_is_found(disk: Registry, entries: int) -> None:
    for seq in range(1, entries + 1):
        disk.store.create(entry_key(seq), b"{}")
    assert last_entry(disk.store) == entries


@pytest.mark.parametrize(
    "key",
    [
        "prompts/news/aliases/live/00000002.json",  # the last event of an alias
        "prompts/news/versions/00000003.json",  # the last version, without an alias
        "prompts/news/deleted/00000003.json",
    ],
)
def test_what_is_removed_from_the_end_is_reported(written: Registry, key: str) -> None:
    (folder(written) / key).unlink()
    assert "an object that the journal records was removed" in problems(written)


def test_a_rewritten_record_is_reported(written: Registry) -> None:
    path = folder(written) / "prompts/news/versions/00000002.json"
    record = json.loads(path.read_text())
    record["why"] = "nothing happened here"
    path.chmod(0o644)
    path.write_text(json.dumps(record))
    assert problems(written) == ["an object was rewritten after it was published"]
    assert verify(written, "news").problems != []


def test_a_journal_with_a_gap_is_reported(written: Registry) -> None:
    (folder(written) / entry_key(3)).unlink()
    assert problems(written) == ["the journal has a gap or a rewritten entry"]


def test_a_journal_that_was_cut_off_is_reported_to_who_kept_its_head(written: Registry) -> None:
    head = verify(written).head
    assert problems(written, head=head) == []
    (folder(written) / "prompts/news/deleted/00000003.json").unlink()
    (folder(written) / entry_key(6)).unlink()
    assert problems(written) == []  # nothing in the registry says so any more
    (told,) = problems(written, head=head)
    assert "cut off" in told


@pytest.mark.parametrize("litter", [".DS_Store", "._00000001.json", "Thumbs.db", "lost+found"])
@pytest.mark.parametrize(
    "where", ["", "prompts", "prompts/news/versions", "prompts/news/aliases", "blobs/sha256"]
)
def test_what_desktops_leave_is_ignored(written: Registry, litter: str, where: str) -> None:
    (folder(written) / where / litter).write_text("x")
    assert written.names() == ["news"]
    assert written.aliases("news") == {"live": 2}
    assert [version.number for version in written.versions("news")] == [1, 2, 3]
    assert problems(written) == []


@pytest.mark.parametrize(
    "stranger",
    ["prompts/Notes", "prompts/news/versions/00000001 (copy).json", "prompts/news/aliases/7"],
)
def test_strangers_are_ignored_and_reported(written: Registry, stranger: str) -> None:
    (folder(written) / stranger).write_text("x")
    assert written.names() == ["news"]
    assert written.resolve("news@live").number == 2
    assert problems(written) == ["this object is not part of the registry"]


def test_a_prompt_cannot_have_a_backbones_name(disk: Registry, prompts: list[Path]) -> None:
    with pytest.raises(RegistryError, match="name of a backbone"):
        disk.push(prompts[0], "flan-t5-small")
    backbone = json.loads((prompts[0] / "prompt.json").read_text())["backbone"]["name"]
    with pytest.raises(RegistryError, match="name of a backbone"):
        disk.push(prompts[0], backbone)
    assert not folder(disk).exists()


def test_a_registry_without_its_prompts_is_not_an_empty_one(
    written: Registry, prompts: list[Path], tmp_path: Path
) -> None:
    """A half-mounted volume: nothing is collected, and no number is given twice."""
    blobs = written.store.names("blobs/sha256")
    (folder(written) / "prompts").rename(tmp_path / "away")
    again = Registry(folder(written))
    for act in (
        again.names,
        lambda: again.push(prompts[3], "news"),
        lambda: collect_garbage(again, grace=0),
    ):
        with pytest.raises(RegistryError, match="lost all of its prompts"):
            act()
    assert written.store.names("blobs/sha256") == blobs
    assert not (folder(written) / "prompts").exists()
    (tmp_path / "away").rename(folder(written) / "prompts")
    assert again.push(prompts[3], "news").version.number == 4
