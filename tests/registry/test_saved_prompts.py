"""A saved prompt by its folder or by a version's name: loaded, bound, asked."""

from __future__ import annotations

from pathlib import Path

import pytest

import cuecard
from cuecard.artifacts.manifest import Manifest
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, RegistryError
from cuecard.registry import Registry
from support.data.reviews import reviews


def test_a_prompt_is_loaded_by_folder_or_version_and_asked(
    disk: Registry,
    prompts: list[Path],
    model: CausalBackbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    disk.push(prompts[0], "reviews")
    disk.promote("reviews@1", "production")
    first = cuecard.load_prompt(prompts[0])
    parsed = []
    plain = Manifest.from_bytes
    monkeypatch.setattr(
        Manifest, "from_bytes", lambda *given: parsed.append(given[1]) or plain(*given)
    )
    for name in ("reviews@1", "reviews@production"):
        loaded = cuecard.load_prompt(name, registry=disk.store.url)
        assert loaded.digest == first.digest and loaded.source.endswith("reviews@1")
    assert len(parsed) == 2  # the cache's copy is not parsed again
    bound = first.bind(model)
    rows = [{"text": row.fields["text"], "label": row.target} for row in reviews(8)]
    assert bound.predict(rows) == cuecard.answer(model, first, rows)
    assert bound.evaluate(rows).metrics["accuracy"] == bound.evaluate(reviews(8)).score


def test_what_is_not_there_is_named(disk: Registry, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such prompt folder"):
        cuecard.load_prompt(tmp_path / "none")
    with pytest.raises(RegistryError):
        cuecard.load_prompt("reviews@1", registry=disk.store.url)
