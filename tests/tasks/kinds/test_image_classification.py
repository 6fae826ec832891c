from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.errors import ConfigError, DataError
from cuecard.images import pixels_of
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.kinds import KINDS
from cuecard.types import Encoded, Image, Record
from support.tiny_vision import LABELS, SPEC, pictures, shared_vision

KIND = KINDS["image-classification"]


def test_a_row_is_its_image_and_its_labels_number() -> None:
    tokenizer = shared_vision().tokenizer
    for record, number in zip(pictures(2), (0.0, 1.0), strict=True):
        assert SPEC.encode(record, tokenizer) == Encoded(
            (), (), images=record.images, image_positions=10, goal=(number,)
        )
    bare = Record(pictures(1)[0].fields, None)
    assert SPEC.encode(bare, tokenizer).goal == ()


def test_numbers_in_labels_count() -> None:
    assert KIND.sorted_labels(["10", "9", "b2", "b10", "a"]) == ["9", "10", "a", "b2", "b10"]


@pytest.mark.parametrize("template", ["A photo: {image}", "{image}{other}", "{image} {image}"])
def test_no_words_stand_beside_the_image(template: str) -> None:
    with pytest.raises(ConfigError, match="words beside the image"):
        TaskSpec(kind=KIND.name, template=template, labels=LABELS)


def test_a_record_of_text_is_refused() -> None:
    records = [*pictures(20), Record({"image": "a cat"}, "disc", "set.csv", 3)]
    with pytest.raises(DataError, match="has no image") as caught:
        Task.from_records(SPEC, records)
    assert caught.value.where == "set.csv, row 3"


def test_the_test_pictures_are_fixed_and_differ() -> None:
    texts = ("one", "another")
    found = [KIND.probe(text) for text in texts]
    assert found == [KIND.probe(text) for text in texts] and found[0] != found[1]
    for image in found:
        assert isinstance(image, Image) and pixels_of(image).size == (16, 16)


def test_inputs_are_files_folders_and_patterns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/1.jpg", "b/notes.txt", "b/c/3.PNG", "a.png", "[x].png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert KIND.inputs(["a.png", "b"]) == ["a.png", "b/1.jpg", "b/2.png", "b/c/3.PNG"]
    assert KIND.inputs(["b/*"]) == ["b/1.jpg", "b/2.png"]
    assert KIND.inputs([f"{tmp_path}/b/*.png"]) == [f"{tmp_path}/b/2.png"]
    assert KIND.inputs(["[x].png", "missing.png"]) == ["[x].png", "missing.png"]
    Path("empty").mkdir()
    for nothing in ("empty", "*.gif"):
        with pytest.raises(DataError, match="no images"):
            KIND.inputs([nothing])
