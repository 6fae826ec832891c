"""A prompt on its backbone: asked by rows of any form, checked once, the same as the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cuecard
from cuecard.artifacts import Prompt
from cuecard.artifacts.files import read_folder
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, ConfigError, DataError, WrongBackboneError
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.predict import predict
from cuecard.tasks import given_rows
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.data.reviews import reviews
from support.tiny import tiny_backbone

ROWS = reviews(12)


def test_rows_are_answered_as_the_parts_answer_them(
    prompt: Prompt, backbone: CausalBackbone
) -> None:
    manifest = prompt.manifest
    parts: dict[str, Any] = {"slot": manifest.slot, "prior": manifest.prior}
    expected = predict(backbone, prompt.spec, ROWS, prompt.injection(), **parts)
    asked = prompt.bind(backbone)
    assert asked.predict(ROWS) == expected
    texts = [{"text": row.fields["text"]} for row in ROWS]
    assert asked.predict(texts) == expected == cuecard.answer(backbone, prompt, texts)
    assert asked.predict([]) == []
    scored = evaluate(backbone, prompt.spec, ROWS, prompt.injection(), **parts)
    labelled = [{**row.fields, "label": row.target} for row in ROWS]
    assert asked.evaluate(ROWS).predictions == scored.predictions
    assert asked.evaluate(labelled).metrics == scored.metrics
    # Asked in another way.
    plain = predict(backbone, prompt.spec, ROWS)
    assert replace(asked, injection=None, prior=None).predict(ROWS) == plain != expected


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([{"text": "good"}, {"body": "bad"}], DataError, "no column 'text'"),
        ([{"text": "good"}, {"text": " "}], DataError, "rows, row 2"),
        ([{"text": 3, "label": "bad"}, {"text": ["x"]}], DataError, "not text"),
        ([{"text": "good"}, 3], DataError, "rows, row 2\n  got: int"),
        ({"text": "good"}, DataError, "got: dict\n  expected: a list of rows"),
        ("good", DataError, "got: str\n  expected: a list of rows"),
    ],
)
def test_rows_that_cannot_be_asked_are_named(
    prompt: Prompt, backbone: CausalBackbone, rows: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        prompt.bind(backbone).predict(rows)


def test_rows_to_score_need_a_known_target(prompt: Prompt, backbone: CausalBackbone) -> None:
    asked = prompt.bind(backbone)
    for row in ({"text": "good"}, {"text": "good", "label": ""}, {"text": "good", "label": "?"}):
        with pytest.raises(DataError):
            asked.evaluate([row])


def test_texts_are_written_and_vectors_made_where_the_task_has_them(
    make_prompt: Any, prompt: Prompt, backbone: CausalBackbone
) -> None:
    spec = TaskSpec(kind="text-to-text", template="{text}\nAnswer:", target_field="answer")
    writer = make_prompt(spec=spec, prior=None).bind(backbone)
    rows: Sequence[Record] = [Record({"text": "warm"}, None), Record({"text": "funny"}, None)]
    texts = writer.generate(rows)
    assert texts == [answer.answer for answer in writer.predict(rows)] and len(texts) == 2
    with pytest.raises(ConfigError, match="does not generate"):
        prompt.bind(backbone).generate(rows)
    with pytest.raises(ConfigError, match="only an embedding task"):
        prompt.bind(backbone).embed(["warm"])


def test_binding_checks_backbone_and_answers_once(
    prompt: Prompt, folder: Path, backbone: CausalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongBackboneError, match="another backbone") as caught:
        Prompt.load(folder).bind(tiny_backbone("llama", seed=1))
    assert caught.value.where == str(folder)
    loaded = Prompt.load(folder)
    vector = loaded.manifest.test_vectors[0]
    expected = vector.expected.model_copy(update={"logprobs": (0.0,) * 9})
    wrong = vector.model_copy(update={"expected": expected})
    forged = loaded.manifest.model_copy(update={"test_vectors": (wrong,)})
    with pytest.raises(ArtifactError):
        Prompt(loaded.tensors, forged).bind(backbone)
    assert Prompt(loaded.tensors, forged).bind(backbone, check_vectors=False).predict(ROWS)
    # What was checked is not checked again with every question.
    asked = loaded.bind(backbone)
    monkeypatch.setattr(Prompt, "bind", None)
    monkeypatch.setattr(type(backbone), "fingerprint", None)
    monkeypatch.setattr(given_rows, "records", None)
    assert len(asked.predict(ROWS)) == len(ROWS)


def test_files_make_the_prompt_that_a_folder_makes(prompt: Prompt, folder: Path) -> None:
    files = read_folder(folder)
    made = Prompt.from_files(files, "s3://bucket, tickets@3")
    assert made.digest == prompt.digest and torch.equal(made.vectors, prompt.vectors)
    assert made.source == "s3://bucket, tickets@3" and Prompt.load(folder).source == str(folder)
    for name in files:
        with pytest.raises(ArtifactError, match=r"missing|does not belong") as caught:
            Prompt.from_files({k: v for k, v in files.items() if k != name}, made.source)
        assert caught.value.where == made.source and caught.value.expected == name
