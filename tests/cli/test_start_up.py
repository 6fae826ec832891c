"""What a command imports: its help and a user's mistake need not wait for torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.command_line import save_rows

# Libraries that take from tenths of seconds to seconds to import.
HEAVY = (
    "absl",
    "accelerate",
    "datasets",
    "fastapi",
    "matplotlib",
    "nltk",
    "numpy",
    "onnx",
    "pandas",
    "peft",
    "pyarrow",
    "scipy",
    "sklearn",
    "tokenizers",
    "torch",
    "torchao",
    "transformers",
)
# Runs commands one after the other in one process, then says what is there that should not be.
SCRIPT = """
import json, sys
from cuecard.cli.main import main
found = []
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        found.append([end.code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(found), file=sys.stderr)
"""


def imported(
    commands: Sequence[Sequence[object]], heavy: Sequence[str] = HEAVY
) -> list[tuple[int, list[str]]]:
    """Each command's exit code, and which of the libraries are imported when it ends."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, "-c", SCRIPT, words, json.dumps(heavy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads(done.stderr.splitlines()[-1])
    assert len(found) == len(commands), done.stderr
    return [(code, names) for code, names in found]


def test_help_is_light() -> None:
    script = (
        "import json, sys\n"
        "from cuecard.cli.main import COMMANDS, app_for\n"
        "for name in COMMANDS:\n"
        "    app_for(name)([*name.split(), '--help'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
    assert done.stdout.count("--help") > 20


def test_registry_and_keys_are_light(tmp_path: Path) -> None:
    registry = ("--registry", tmp_path / "prompts")
    keys = tmp_path / "keys.json"
    found = imported(
        [
            ("list", *registry),
            ("show", "reviews", *registry),
            ("keys", "add", "clerk", "--keys", keys),
            ("keys", "list", "--keys", keys),
            ("backbones",),
            ("methods",),
        ]
    )
    assert [names for _, names in found] == [[]] * 6
    assert [code for code, _ in found] == [2, 2, 0, 0, 0, 0]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose text column is called otherwise."""
    rows = [{"body": f"ticket {n}", "label": "ab"[n % 2]} for n in range(40)]
    return save_rows(tmp_path_factory.mktemp("wrong") / "wrong.csv", rows)


def test_advice_is_light(wrong: Path) -> None:
    right = (wrong, "--text-field", "body")
    found = imported([("advise", *right), ("advise", *right, "--json"), ("advise", wrong)])
    assert [code for code, _ in found] == [0, 0, 2]
    assert {name for _, names in found for name in names} <= {"numpy", "scipy"}  # an interval


@pytest.mark.parametrize("command", ["train", "sweep", "lora"])
def test_mistakes_in_recipes_and_data_are_light(command: str, wrong: Path) -> None:
    more = ("--grid", "lr=0.01,0.03") if command == "sweep" else ()
    mistakes = [
        (wrong.with_name("missing.csv"),),
        (wrong,),  # no column "text"
        (wrong, "--text-field", "body", "--label-field", "team"),
        (wrong, "--text-field", "body", "--template", "{subject}"),
        (wrong, "--text-field", "body", "--labels", "a,c"),
        (wrong, "--set", "training.stepz=4"),
        (wrong, "--method", "prompt-tunning"),
        (wrong, "--text-field", "body", "--backbone", "smollm2-135m-instuct"),
    ]
    commands = [(command, *mistake, *more) for mistake in mistakes]
    if command == "train":
        commands += [("train", *mistake, "--dry-run") for mistake in mistakes]
    for words, (code, names) in zip(commands, imported(commands), strict=True):
        assert (code, names) == (2, []), words


def test_answering_is_without_what_training_and_scoring_need(
    run: Path, backbone: Path, wrong: Path
) -> None:
    heavy = ("absl", "datasets", "matplotlib", "nltk", "pandas", "pyarrow", "sklearn", "torchao")
    commands = [
        ("predict", run, "--file", wrong.with_name("missing.csv"), "--backbone", backbone),
        ("predict", run, "--file", wrong, "--backbone", backbone),
        ("eval", run, wrong, "--backbone", backbone),
        ("predict", run, "good", "--backbone", backbone, "--json"),
    ]
    *mistakes, (code, names) = imported(commands, (*heavy, "transformers"))
    assert mistakes == [(2, [])] * 3  # not even the backbone's library
    assert (code, names) == (0, ["transformers"])
