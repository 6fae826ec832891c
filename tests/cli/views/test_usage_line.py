"""Commands to copy: each kind of task's runs as it is printed, in any folder."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image

from cuecard.cli.options import pairs
from cuecard.cli.rows import typed_rows
from cuecard.cli.views.usage_line import command_line, predict_command
from cuecard.tasks import TaskSpec
from cuecard.tasks.kinds import KINDS


def spec_of(kind: str, **settings: object) -> TaskSpec:
    labels = ("O", "X") if KINDS[kind].labelled else ()
    template = KINDS[kind].template
    return TaskSpec.parse({"kind": kind, "template": template, "labels": labels, **settings})


@pytest.mark.parametrize(
    "spec",
    [
        *(spec_of(kind) for kind in KINDS),
        spec_of("text-to-text", template="{instruction}\n{input}:", allow_empty=("input",)),
        spec_of("classification", template="{premise} {hypothesis}:"),
    ],
    ids=lambda spec: f"{spec.kind}-{len(spec.record_fields)}",
)
def test_the_printed_command_gives_every_field_a_value(
    spec: TaskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("some-image.png")  # that the command of an image task names
    words = shlex.split(predict_command(spec, "runs/it's [mine] & yours"))
    assert words[:3] == ["cuecard", "predict", "runs/it's [mine] & yours"]
    given = [words[n + 1] for n, word in enumerate(words) if word == "--field"]
    texts = [] if given else words[3:]
    (record,) = typed_rows(spec, texts, pairs(given, "--field"))
    assert set(record.fields) == set(spec.record_fields)


def test_a_folder_is_never_taken_for_an_option() -> None:
    assert "predict ./-x" in predict_command(spec_of("classification"), "-x")
    assert command_line("cuecard", "a b", "c") == "cuecard 'a b' c"
