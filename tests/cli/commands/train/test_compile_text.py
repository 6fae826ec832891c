"""`cuecard compile` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.artifacts import Prompt
from support.command_line import Call, save_tiny

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it .\n"
SOLVED = (("a film for all", "positive"), ("so bad", "negative"), ("one of the best", "positive"))


@pytest.fixture
def words(data: Path, backbone: Path, tmp_path: Path) -> list[object]:
    text = tmp_path / "handbook.md"
    text.write_text(TEXT, encoding="utf-8")
    return [
        *("compile", text, "--into", "8,2", "--inputs", data, "--text-field", "review"),
        *("--limit", "30", "--max-new-tokens", "4", "--steps", "6", "--batch-rows", "4"),
        *("--backbone", backbone, "--out", tmp_path / "run"),
    ]


def test_a_handbook_becomes_a_prompt(
    cuecard: Call, words: list[object], backbone: Path, data: Path, tmp_path: Path
) -> None:
    plan = cuecard(*words, "--dry-run", "--json").json
    assert plan["inputs"] == 30 and [each["length"] for each in plan["lengths"]] == [2, 8]
    assert not (tmp_path / "run").exists()
    words += ["--eval", data]
    done = cuecard(*words)
    assert done.code == 0, done.err
    assert "Training 2 prompts" in done.out and "8: " in done.out
    for said in ("compiled", "first tokens", "last tokens", "full text", "no text", "positions"):
        assert said in done.out
    folder = tmp_path / "run"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    saved = report["text"]["tokens"] - 8
    assert report["kept"]["saved_positions"] == saved > 0
    (kept,) = (r for r in report["rows"] if (r["prompt"], r["length"]) == ("compiled", 8))
    assert report["kept"]["saved_kv_bytes"] * 8 == kept["kv_bytes"] * saved
    assert report["positions"]["input_goes_on_at"] == 8
    assert len(report["rows"][1]["difference"]["ci95"]) == 2 and "| compiled |" in (
        folder / "report.md"
    ).read_text(encoding="utf-8")
    prompt = Prompt.load(folder / "prompt")
    assert prompt.digest == report["kept"]["digest"]
    again = cuecard("compile", "--resume", folder, "--json")
    assert again.code == 0, again.err
    (line,) = again.out.splitlines()  # nothing was trained again
    assert json.loads(line)["kept"] == report["kept"]
    assert cuecard("predict", folder, "a fine film", "--backbone", backbone).code == 0
    assert cuecard("eval", folder, data, "--text-field", "review", "--backbone", backbone).code == 0
    registry = tmp_path / "registry"
    pushed = cuecard("push", folder / "prompt", "handbook", "--registry", registry)
    assert pushed.code == 0, pushed.err
    shown = cuecard("inspect", folder, "--backbone", backbone)
    assert report["text"]["sha256"] in shown.out


@pytest.mark.parametrize("more", [["--chat"], ["--as", "input-tokens"]])
def test_other_ways(
    cuecard: Call, words: list[object], backbone: Path, tmp_path: Path, more: list[str]
) -> None:
    done = cuecard(*words, "--into", "4", "--json", *more)
    assert done.code == 0, done.err
    prompt = Prompt.load(tmp_path / "run" / "prompt")
    assert prompt.manifest.slot == ("infix" if "--chat" in more else "prefix")
    assert prompt.manifest.injection == ("late-prefix-kv" if "--chat" in more else "input-tokens")
    assert cuecard("predict", tmp_path / "run", "a film", "--backbone", backbone).code == 0


@pytest.mark.filterwarnings("ignore::cuecard.errors.DataWarning")
def test_solved_examples_become_a_prompt(
    cuecard: Call, words: list[object], backbone: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "handbook.md").write_text(
        "".join(f"Review: {text}\nIs: {label}\n" for text, label in SOLVED), encoding="utf-8"
    )
    template = r"{prompt}\nReview: {text}\nIs:"
    more = ["--labels", "negative,positive", "--template", template, "--eval", data, "--into", "4"]
    done = cuecard(*words, *more, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out.splitlines()[-1])
    assert report["metric"] == "accuracy" and report["inputs"]["labelled"] == 80
    names = [row["prompt"] for row in report["rows"]]
    assert names == [
        *("full text", "compiled", "its start, untrained", "first tokens", "last tokens"),
        *("own summary", "informative tokens", "no text"),
    ]
    # In front of everything, where the template is what is asked without the text.
    assert Prompt.load(tmp_path / "run" / "prompt").spec.template == "\nReview: {text}\nIs:"
    evaluated = cuecard(
        *("eval", tmp_path / "run", data, "--text-field", "review"),
        *("--backbone", backbone, "--json"),
    )
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["metrics"]["accuracy"] == report["rows"][1]["score"]


def test_several_texts_are_compiled_at_once(
    cuecard: Call, words: list[object], backbone: Path, tmp_path: Path
) -> None:
    asked, policy = tmp_path / "asked.txt", tmp_path / "policy.md"
    asked.write_text("".join(f"one of the {n} days\n" for n in range(30)), encoding="utf-8")
    policy.write_text(TEXT.replace("dog", "film"), encoding="utf-8")
    words[2:2] = [policy]
    words += ["--inputs", f"policy={asked}"]
    plans = cuecard(*words, "--dry-run", "--json")
    assert plans.code == 0, plans.err
    assert [json.loads(line)["folder"] for line in plans.out.splitlines()] == [
        str(tmp_path / "run" / name) for name in ("handbook", "policy")
    ]
    done = cuecard(*words)
    assert done.code == 0, done.err
    assert "Training 4 prompts" in done.out
    reports = {}
    for name in ("handbook", "policy"):
        folder = tmp_path / "run" / name
        reports[name] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert reports[name]["kept"]["digest"] == Prompt.load(folder / "prompt").digest
        assert cuecard("predict", folder, "a fine film", "--backbone", backbone).code == 0
    assert reports["policy"]["text"]["file"] == str(policy)
    assert "one of the 3 days" in (tmp_path / "run/policy/teacher.jsonl").read_text()
    again = cuecard("compile", "--resume", tmp_path / "run", "--json")
    assert again.code == 0, again.err
    lines = [json.loads(line) for line in again.out.splitlines()]  # nothing was trained again
    assert [line["kept"] for line in lines] == [each["kept"] for each in reports.values()]
    anew = cuecard(*words, "--overwrite", "--json")
    assert anew.code == 0, anew.err
    events = [json.loads(line) for line in anew.out.splitlines()]
    assert {event["step"] for event in events if event["event"] == "step"} == {*range(1, 7)}
    assert [each["kept"] for each in events if each["event"] == "result"] == [
        each["kept"] for each in reports.values()
    ]
    third = tmp_path / "third.md"
    third.write_text(TEXT.replace("lazy", "good"), encoding="utf-8")
    more = cuecard(*words[:2], third, *words[2:], "--json")
    assert more.code == 0, more.err
    events = [json.loads(line) for line in more.out.splitlines()]
    trained = {event["run"] for event in events if event["event"] == "step"}
    assert trained == {"third/lengths/2", "third/lengths/8"}


def test_runs_of_several_backbones_are_not_resumed_as_one(
    cuecard: Call, words: list[object], tmp_path: Path
) -> None:
    other = save_tiny(tmp_path / "other-model", seed=3)
    for name, more in (("one", []), ("two", ["--backbone", other])):
        done = cuecard(*words, "--into", "2", "--out", tmp_path / "runs" / name, *more)
        assert done.code == 0, done.err
    refused = cuecard("compile", "--resume", tmp_path / "runs")
    assert refused.code == 2 and "not of one backbone" in refused.err
    assert {each.name for each in (tmp_path / "runs").iterdir()} == {"one", "two"}


def test_a_text_that_says_where_the_input_stands(
    cuecard: Call, words: list[object], tmp_path: Path
) -> None:
    prompt = tmp_path / "extract.txt"
    prompt.write_text(TEXT + 'Answer {{"in"}} JSON.\n# Text\n{input_text}\n# {{Output}}\n')
    words[1] = prompt
    done = cuecard(*words, "--input-field", "input_text", "--into", "2", "--json")
    assert done.code == 0, done.err
    saved = Prompt.load(tmp_path / "run" / "prompt")
    assert saved.spec.template == "\n{text}\n# {{Output}}\n"
    plain = tmp_path / "plain.md"
    plain.write_text(TEXT + 'Answer {"in"} JSON.\n# Text\n')
    words[1], template = plain, r"{prompt}\n{text}\n# {{Output}}\n"
    again = cuecard(*words, "--template", template, "--out", tmp_path / "b", "--into", "2")
    assert again.code == 0, again.err
    assert json.loads((tmp_path / "b/report.json").read_text())["kept"] | {"digest": ""} == (
        json.loads((tmp_path / "run/report.json").read_text())["kept"] | {"digest": ""}
    )
    words[1] = prompt
    for more, said in (
        (("--input-field", "text"), "{input_text}"),
        (("--input-field", "input_text", "--template", "{prompt}{text}"), "where an input stands"),
        (("--input-field", "input_text", "--system", "{prompt}"), "where an input stands"),
    ):
        refused = cuecard(*words, *more, "--out", tmp_path / "c")
        assert refused.code == 2 and said in refused.err, refused.err
    prompt.write_text("a { brace and {input_text}")
    refused = cuecard(*words, "--input-field", "input_text", "--out", tmp_path / "c")
    assert refused.code == 2 and "braces of the text itself are doubled" in refused.err
    assert not (tmp_path / "c").exists()


def test_texts_that_cannot_be_told_apart(
    cuecard: Call, words: list[object], data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "handbook.md"
    other.parent.mkdir()
    other.write_text(TEXT)
    refused = cuecard(*words[:2], other, *words[2:])
    assert refused.code == 2 and "two texts have one name" in refused.err
    refused = cuecard(*words, "--inputs", tmp_path / "b.txt")
    assert refused.code == 2 and "several files for one text" in refused.err
    refused = cuecard(*words, "--inputs", f"handbok={tmp_path / 'b.txt'}")
    assert refused.code == 2 and "did you mean 'handbook'" in refused.err
    refused = cuecard(words[0], words[1], words[1], *words[2:])
    assert refused.code == 2 and "two texts have one name" in refused.err
    spaced = tmp_path / "the policy.md"
    spaced.write_text(TEXT)
    missing = ["--inputs", "the policy=none.txt"]
    refused = cuecard(*words[:2], spaced, *words[2:], *missing)
    assert refused.code == 2 and "there is no such file" in refused.err, refused.err
    refused = cuecard(*words, "--lr", "auto")
    assert refused.code == 2 and "a compilation tries no learning rates" in refused.err


def test_without_inputs_the_backbone_writes_questions(
    cuecard: Call, words: list[object], tmp_path: Path
) -> None:
    at = words.index("--inputs")
    bare = [*words[:at], *words[at + 4 :], "--questions", "24", "--into", "4", "--json"]
    plan = cuecard(*bare, "--dry-run").json
    assert plan["written"] and plan["inputs"] == 24
    done = cuecard(*bare)
    assert done.code == 0, done.err
    report = json.loads(done.out.splitlines()[-1])
    counts = report["inputs"]
    split = [counts[name] for name in ("train", "validation", "held_out", "left_out")]
    assert sum(split) == 24
    again = cuecard("compile", "--resume", tmp_path / "run", "--json")
    assert again.json["kept"] == report["kept"]
    refused = cuecard(*bare, "--overwrite", "--labels", "a,b")
    assert refused.code == 2 and "no inputs for this task" in refused.out


def test_mistakes(cuecard: Call, words: list[object], tmp_path: Path) -> None:
    empty, lines = tmp_path / "empty.md", tmp_path / "lines.txt"
    empty.write_text("\n")
    lines.write_text("a film\nanother\n")
    for given, said in (
        (["compile"], "there is no text"),
        (["compile", empty, "--inputs", lines], "expected: some text"),
        (["compile", tmp_path / "none.md", "--inputs", lines], "cannot be read"),
        ([*words, "--into", "0"], "where: --into"),
        ([*words, "--into", "4000"], "not the lengths of prompts"),
        ([*words, "--into", "400"], "the text is shorter than the prompt"),
        ([*words, "--template", "{text} {prompt}"], "differ from input to input"),
        (
            [*words, "--template", "{a}{b}", "--inputs", f"handbook={lines}"],
            "the template has several",
        ),
        ([*words, "--tolerance", "2"], "--tolerance"),
        (["compile", "--resume", tmp_path / "none"], "there is no compilation to resume"),
    ):
        refused = cuecard(*given)
        assert refused.code == 2 and said in refused.err, refused.err
        assert not (tmp_path / "run").exists()
