"""How a command line is read: help by group, mistakes in our own form, and completion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.cli.main import COMMANDS, FAMILIES, GROUPS
from support.command_line import Call


def test_commands_are_listed_by_group(cuecard: Call) -> None:
    shown = cuecard("--help").out
    sections = {}
    for part in shown.split("\n\n"):
        title, _, rows = part.partition(":\n")
        sections[title.strip()] = [row.split()[0] for row in rows.splitlines() if row[2:3] != " "]
    for group in GROUPS:
        here = [name for name, (module, _) in COMMANDS.items() if module.startswith(f"{group}.")]
        firsts = dict.fromkeys(name.split()[0] for name in here)
        assert sections[group.capitalize()] == list(firsts)


@pytest.mark.parametrize(
    ("words", "where", "got", "expected", "hint"),
    [
        (["export", "a", "b", "--form", "pft"], "--form", "pft", "peft", "did you mean 'peft'?"),
        (["keys", "ad"], "ACTION", "ad", "add, list, revoke", "did you mean 'add'?"),
        (["predict", "a", "--batch-rows", "0"], "--batch-rows", "0", "1 or more", None),
        (["predict", "a", "--limit", "x"], "--limit", "x", "a whole number", None),
        (["predict"], "cuecard predict", None, "PROMPT", "cuecard predict --help"),
        (["serve"], "cuecard serve", None, "--backbone", "cuecard serve --help"),
        (["gc", "--grace"], "cuecard gc", None, None, "cuecard gc --help"),
        (["methods", "a", "b"], "cuecard methods", "a b", None, "cuecard methods --help"),
        (["tarin"], "cuecard", "tarin", None, "did you mean 'train'?"),
        (["graphrag", "validat"], "cuecard graphrag", "validat", None, "did you mean 'validate'?"),
        (
            ["graphrag", "validate", "--rot", "x"],
            "cuecard graphrag validate",
            "--rot",
            None,
            "did you mean --root?",
        ),
        (["--verbose"], "cuecard", "--verbose", None, "did you mean --version?"),
        (["push", "a", "b", "--oops=1"], "cuecard push", "--oops", None, "cuecard push --help"),
        (["train", "--split-seed", "3", "--split", "2"], "cuecard train", "--split", None, None),
        (["predict", "a", "--filee", "x"], "cuecard predict", "--filee", None, "--file?"),
        (["predict", "a", "--terrible"], "cuecard predict", "--terrible", None, "-- --terrible"),
        (["nearest", "-5 degrees"], "cuecard nearest", "-5 degrees", None, "-- '-5 degrees'"),
    ],
)
def test_mistakes_are_told_as_all_errors_are(
    cuecard: Call,
    words: list[str],
    where: str,
    got: str | None,
    expected: str | None,
    hint: str | None,
) -> None:
    done = cuecard(*words)
    assert done.code == 2 and "Usage" not in done.err + done.out
    assert f"  where: {where}\n" in done.err
    for name, said in (("got", got), ("expected", expected), ("hint", hint)):
        if said is not None:
            line = next(line for line in done.err.splitlines() if line.startswith(f"  {name}: "))
            assert said in line and (name != "got" or line == f"  got: {said}")
    name = 2 if words[0] in FAMILIES else 1
    told = json.loads(cuecard(*words[:name], "--json", *words[name:]).out)
    assert (told["error"], told["where"]) == ("ConfigError", where)


def test_shells_get_their_script(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    # The parent process is asked otherwise, which may be make's sh.
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    done = cuecard("--show-completion")
    assert done.code == 0 and "_CUECARD_COMPLETE=complete_bash" in done.out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cuecard tr", {"track", "train", "transfer"}),
        ("cuecard export runs/a --fo", {"--form"}),
        (
            "cuecard export runs/a --form pe",
            {"peft", "peft-p-tuning", "peft-multitask", "peft-cartridge"},
        ),
        ("cuecard keys re", {"revoke"}),
        ("cuecard train --method p-", {"p-tuning", "p-tuning-v2"}),
        ("cuecard train --kind mult", {"multi-label", "multiple-choice"}),
        ("cuecard predict runs/a --backbone smollm2-135m-i", {"smollm2-135m-instruct"}),
        ("cuecard predict tick", {"tickets@latest", "tickets@production"}),
        ("cuecard promote tickets@l", {"tickets@latest"}),
        ("cuecard pull tickets@p", {"tickets@production"}),
        ("cuecard pull --registry elsewhere t", set()),
        ("cuecard rollback t", {"tickets"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_words_are_completed(
    cuecard: Call,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: str,
    found: set[str],
    shell: str,
) -> None:
    (tmp_path / "prompts" / "prompts" / "tickets" / "aliases" / "production").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_CUECARD_COMPLETE", f"complete_{shell}")
    if shell == "bash":
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    else:
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    done = cuecard()
    assert done.code == 0
    if shell == "bash":
        assert set(done.out.split()) == found
    else:
        assert all(f'"{name}"' in done.out for name in found)
