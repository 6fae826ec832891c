"""Other tasks: which of them are the same."""

from __future__ import annotations

from pathlib import Path

from cuecard.comparison.contest.other_tasks import OtherTask


def read(place: Path, label: str = "warm") -> OtherTask:
    rows = [f"thing {n},{label if n % 2 else 'cold'}" for n in range(60)]
    place.write_text("\n".join(["text,label", *rows]) + "\n")
    return OtherTask.read("things", place)


def test_a_file_that_moved_is_the_same_task(tmp_path: Path) -> None:
    one, moved = read(tmp_path / "one.csv"), read(tmp_path / "moved.csv")
    assert one.rows and one.rows[0].source != moved.rows[0].source
    assert one.key == moved.key
    assert one.key != read(tmp_path / "other.csv", "hot").key
    assert one.key != OtherTask(one.name, one.spec, one.rows[:-1]).key
    asked = one.spec.model_copy(update={"template": "Say: {text}"})
    assert one.key != OtherTask(one.name, asked, one.rows).key
