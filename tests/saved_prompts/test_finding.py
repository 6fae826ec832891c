"""A saved prompt by its folder or by a version's name: loaded, bound, asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cuecard
from cuecard.artifacts.manifest import Manifest
from cuecard.errors import ArtifactError, RegistryError
from cuecard.runs.few_shot.pet_recipe import PetRecipe
from cuecard.saved_prompts import find_prompt
from cuecard.yaml_files import load_yaml
from support.data.reviews import reviews
from support.tiny import shared_backbone


def test_a_prompt_is_loaded_by_folder_or_version_and_asked(
    room: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    first = cuecard.load_prompt(room / "run" / "prompt")
    parsed = []
    plain = Manifest.from_bytes
    monkeypatch.setattr(
        Manifest, "from_bytes", lambda *given: parsed.append(given[1]) or plain(*given)
    )
    for name in ("reviews@1", "reviews@production"):
        loaded = cuecard.load_prompt(name, registry=registry)
        assert loaded.digest == first.digest and loaded.source.endswith("reviews@1")
    assert len(parsed) == 2  # the cache's copy is not parsed again
    model = shared_backbone()
    bound = first.bind(model)
    rows = [{"text": row.fields["text"], "label": row.target} for row in reviews(8)]
    assert bound.predict(rows) == cuecard.answer(model, first, rows)
    assert bound.evaluate(rows).metrics["accuracy"] == bound.evaluate(reviews(8)).score


def test_what_is_not_there_is_named(registry: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such prompt folder"):
        cuecard.load_prompt(tmp_path / "none")
    with pytest.raises(RegistryError):
        cuecard.load_prompt("tickets@1", registry=registry)


@pytest.mark.parametrize("file", ["sweep.yaml", "transfer.yaml"])
def test_of_a_choice_it_is_the_run_that_was_chosen(room: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("")
    with pytest.raises(ArtifactError, match="no prompt yet") as told:
        find_prompt(tmp_path)
    assert told.value.expected == str(tmp_path / "best")
    shutil.copytree(room / "run", tmp_path / "best")
    found = find_prompt(tmp_path)
    assert found.folder == tmp_path / "best" / "prompt" and found.text_field == "message"


def test_a_run_around_one_of_train_names_its_backbone(room: Path, tmp_path: Path) -> None:
    recipe = load_yaml((room / "run" / "recipe.yaml").read_text())
    recipe["task"]["template"] = None
    recipe["method"] = {"name": "prompt-tuning"}
    values = {"recipe": recipe, "unlabelled": "more.csv", "patterns": ["{text} a", "{text} b"]}
    (tmp_path / "pet.yaml").write_text(PetRecipe.parse(values).to_yaml())
    shutil.copytree(room / "run" / "prompt", tmp_path / "prompt")
    found = find_prompt(tmp_path)
    assert found.recipe is not None and found.recipe.backbone == str(room / "tiny")
    assert cuecard.load(tmp_path).predict(["fine"])
