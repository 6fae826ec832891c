"""Names -> backbones and files: what is refused before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.backbones import CausalBackbone, Seq2SeqBackbone
from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.errors import BackboneError, CatalogueError
from cuecard.names import data_source, load_backbone
from tiny import SEQ2SEQ, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("name", [n for n, e in BACKBONES.items() if e.family == "encoder"])
def test_an_encoder_of_the_catalogue_is_refused_before_it_is_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackboneError, match=f"{name}, of the family encoder"):
        load_backbone(name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["llama", "gpt2", *SEQ2SEQ])
def test_the_config_chooses_the_family(kind: str, tmp_path: Path) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer(SEQ2SEQ[kind][1] if kind in SEQ2SEQ else "").save_pretrained(tmp_path)
    found = load_backbone(tmp_path, dtype="fp32", device="cpu")
    assert type(found) is (Seq2SeqBackbone if kind in SEQ2SEQ else CausalBackbone)


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
