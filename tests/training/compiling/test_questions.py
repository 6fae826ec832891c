"""Questions about a text that the backbone itself writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, DataError, TrainingError
from cuecard.tasks import TaskSpec
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.questions import FILE, KINDS, QuestionWriter, usable
from cuecard.training.storage.log import RunLog
from support.tiny import tiny_backbone

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it . " * 2
PLAIN = TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:", max_new_tokens=4)


def writer(folder: Path | None = None, count: int = 12, seed: int = 0) -> QuestionWriter:
    return QuestionWriter(FullText.of(tiny_backbone(), PLAIN, TEXT), count, seed, folder)


def texts(asking: QuestionWriter) -> list[str]:
    return [str(record.fields["text"]) for record in asking.write(RunLog(None))]


def test_they_are_different_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    found = texts(writer(tmp_path))
    assert len(found) == len({*found}) == 12
    assert all(len(text.split()) >= 3 and "\n" not in text for text in found)
    assert texts(writer()) == found != texts(writer(seed=1))
    assert texts(writer(tmp_path)) == found


def test_every_kind_is_asked_for_about_its_own_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = writer(count=40)
    backbone, asked = asking.text.backbone, []
    generate = backbone.generate

    def hearing(contexts: Any, placements: Any, injection: Any, *more: Any, **options: Any) -> Any:
        assert injection is not None and injection.length == asking.text.length
        asked.append(backbone.tokenizer.decode(contexts[0]))
        return generate(contexts, placements, injection, *more, **options)

    monkeypatch.setattr(backbone, "generate", hearing)
    asking.write(RunLog(None))
    for ask, beginnings in KINDS.values():
        about = [each for each in asked if ask in each]
        assert about and len({*about}) == len(about)
        assert all(
            each.endswith(tuple(f"Answer: {begun}" for begun in beginnings)) for each in about
        )
    assert all("Passage: " in each for each in asked)


def test_a_killed_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = writer(tmp_path)
    generate, left = asking.text.backbone.generate, [2]

    def dying(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyError
        return generate(*args, **options)

    monkeypatch.setattr(asking.text.backbone, "generate", dying)
    with pytest.raises(KeyError):
        texts(asking)
    assert len((tmp_path / FILE).read_text(encoding="utf-8").split("\n")) == 1 + 2 + 1
    assert texts(writer(tmp_path)) == texts(writer())


def test_what_is_drawn_is_cleaned() -> None:
    draws = [
        ["What is good? It is bad.", "What is good?\nmore", '"Who is bad here"'],
        ["", "   \n", "too short", "\n\nSum up 3.5 of it. Then go"],
    ]
    assert usable(draws) == ["What is good?", "Who is bad here", "Sum up 3.5 of it."]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = TaskSpec(kind="classification", template="{text}:", labels=("a", "b"))
    for spec in (labels, TaskSpec(kind="text-to-text", template="{a} {b}")):
        with pytest.raises(ConfigError, match="no inputs for this task"):
            QuestionWriter(FullText.of(tiny_backbone(), spec, TEXT), 12)
    texts(writer(tmp_path))
    with pytest.raises(TrainingError, match="questions of another run"):
        writer(tmp_path, seed=1).fits(tmp_path)
    writer(tmp_path).fits(tmp_path)
    silent = writer()
    monkeypatch.setattr(silent.text.backbone, "generate", lambda *_, **__: [[]] * 4)
    with pytest.raises(DataError, match="hardly any question"):
        texts(silent)
