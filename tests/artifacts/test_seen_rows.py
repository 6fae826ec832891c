"""A prompt knows which rows it was trained and selected on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from cuecard.artifacts import Prompt
from cuecard.artifacts import seen_rows as rows_module
from cuecard.artifacts.seen_rows import BYTES, RowsEntry, row_hash, seen_rows
from cuecard.types import Record


def record(text: str, target: str | None = "a") -> Record:
    return Record({"text": text}, target)


TRAIN = [record(f"delivery {n} was late") for n in range(200)]
VALIDATION = [record(f"invoice {n} is wrong", "b") for n in range(20)]


def test_rows_are_known_again_whatever_their_case_and_label() -> None:
    entry = RowsEntry.of([*TRAIN, TRAIN[0]], VALIDATION)
    assert (entry.trained_rows, entry.selected_rows) == (200, 20)
    assert len(entry.trained) == 200 * 8
    asked = [
        record("a new text"),
        record("Delivery 7 was LATE!", None),
        record("invoice 3 is wrong", "a"),
        record("delivery 8 was early"),
    ]
    found = seen_rows(entry, asked)
    assert (found.trained, found.selected, found.unseen) == ((1,), (2,), [0, 3])
    assert "trained on 1 and selected on 1 of these 4 rows" in found.sentence("it")
    assert not seen_rows(entry, [record("a new text")]) and not seen_rows(None, asked)


def test_order_does_not_matter_and_a_large_training_is_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert RowsEntry.of(TRAIN[::-1], VALIDATION) == RowsEntry.of(TRAIN, VALIDATION)
    monkeypatch.setattr(rows_module, "MAX_ROWS", 50)
    few = RowsEntry.of(TRAIN, VALIDATION)
    assert (few.trained_rows, len(few.trained)) == (200, 50 * 8)
    assert len(seen_rows(few, TRAIN).trained) == 50


def packed(*hashes: bytes) -> str:
    return base64.b64encode(b"".join(hashes)).decode()


@pytest.mark.parametrize(
    "text",
    [
        packed(b"b" * BYTES, b"a" * BYTES),
        packed(b"a" * BYTES, b"a" * BYTES),
        packed(b"a" * (BYTES - 3)),
        "abc",
        "&&&&&&&&",
    ],
)
def test_hashes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        RowsEntry(trained=text, selected="", trained_rows=2, selected_rows=0)
    with pytest.raises(ValidationError):
        RowsEntry(trained="", selected="", trained_rows=-1, selected_rows=0)


def test_a_prompt_keeps_them_and_one_without_them_is_as_before(
    make_prompt: Callable[..., Prompt], tmp_path: Path
) -> None:
    plain = make_prompt()
    assert '"rows"' not in plain.manifest.to_bytes().decode()
    known = make_prompt(rows=RowsEntry.of(TRAIN, VALIDATION))
    loaded = Prompt.load(known.save(tmp_path / "known"))
    assert loaded.manifest.rows == known.manifest.rows and loaded.digest == known.digest
    assert known.digest != plain.digest
    size = len(json.dumps(known.manifest.model_dump(mode="json"))) - len(
        json.dumps(plain.manifest.model_dump(mode="json"))
    )
    assert size < 220 * 8 + 100
    assert row_hash(TRAIN[0]) == row_hash(record("DELIVERY 0 was late"))
