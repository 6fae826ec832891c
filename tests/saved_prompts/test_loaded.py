"""A saved prompt is asked in one line: it finds its backbone, when it is needed and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import cuecard
from cuecard.artifacts import Prompt
from cuecard.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    RegistryError,
    WrongBackboneError,
)
from cuecard.runs.recipe import Recipe, run_recipe
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.runs.search.run import run_search
from cuecard.saved_prompts import own_backbone
from cuecard.tasks import TaskSpec
from support.data.reviews import reviews
from support.random_prompts import random_prompt
from support.tiny import shared_backbone, tiny_backbone
from support.tiny_vision import save_pictures, save_vision

TEXTS = [str(row.fields["text"]) for row in reviews(6)]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of `load_backbone`."""
    asked: list[Any] = []
    plain = own_backbone.load_backbone

    def load(name: Any, **options: Any) -> Any:
        asked.append(name)
        return plain(name, **options)

    monkeypatch.setattr(own_backbone, "load_backbone", load)
    return asked


def test_texts_and_mappings_are_answered_alike(room: Path, loads: list[Any]) -> None:
    loaded = cuecard.load(room / "run", dtype="fp32")
    assert loads == [] and "classification on tiny" in repr(loaded)
    expected = Prompt.load(room / "run" / "prompt").bind(shared_backbone()).predict(reviews(6))
    assert loaded.predict(TEXTS) == expected
    assert loaded.predict([{"text": text} for text in TEXTS]) == expected
    # The run's own column, and where a row has both it is the one that the run was trained on.
    assert loaded.predict([{"message": text, "text": "other"} for text in TEXTS]) == expected
    mixed = [{"message": TEXTS[0]}, *({"text": text} for text in TEXTS[1:])]
    assert loaded.predict(mixed) == loaded.predict(text for text in TEXTS) == expected
    assert loads == [str(room / "tiny")]


def test_labelled_rows_are_scored(room: Path) -> None:
    loaded = cuecard.load(room / "run")
    rows = [{"message": row.fields["text"], "label": row.target} for row in reviews(6)]
    assert loaded.evaluate(rows).metrics == loaded.bound.evaluate(reviews(6)).metrics


def test_threads_that_ask_first_load_once(room: Path, loads: list[Any]) -> None:
    loaded = cuecard.load(str(room / "run"))
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda _: loaded.bound, range(3))
    assert all(other is first for other in others) and len(loads) == 1


def test_threads_take_turns_on_one_backbone(room: Path) -> None:
    loaded = cuecard.load(room / "run", backbone=shared_backbone())
    expected = loaded.predict(TEXTS)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: loaded.predict(TEXTS), range(12)))
    assert answers == [expected] * 12


def test_rows_are_read_without_keeping_other_threads_waiting(room: Path) -> None:
    loaded = cuecard.load(room / "run", backbone=shared_backbone())
    lock = loaded.backbone.lock

    def is_free() -> bool:
        free = lock.acquire(blocking=False)
        if free:
            lock.release()
        return free

    free = []

    def rows() -> Iterator[dict[str, str]]:
        for row in reviews(2):
            with ThreadPoolExecutor(1) as other:
                free.append(other.submit(is_free).result())
            yield {"message": row.text("text"), "label": str(row.target)}

    loaded.predict(rows())
    loaded.evaluate(rows())
    assert free == [True] * 4


def test_a_version_of_the_default_registry(
    room: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    own = cuecard.load(room / "run").predict(TEXTS)
    asked = cuecard.load("reviews@production", registry=registry, backbone=room / "tiny")
    assert asked.predict(TEXTS) == own
    monkeypatch.setenv("CUECARD_REGISTRY", registry)
    shared = cuecard.load("reviews@1", backbone=asked.backbone)
    assert shared.predict(TEXTS) == own and shared.backbone is asked.backbone
    monkeypatch.delenv("CUECARD_REGISTRY")
    monkeypatch.chdir(room)  # ./prompts
    assert cuecard.load("reviews@latest").prompt.digest == asked.prompt.digest
    # A version says which model it was made for, and names in it are not followed.
    with pytest.raises(ConfigError, match="names from a file are not followed") as told:
        cuecard.load("reviews@1").predict(TEXTS)
    assert "backbone=" in str(told.value)


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda room: cuecard.load(room / "none"), ArtifactError, "no such prompt folder"),
        (lambda room: cuecard.load(room / "ru"), ArtifactError, "did you mean 'run'"),
        (lambda room: cuecard.load("x@1", registry=str(room)), RegistryError, "no registry here"),
        (lambda room: cuecard.load("x@y", registry=str(room)), RegistryError, "no registry here"),
        (lambda room: cuecard.load(room / "run").predict(TEXTS[0]), DataError, "a list of rows"),
        (lambda room: cuecard.load(room / "run").predict([3]), DataError, "row 1"),
        (lambda room: cuecard.load(room / "run").predict(["a", " "]), DataError, "row 2"),
        (lambda room: cuecard.load(room / "run").predict([{"body": "a"}]), DataError, "'text'"),
        (lambda room: cuecard.load(room / "run").generate(["a"]), ConfigError, "generate texts"),
        (
            lambda room: cuecard.load(room / "run", backbone=tiny_backbone(seed=1)).bound,
            WrongBackboneError,
            "another backbone",
        ),
    ],
)
def test_mistakes_are_named(
    ask: Callable[[Path], object], error: type[Exception], said: str, room: Path
) -> None:
    with pytest.raises(error, match=said):
        ask(room)


def test_a_text_does_not_say_which_of_two_fields_it_is(tmp_path: Path) -> None:
    spec = TaskSpec(
        kind="classification", template="{title}\n{body}\nLabel:", labels=("bad", "good")
    )
    random_prompt(shared_backbone(), spec=spec).save(tmp_path / "two")
    loaded = cuecard.load(tmp_path / "two", backbone=shared_backbone())
    with pytest.raises(DataError, match="a mapping with the fields title, body"):
        loaded.predict(["a text"])
    spec = spec.model_copy(update={"allow_empty": ("title",)})
    random_prompt(shared_backbone(), spec=spec).save(tmp_path / "one")
    loaded = cuecard.load(tmp_path / "one", backbone=shared_backbone())
    assert loaded.predict(["a text"]) == loaded.predict([{"title": "", "body": "a text"}])


def test_a_prompt_in_words_that_a_search_found(room: Path) -> None:
    recipe = {
        "data": {"path": str(room / "reviews.csv"), "text_field": "message"},
        "task": {"template": "Review: {text}\nSentiment:"},
        "backbone": str(room / "tiny"),
        "device": "cpu",
        "compare": False,
        "out": str(room / "found"),
    }
    plan = SearchRecipe.parse(
        {"searcher": "demonstrations", "budget": "60 calls", "recipe": recipe}
    )
    run_search(plan)
    loaded = cuecard.load(room / "found")
    assert loaded.prompt.manifest.injection == "none"
    answers = loaded.predict(TEXTS)
    assert answers == loaded.predict([{"message": text} for text in TEXTS])
    assert {answer.answer for answer in answers} <= {"negative", "positive"}


def test_images_by_file_bytes_and_pixels(tmp_path: Path) -> None:
    save_vision(tmp_path / "vit")
    save_pictures(tmp_path / "pictures", 40)
    recipe = {
        "data": {"path": str(tmp_path / "pictures")},
        "task": {"kind": "image-classification"},
        "backbone": str(tmp_path / "vit"),
        "method": {"name": "deep-prompts", "length": 2},
        "training": {"steps": 1},
        "compare": False,
        "out": str(tmp_path / "run"),
    }
    run_recipe(Recipe.parse(recipe))
    loaded = cuecard.load(tmp_path / "run")
    files = [next(folder.iterdir()) for folder in (tmp_path / "pictures").iterdir()]
    expected = loaded.predict([str(file) for file in files])
    assert len(expected) == 2
    assert loaded.predict(files) == loaded.predict([{"image": str(f)} for f in files]) == expected
    assert loaded.predict([file.read_bytes() for file in files]) == expected
    opened = [PIL.Image.open(file) for file in files]
    assert loaded.predict(opened) == expected
    with pytest.raises(DataError, match="there is no image"):
        loaded.predict([3])
