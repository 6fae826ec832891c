"""A kind of task from outside the package: from a CSV through training and scoring to a server."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import anyio
import numpy as np
import pytest
from pydantic import BaseModel, Field

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, DataError
from cuecard.methods import PromptTuning
from cuecard.metrics.values import MetricValues
from cuecard.names import load_backbone
from cuecard.registry import Registry
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.kinds import KINDS, kind_named, register_kind
from cuecard.tasks.kinds.base import Baseline, TaskKind
from cuecard.tasks.readers.columns import ColumnReader
from cuecard.tasks.readers.tables import TARGET
from cuecard.tasks.settings import TaskSettings
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.types import Image, Prediction, Record, Value
from support.command_line import Call, save_rows
from support.data.reviews import reviews
from support.plugin_packages import install_package
from support.serving.app import running
from support.tiny import tiny_backbone

WORDS = {"1": "bad", "2": "poor", "3": "fine", "4": "nice", "5": "good"}


class RatingSettings(BaseModel):
    """
    Attributes:
        tolerance: how many stars an answer may be off.
    """

    tolerance: int = Field(default=0, ge=0, exclude_if=lambda x: x == 0)


class RatingKind(TaskKind[RatingSettings]):
    """Stars of one or several people, such as "4 stars" or "5 4 2 stars": their median counts."""

    name = "rating"
    about = "a number of stars"
    settings = RatingSettings
    template = "{text}\nStars:"
    target_field = "stars"
    metric = "near"
    second = "distance"
    headings = ("near enough", "stars off")
    labelled = True
    single_label = True

    def check(self, spec: TaskSettings) -> None:
        """Every label is a number."""
        for label in spec.labels:
            if label not in ("?", "??") and not label.isdecimal():
                raise ConfigError("a rating that is not a number", got=label, expected="stars")

    def columns(
        self, spec: TaskSettings, target: str | None, named: Mapping[str, str]
    ) -> dict[str, ColumnReader]:
        """The numbers before "stars"."""
        if target is None:
            return {}

        def read(values: Mapping[str, Any], names: Mapping[str, Any], where: str) -> Value:
            *numbers, _ = str(values[target]).split()
            if not all(number.isdecimal() for number in numbers):
                raise DataError("no stars", where=where, got=numbers, expected="such as 4 stars")
            return tuple(numbers)

        return {TARGET: ColumnReader((target,), read)}

    def separator(self, spec: TaskSettings) -> str:
        """A space between two people's stars."""
        return " "

    def labels_of(self, spec: TaskSettings, target: Value) -> list[str]:
        """The median."""
        return [str(median_low(map(int, self.target_of(spec, target))))]

    def score(
        self,
        spec: TaskSettings,
        gold: Sequence[tuple[str, ...]],
        predictions: Sequence[Prediction],
    ) -> MetricValues:
        """The share within the tolerance of the median, and the mean distance."""
        true = [median_low(map(int, stars)) for stars in gold]
        off = np.asarray(
            [abs(g - int(p.answer)) for g, p in zip(true, predictions, strict=True)], float
        )
        near = (off <= self.own(spec).tolerance).astype(float)
        return MetricValues.of({"near": near}, distance=float(off.mean()))

    def baselines(
        self, spec: TaskSettings, train: Sequence[Record], test: Sequence[Record]
    ) -> Iterator[Baseline]:
        """The median rating."""

        def predict() -> list[Prediction]:
            every = [self.labels_of(spec, record.target or "")[0] for record in train]
            stars = str(median_low(map(int, every)))
            return [Prediction(index, stars, {}, {}) for index in range(len(test))]

        yield Baseline("median", "the median rating", "the median rating", predict)


class ShadeKind(TaskKind[RatingSettings]):
    """A target that is a picture: the answer says whether it is a dark one."""

    name = "shade"
    labelled = True
    single_label = True

    def target_of(self, spec: TaskSettings, value: Value) -> Value:
        """The picture."""
        return value

    def labels_of(self, spec: TaskSettings, target: Value) -> list[str]:
        """What its first byte says."""
        assert isinstance(target, Image)
        return ["dark" if target.content[0] < 128 else "light"]

    def score(
        self, spec: TaskSettings, gold: Sequence[Image], predictions: Sequence[Prediction]
    ) -> MetricValues:
        """Accuracy."""
        true = [self.labels_of(spec, picture)[0] for picture in gold]
        right = [g == p.answer for g, p in zip(true, predictions, strict=True)]
        return MetricValues.of({"accuracy": np.asarray(right, float)})


RATING, SHADE = RatingKind(), ShadeKind()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KINDS, "_known", dict(KINDS._known))
    register_kind(RATING)
    register_kind(SHADE)


def ratings(folder: Path) -> Path:
    """Bad reviews have one or two stars, good ones four or five; of two more people one differs."""
    rows = []
    for number, record in enumerate(reviews(80)):
        stars = (4 if record.target == "positive" else 1) + number // 2 % 2
        more = f" {stars} 3" if number % 3 == 0 else ""
        rows.append({"text": record.text("text"), "stars": f"{stars}{more} stars"})
    return save_rows(folder / "ratings.csv", rows)


def test_from_a_csv_to_a_server(cuecard: Call, backbone: Path, tmp_path: Path) -> None:
    data, out, registry = ratings(tmp_path), tmp_path / "run", tmp_path / "registry"
    words = [x for label in "1245" for x in ("--word", f"{label}={WORDS[label]}")]
    settings = ("--steps", "6", "--length", "3", "--init", "random", "--set", "task.tolerance=1")
    command = ("train", data, "--kind", "rating", "--backbone", backbone, "--out", out)
    done = cuecard(*command, *words, *settings)
    assert done.code == 0, done.err
    assert "near enough" in done.out and "the median rating" in done.out
    prompt = Prompt.load(out / "prompt")
    assert prompt.spec.kind == "rating" and prompt.spec.own == {"tolerance": 1}
    assert prompt.spec.labels == ("1", "2", "4", "5")
    assert json.loads((out / "report.json").read_text())["metric"] == "near"

    scored = cuecard("eval", out, data, "--json", "--predictions", tmp_path / "all.jsonl")
    assert scored.code == 0, scored.err
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert {line["gold"] for line in lines} > {"1", "4 4 3"}
    true = [median_low(map(int, line["gold"].split())) for line in lines]
    near = [abs(gold - int(line["answer"])) <= 1 for gold, line in zip(true, lines, strict=True)]
    assert scored.json["metrics"]["near"] == pytest.approx(sum(near) / 80)
    assert "near" in cuecard("eval", out, data).out

    (advice,) = (line for line in done.out.splitlines() if line.startswith("use it"))
    assert cuecard(*shlex.split(advice)[3:]).code == 0
    texts = ["a warm film", "awful, cold and poor"]
    answers = cuecard("predict", out, *texts, "--json").json["predictions"]
    assert "rating" in cuecard("inspect", out).out

    pushed = cuecard("push", out, "stars", "--registry", registry)
    assert pushed.code == 0, pushed.err

    async def classify() -> Any:
        model = load_backbone(str(backbone))
        async with running(model, Registry(registry, who="ann@desk"), tmp_path / "cache") as server:
            body = {"model": "stars@1", "input": texts}
            return await server.client.post("/v1/classify", body)

    reply = anyio.run(classify)
    assert reply.status == 200, reply.json
    assert [row["label"] for row in reply.json["data"]] == [each["answer"] for each in answers]


def test_a_wrong_setting_names_the_kinds_own(cuecard: Call, tmp_path: Path) -> None:
    words = ("train", ratings(tmp_path), "--kind", "rating", "--set")
    assert "did you mean tolerance?" in cuecard(*words, "task.tolerence=1").err
    assert "task.tolerance" in cuecard(*words, "task.tolerance=-1").err


def test_a_name_is_taken_once() -> None:
    register_kind(RATING)  # the same one again
    with pytest.raises(ConfigError, match="another kind of task has that name"):
        register_kind(RatingKind())


def test_an_installed_package_offers_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del KINDS._known["rating"]
    points = {"cuecard.kinds": {"rating": "ratings_kind:RATING"}}
    install_package(tmp_path, "ratings", points, {})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "ratings_kind", sys.modules[__name__])
    spec = TaskSpec.parse({"kind": "rating", "template": "{text}:", "labels": ("1", "2")})
    assert spec.task_kind is RATING
    with pytest.raises(ConfigError, match="unknown kind"):
        kind_named("ratingg")


def test_a_target_that_is_a_picture(tmp_path: Path) -> None:
    spec = TaskSpec(kind="shade", template="{text}\nShade:", labels=("dark", "light"))
    pictures = [Image(bytes([number])) for number in range(256)]
    rows = [Record({"text": f"number {n}"}, picture) for n, picture in enumerate(pictures)]
    whole = Task.from_records(spec, [*rows, rows[0]], split=(1, 0, 0))
    assert whole.report.repeated_in_train == 1
    task = Task.from_records(spec, rows)
    assert task.report.data_hash != Task.from_records(spec, rows[1:]).report.data_hash
    assert {record.target for record in (*task.train, *task.validation, *task.test)} == {*pictures}

    backbone = tiny_backbone()
    words = dict(zip(spec.labels, spec.continuations(backbone.tokenizer), strict=True))
    for record in rows[126:130]:
        assert spec.encode(record, backbone.tokenizer).target == words[spec.label_of(record)]
    config = TrainConfig(steps=2, batch_rows=4)
    run = train(backbone, task, PromptTuning(length=2, init="random"), config)
    assert run.test is not None
    lines = run.test.save_predictions(tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    gold = [json.loads(line)["gold"] for line in lines]
    assert gold == [spec.target_text(record) for record in task.test]
    assert gold[0].startswith("sha256:")
