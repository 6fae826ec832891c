from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from cuecard.errors import DataError
from cuecard.tasks.readers.dataset_sets import (
    is_unlabelled,
    load_folder,
    load_hub,
    looks_like_hub_name,
    set_table,
)
from cuecard.tasks.readers.tables import Wanted, records

WANTED = Wanted(["text"], "label")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def make(labels: list[int | None]) -> datasets.Dataset:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "scores": datasets.Sequence(datasets.Value("float32")),
        }
    )
    rows = {
        "text": [f"t{index}" for index in range(len(labels))],
        "label": labels,
        "scores": [[0.5] for _ in labels],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_saved_set_is_read_with_its_class_names(tmp_path: Path) -> None:
    make([1, 0]).save_to_disk(tmp_path / "one")
    parts = load_folder(tmp_path / "one")
    found = records(set_table(parts["train"], "one", WANTED), WANTED)
    assert list(parts) == ["train"]
    assert [(r.row, r.fields["text"], r.target) for r in found] == [
        (1, "t0", "pos"),
        (2, "t1", "neg"),
    ]


def test_a_dict_of_sets_keeps_its_parts(tmp_path: Path) -> None:
    datasets.DatasetDict(train=make([1]), dev=make([0])).save_to_disk(tmp_path / "two")
    assert list(load_folder(tmp_path / "two")) == ["train", "dev"]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a saved `datasets` set") as caught:
        load_folder(tmp_path)
    assert "FileNotFoundError" in str(caught.value.got)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="no column 'review'"):
        set_table(make([1]), "one", Wanted(["review"], "label"))


def test_a_hidden_test_set_is_known() -> None:
    assert is_unlabelled(make([-1, -1]), "label")
    assert is_unlabelled(make([None]), "label")
    assert not is_unlabelled(make([-1, 1]), "label")
    assert not is_unlabelled(make([-1]), None)
    assert not is_unlabelled(make([-1]), "other")


@pytest.mark.parametrize(
    ("name", "can_be"),
    [
        ("imdb", True),
        ("nyu-mll/glue:sst2", True),
        ("a/b/c", False),
        ("../data", False),
        ("my data", False),
        ("/data", False),
    ],
)
def test_what_can_be_a_hub_name(name: str, can_be: bool) -> None:
    assert looks_like_hub_name(name) is can_be


def test_a_hub_set_is_asked_for_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def load(path: str, config: str | None) -> Any:
        asked.append((path, config))
        return datasets.DatasetDict(train=make([1]))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(load_hub("owner/name:part")) == ["train"]
    load_hub("name")
    assert asked == [("owner/name", "part"), ("name", None)]


def test_offline_a_hub_name_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: str, config: str | None) -> Any:
        raise ConnectionError(f"Couldn't reach {path!r}\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match="hub gave no such data set") as caught:
        load_hub("owner/name")
    assert caught.value.got == "ConnectionError: Couldn't reach 'owner/name'"
    assert "network" in str(caught.value.hint)
