"""Names -> backbones and files: what is refused before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.backbones import FAMILIES
from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.errors import BackboneError, CatalogueError
from cuecard.names import data_source, load_backbone, sentence_encoder
from support.tiny import MASKED, SEQ2SEQ, tiny_backbone, tiny_model


@pytest.mark.parametrize("kind", ["llama", "gpt2", *SEQ2SEQ, *MASKED])
def test_the_config_chooses_the_family(kind: str, tmp_path: Path) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_backbone(kind).tokenizer.save_pretrained(tmp_path)
    found = load_backbone(tmp_path, dtype="fp32", device="cpu")
    assert type(found) is type(tiny_backbone(kind))
    assert kind not in MASKED or found.fingerprint == tiny_backbone(kind).fingerprint


def test_the_catalogue_has_no_other_families() -> None:
    assert {entry.family for entry in BACKBONES.values()} <= set(FAMILIES)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(BackboneError, match="did you mean flan-t5-small"):
        load_backbone("flan-t5-smal")


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/model", "a/b/c", "a\\b", "a model"])
def test_what_is_no_hub_id_is_not_looked_up_there(name: str) -> None:
    with pytest.raises(BackboneError, match="unknown backbone") as told:
        load_backbone(name)
    assert "`cuecard backbones` lists the names" in str(told.value)


def test_a_path_is_its_own_data_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_source(tmp_path / "rows.csv") == tmp_path / "rows.csv"
    assert data_source("owner/data") == "owner/data"
    entry = next(iter(DATASETS.values()))
    known = f"{entry.name}/{next(iter(entry.subsets))}"
    (tmp_path / known).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert data_source(known) == known, "a folder that is there comes before the catalogue"


def test_a_data_set_of_the_catalogue_is_looked_for_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("a file, so that nothing can be fetched into it")
    entry = next(iter(DATASETS.values()))
    with pytest.raises(CatalogueError) as told:
        data_source(f"{entry.name}/{next(iter(entry.subsets))}")
    assert str(tmp_path / "cache") in str(told.value)


def test_the_sentence_encoder_is_only_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an empty cache, nor a broken one, nor none at all is an error: nothing is fetched."""
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path))
    assert sentence_encoder() is None and list(tmp_path.iterdir()) == []
    monkeypatch.setattr("cuecard.names.is_cached", lambda name: True)
    monkeypatch.setattr("cuecard.names.backbone_folder", lambda name, progress: tmp_path)
    assert sentence_encoder() is None

    def homeless(name: str) -> bool:
        raise CatalogueError("there is no home folder to keep the cache in")

    monkeypatch.setattr("cuecard.names.is_cached", homeless)
    assert sentence_encoder() is None
