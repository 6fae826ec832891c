"""A registry from outside, wherever it lies: disk, memory, and a server that speaks S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.errors import ArtifactError, RegistryError
from cuecard.registry import Registry
from cuecard.registry.gc import collect_garbage
from cuecard.registry.records.blobs import blob_key
from cuecard.registry.stores.store import Store
from cuecard.registry.verify import verify


def test_push_and_pull(registry: Registry, prompts: list[Path], tmp_path: Path) -> None:
    first = registry.push(prompts[0], "reviews", why="a start")
    second = registry.push(prompts[1], "reviews")
    assert [str(first.version), str(second.version)] == ["reviews@1", "reviews@2"]
    assert first.new and second.new
    folder = registry.read("reviews@1").write(tmp_path / "pulled")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {
        f.name: f.read_bytes() for f in prompts[0].iterdir()
    }
    record = first.version.record
    assert record.digest == Prompt.load(prompts[0]).digest
    assert (record.by, record.why, record.method) == ("ann@desk", "a start", "prompt-tuning")
    assert record.metrics["test"] == {"rows": 40, "accuracy": 0.8}
    assert registry.names() == ["reviews"]
    assert verify(registry).problems == []


def test_an_empty_registry_is_made_once(tmp_path: Path, prompts: list[Path]) -> None:
    made = Registry(tmp_path / "new")
    made.create()
    assert made.names() == [] and verify(made).problems == []
    made.push(prompts[0], "reviews")
    Registry(tmp_path / "new").create()
    assert Registry(tmp_path / "new").names() == ["reviews"]


def test_the_same_content_keeps_its_version(registry: Registry, prompts: list[Path]) -> None:
    before = registry.push(prompts[0], "reviews").version
    registry.push(prompts[1], "reviews")
    again = registry.push(prompts[0], "reviews", why="another day")
    assert not again.new and again.version == before
    assert len(registry.versions("reviews")) == 2
    other = registry.push(prompts[0], "films")
    assert other.new and str(other.version) == "films@1"
    assert verify(registry).blobs == 5  # two tensors, two manifests, one adapter configuration


def test_aliases_move_and_their_log_says_how(registry: Registry, prompts: list[Path]) -> None:
    for folder in prompts[:3]:
        registry.push(folder, "reviews")
    for number in (1, 2, 3):
        registry.promote(f"reviews@{number}", "production", why=f"release {number}")
    assert registry.resolve("reviews@production").number == 3
    back = registry.rollback("reviews", "production", why="too slow")
    assert (back.before, back.after) == (3, 2)
    assert registry.rollback("reviews", "production", why="still").after == 1
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        registry.rollback("reviews", "production", why="more")
    log = registry.log("reviews", "production")
    told = [(e.seq, e.action, e.before, e.after, e.why) for e in log]
    assert told == [
        (1, "promote", None, 1, "release 1"),
        (2, "promote", 1, 2, "release 2"),
        (3, "promote", 2, 3, "release 3"),
        (4, "rollback", 3, 2, "too slow"),
        (5, "rollback", 2, 1, "still"),
    ]
    assert {e.by for e in log} == {"ann@desk"}
    assert registry.aliases("reviews") == {"production": 1}
    registry.promote("reviews@production", "canary")
    assert registry.aliases("reviews") == {"canary": 1, "production": 1}


def test_promoting_again_is_no_event(registry: Registry, prompts: list[Path]) -> None:
    registry.push(prompts[0], "reviews")
    first = registry.promote("reviews@1", "production")
    assert registry.promote("reviews@latest", "production") == first
    assert len(registry.log("reviews", "production")) == 1


def test_delete(registry: Registry, prompts: list[Path]) -> None:
    for folder in prompts[:3]:
        registry.push(folder, "reviews")
    registry.promote("reviews@2", "production")
    with pytest.raises(RegistryError, match="an alias points at this version") as refused:
        registry.delete("reviews@2")
    assert refused.value.got == "reviews@production"
    registry.delete("reviews@3", why="wrong rows")
    with pytest.raises(RegistryError, match="was deleted"):
        registry.resolve("reviews@3")
    with pytest.raises(RegistryError, match="was deleted"):
        registry.promote("reviews@3", "production")
    assert registry.resolve("reviews@latest").number == 2
    # The number stays taken; the same content comes back under a new one.
    assert str(registry.push(prompts[2], "reviews").version) == "reviews@4"
    assert [v.deleted for v in registry.versions("reviews")] == [False, False, True, False]


def test_an_alias_ends_and_comes_back(registry: Registry, prompts: list[Path]) -> None:
    registry.push(prompts[0], "reviews")
    registry.promote("reviews@1", "production")
    registry.delete("reviews@production", why="closed")
    with pytest.raises(RegistryError, match="no such alias"):
        registry.resolve("reviews@production")
    with pytest.raises(RegistryError, match="no such alias"):
        registry.delete("reviews@production")
    assert registry.aliases("reviews") == {}
    assert registry.rollback("reviews", "production", why="opened").after == 1


def test_a_rollback_does_not_reach_a_deleted_version(
    registry: Registry, prompts: list[Path]
) -> None:
    for folder in prompts[:2]:
        version = registry.push(folder, "reviews").version
        registry.promote(str(version), "production")
    registry.delete("reviews@1")
    with pytest.raises(RegistryError, match="was deleted") as refused:
        registry.rollback("reviews", "production", why="back")
    assert refused.value.got == "reviews@1"
    assert registry.aliases("reviews") == {"production": 2}


def test_what_a_prompt_relies_on_is_not_collected(
    registry: Registry, prompts: list[Path], tmp_path: Path
) -> None:
    for folder in prompts[:2]:
        registry.push(folder, "reviews")
    entry = registry.resolve("reviews@1").record.files["adapter_model.safetensors"]
    registry.delete("reviews@1")
    assert collect_garbage(registry).blobs == ()  # within the grace period
    would = collect_garbage(registry, grace=0, dry_run=True)
    assert registry.store.read(blob_key(entry.sha256), entry.size) is not None
    done = collect_garbage(registry, grace=0)
    assert done.blobs == would.blobs and entry.sha256 in done.blobs
    assert len(done.blobs) == 2  # the adapter configuration is the other version's too
    assert registry.store.read(blob_key(entry.sha256), entry.size) is None
    assert registry.read("reviews@2").prompt.digest == Prompt.load(prompts[1]).digest
    assert verify(registry).problems == []
    registry.push(prompts[0], "reviews")
    assert registry.read("reviews@3").prompt.digest == Prompt.load(prompts[0]).digest


@pytest.mark.parametrize("hours", [-30, 30])
def test_clocks_decide_nothing(place: str | Store, prompts: list[Path], hours: int) -> None:
    """A writer whose clock is wrong by more than a day, beside one whose clock is right."""

    def skewed() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    right = Registry(place, who="ann@desk")
    wrong = Registry(place, who="bob@lab", clock=skewed)
    for number, writer in enumerate([right, wrong, right, wrong], 1):
        assert writer.push(prompts[number - 1], "reviews").version.number == number
        writer.promote(f"reviews@{number}", "production")
    events = right.log("reviews", "production")
    assert [event.after for event in events] == [1, 2, 3, 4]
    assert sorted(e.at for e in events) != [e.at for e in events]  # the clocks did disagree
    assert wrong.resolve("reviews@production") == right.resolve("reviews@latest")
    assert wrong.rollback("reviews", "production", why="back").after == 3
    assert collect_garbage(wrong).blobs == collect_garbage(right).blobs == ()
    assert verify(right).problems == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], "a blob is truncated"),
        (lambda content: content[:-1] + b"?", "a blob was altered"),
        (lambda content: content + b"?", "too large"),
        (lambda content: None, "a blob is missing"),
    ],
    ids=["truncated", "altered", "longer", "missing"],
)
def test_a_damaged_blob(
    registry: Registry, prompts: list[Path], tmp_path: Path, damage: Any, message: str
) -> None:
    registry.push(prompts[0], "reviews")
    entry = registry.resolve("reviews@1").record.files["adapter_model.safetensors"]
    key = blob_key(entry.sha256)
    content = registry.store.read(key, entry.size)
    assert content is not None
    left = damage(content)
    if left is None:
        registry.store.remove(key)
    else:
        registry.store.replace(key, left)
    with pytest.raises(RegistryError, match=message):
        registry.read("reviews@1")
    (problem,) = verify(registry, "reviews").problems
    assert problem.where is not None and problem.where.endswith(key)
    assert not registry.push(prompts[0], "reviews").new  # which restores it
    assert registry.read("reviews@1").prompt.digest == Prompt.load(prompts[0]).digest
    assert verify(registry).problems == []


def test_an_object_in_another_ones_place(registry: Registry, prompts: list[Path]) -> None:
    for folder in prompts[:2]:
        registry.push(folder, "reviews")
    registry.promote("reviews@2", "production")
    store = registry.store
    versions, events = "prompts/reviews/versions", "prompts/reviews/aliases/production"
    second = store.read(f"{versions}/00000002.json", 1 << 20)
    event = store.read(f"{events}/00000001.json", 1 << 20)
    assert second is not None and event is not None
    store.replace(f"{versions}/00000001.json", second)
    store.create(f"{events}/00000002.json", event)
    with pytest.raises(RegistryError, match="under another version's key"):
        registry.resolve("reviews@1")
    with pytest.raises(RegistryError, match="under another event's key"):
        registry.resolve("reviews@production")
    store.remove(f"{events}/00000002.json")
    store.create(f"{events}/00000003.json", event.replace(b'"seq": 1', b'"seq": 3'))
    with pytest.raises(RegistryError, match="has a gap"):
        registry.log("reviews", "production")


def test_a_record_that_was_altered(disk: Registry, prompts: list[Path]) -> None:
    disk.push(prompts[0], "reviews")
    path = Path(disk.store.url, "prompts/reviews/versions/00000001.json")
    record = json.loads(path.read_text())
    record["files"]["prompt.json"]["sha256"] = "0" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(RegistryError, match="malformed"):
        disk.resolve("reviews@1")
    record["files"]["../../evil"] = record["files"].pop("prompt.json")
    path.write_text(json.dumps(record))
    with pytest.raises(RegistryError, match="malformed") as refused:
        disk.resolve("reviews@1")
    assert "evil" in str(refused.value.got)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("reviews", "not a reference to a version"),
        ("Reviews@1", "not a valid prompt name"),
        ("../reviews@1", "not a valid prompt name"),
        (".hidden@1", "not a valid prompt name"),
        (f"{'a' * 65}@1", "not a valid prompt name"),
        ("reviews@9", "no such version"),
        ("reviews@0", "no such version"),
        ("films@1", "no such prompt"),
        ("films@latest", "no such prompt"),
        ("reviews@staging", "no such alias"),
        ("reviews@../1", "not a valid alias"),
    ],
)
def test_references_that_lead_nowhere(
    disk: Registry, prompts: list[Path], reference: str, message: str
) -> None:
    disk.push(prompts[0], "reviews")
    with pytest.raises(RegistryError, match=message):
        disk.resolve(reference)


@pytest.mark.parametrize("alias", ["7", "latest", "Production", "a/b", ""])
def test_aliases_that_cannot_be(disk: Registry, prompts: list[Path], alias: str) -> None:
    disk.push(prompts[0], "reviews")
    with pytest.raises(RegistryError):
        disk.promote("reviews@1", alias)


def test_only_prompts_are_pushed(disk: Registry, prompts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such prompt folder"):
        disk.push(tmp_path / "nowhere", "reviews")
    with pytest.raises(RegistryError, match="not a valid prompt name"):
        disk.push(prompts[0], "re/views")
    assert not Path(disk.store.url).exists()
    with pytest.raises(RegistryError, match="there is no registry here"):
        disk.names()


def test_a_pulled_folder_is_not_written_over(
    disk: Registry, prompts: list[Path], tmp_path: Path
) -> None:
    for folder in prompts[:2]:
        disk.push(folder, "reviews")
    target = disk.read("reviews@1").write(tmp_path / "pulled")
    disk.read("reviews@1").write(target)  # the same: nothing to do
    with pytest.raises(ArtifactError, match="not empty"):
        disk.read("reviews@2").write(target)
    disk.read("reviews@2").write(target, overwrite=True)
    assert Prompt.load(target).digest == Prompt.load(prompts[1]).digest
