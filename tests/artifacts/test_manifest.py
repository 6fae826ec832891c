"""The manifest: what is stored, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Manifest, Prompt
from cuecard.artifacts.files import MAX_JSON_BYTES
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.manifest import SCHEMA_VERSION, ParametersEntry
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.errors import ArtifactError
from cuecard.types import Record


def test_bytes_come_back_as_the_same_manifest(prompt: Prompt) -> None:
    content = prompt.manifest.to_bytes()
    found = Manifest.from_bytes(content, "x")
    assert found == prompt.manifest
    assert found.to_bytes() == content


def test_digest_covers_everything_but_the_versions(prompt: Prompt) -> None:
    manifest = prompt.manifest
    assert manifest.model_copy(update={"created_with": {"torch": "9"}}).digest == manifest.digest
    changes: dict[str, Any] = {
        "injection": "layer-tokens",
        "key_heads": 2,
        "head": "linear",
        "head_layers": (1, 2),
        "name_place": "middle",
        "method": "other",
        "method_config": {},
        "slot": "suffix",
        "task": {},
        "backbone": manifest.backbone.model_copy(update={"name": "other"}),
        "data_hash": "",
        "rows": RowsEntry.of([Record({"text": "a"}, "b")], []),
        "seed": 8,
        "parameters": ParametersEntry(trained=1, total=2),
        "metrics": {},
        "prior": None,
        "test_vectors": (),
        "tensors": {},
        "adapter_config_sha256": None,
        "ported_from": PortedFrom(name="old", digest="a" * 64, backbone="small"),
    }
    digests = {manifest.model_copy(update={name: value}).digest for name, value in changes.items()}
    assert len(digests) == len(changes)
    assert manifest.digest not in digests
    assert set(changes) | {"created_with", "schema_version"} == set(Manifest.model_fields)


def test_what_it_holds(prompt: Prompt) -> None:
    document = json.loads(prompt.manifest.to_bytes())
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["digest"] == prompt.digest
    assert document["task"]["labels"] == ["negative", "positive"]
    assert document["backbone"]["hidden_size"] == 32
    assert document["tensors"]["prompt_embeddings"]["shape"] == [5, 32]
    assert len(document["test_vectors"]) == 2
    assert set(document["created_with"]) == {"python", "cuecard", "torch", "transformers"}


@pytest.mark.parametrize("found", [None, 0, 2, "1", True, 1.5, [1]])
def test_unknown_schema_version(prompt: Prompt, found: object) -> None:
    document = json.loads(prompt.manifest.to_bytes())
    document["schema_version"] = found
    with pytest.raises(ArtifactError, match="unknown schema version"):
        Manifest.from_bytes(json.dumps(document).encode(), "x")


def _set(*path: str, to: object) -> Any:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return change


FIELDS: dict[str, tuple[Any, str]] = {
    "unknown key": (_set("run_on_load", to="x"), "run_on_load"),
    "unknown key inside": (_set("backbone", "path", to="/etc"), "backbone.path"),
    "unknown fingerprint": (_set("backbone", "fingerprint", "x", to="y"), "backbone.fingerprint.x"),
    "missing key": (lambda document: document.pop("tensors"), "tensors"),
    "number as text": (_set("seed", to="7"), "seed"),
    "number for a name": (_set("method", to=7), "method"),
    "unknown slot": (_set("slot", to="middle"), "slot"),
    "no hash": (_set("data_hash", to="../../etc"), "data_hash"),
    "short fingerprint": (_set("backbone", "fingerprint", "config", to="ab"), "config"),
    "zero width": (_set("backbone", "hidden_size", to=0), "hidden_size"),
    "huge tensor": (
        _set("tensors", "prompt_embeddings", "shape", to=[1 << 40, 32]),
        "prompt_embeddings",
    ),
    "pickled tensor": (_set("tensors", "prompt_embeddings", "dtype", to="object"), "dtype"),
    "negative token": (
        lambda document: document["test_vectors"][0].update(context=[-1]),
        "context",
    ),
    "no test vectors": (_set("test_vectors", to=[]), "test_vectors"),
    "too many test vectors": (
        lambda document: document.update(test_vectors=document["test_vectors"] * 99),
        "test_vectors",
    ),
}


@pytest.mark.parametrize("fault", FIELDS)
def test_wrong_field_is_refused_by_name(prompt: Prompt, fault: str) -> None:
    change, named = FIELDS[fault]
    document = json.loads(prompt.manifest.to_bytes())
    change(document)
    with pytest.raises(ArtifactError, match="invalid field") as caught:
        Manifest.from_bytes(json.dumps(document).encode(), "the/file")
    assert named in str(caught.value.got)


@pytest.mark.parametrize(
    "change",
    [
        _set("metrics", "accuracy", "value", to=0.99),
        _set("task", "template", to="Review: {text}\nOpposite:"),
        _set("digest", to="00" * 32),
        lambda document: document.pop("digest"),
        _set("prior", to=None),
    ],
    ids=["metrics", "template", "digest", "no digest", "prior"],
)
def test_altered_manifest_is_refused(prompt: Prompt, change: Any) -> None:
    document = json.loads(prompt.manifest.to_bytes())
    change(document)
    with pytest.raises(ArtifactError, match="manifest was altered"):
        Manifest.from_bytes(json.dumps(document).encode(), "x")


def test_duplicate_key_and_oversize_are_refused(prompt: Prompt, folder: Path) -> None:
    content = prompt.manifest.to_bytes()
    twice = content.replace(b'"seed": 7', b'"seed": 8,\n "seed": 7')
    with pytest.raises(ArtifactError, match="occurs twice"):
        Manifest.from_bytes(twice, "x")
    (folder / "prompt.json").write_bytes(content + b" " * MAX_JSON_BYTES)
    with pytest.raises(ArtifactError, match="too large"):
        Prompt.load(folder)
    large = prompt.manifest.model_copy(update={"metrics": {"log": "x" * MAX_JSON_BYTES}})
    with pytest.raises(ArtifactError, match="too large to save"):
        large.to_bytes()
