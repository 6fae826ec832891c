"""`cuecard port` as a user types it, on tiny backbones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.artifacts import Prompt
from support.command_line import Call, save_rows, save_tiny
from support.data.reviews import reviews


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backbone that prompts are ported to."""
    return save_tiny(tmp_path_factory.mktemp("others") / "other", seed=1)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    lines = [str(row.fields["text"]) for row in reviews(400, seed=3)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def registry(cuecard: Call, run: Path, tmp_path: Path) -> Path:
    """Two names, one of which is in production."""
    place = tmp_path / "registry"
    for name in ("reviews", "others"):
        assert cuecard("push", run, name, "--registry", place).code == 0
    promoted = cuecard("promote", "reviews@1", "production", "--registry", place)
    assert promoted.code == 0, promoted.err
    return place


@pytest.fixture
def words(registry: Path, backbone: Path, other: Path, texts: Path, tmp_path: Path) -> list[object]:
    return [
        *("port", "reviews@production", "--to", other, "--inputs", texts),
        *("--registry", registry, "--from-backbone", backbone, "--out", tmp_path / "run"),
        *("--steps", "6", "--batch-rows", "4"),
    ]


def test_a_prompt_moves_to_another_backbone(
    cuecard: Call, words: list[object], registry: Path, other: Path, data: Path, tmp_path: Path
) -> None:
    plan = cuecard(*words, "--dry-run", "--json").json
    (planned,) = plan["prompts"]
    assert planned["inputs"] == 400 and planned["learns"] == "label probabilities"
    assert (planned["method"], planned["length"]) == ("prompt-tuning", 4)
    assert not (tmp_path / "run").exists()
    tests = save_rows(
        tmp_path / "tests.csv",
        [{"text": str(r.fields["text"]), "label": str(r.target)} for r in reviews(40, seed=9)],
    )
    loose = ["--tolerance", "1", "--margin", "0.99", "--tests", tests, "--promote", "production"]
    done = cuecard(*words, *loose)
    assert done.code == 0, done.err
    for said in ("agreement", "old score", "pushed  reviews@2, reviews@production points at it"):
        assert said in done.out
    folder = tmp_path / "run" / "prompts" / "reviews"
    prompt = Prompt.load(folder)
    origin = prompt.manifest.ported_from
    assert origin is not None and (origin.name, origin.version) == ("reviews", 1)
    shown = cuecard("show", "reviews@production", "--registry", registry, "--json").json
    assert shown["ported_from"] == origin.model_dump(mode="json")
    assert shown["digest"] == prompt.digest and shown["version"] == "reviews@2"
    log = cuecard("show", "reviews", "--registry", registry, "--json").json["log"]["production"]
    assert [gate["name"] for gate in log[-1]["evidence"]["gates"]] == ["agreement", "score"]
    assert log[-1]["evidence"]["ported_from"]["digest"] == origin.digest
    assert "ported from" in cuecard("inspect", folder, "--no-words").out
    evaluated = cuecard("eval", folder, tests, "--backbone", other, "--json")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (told,) = report["prompts"]
    assert evaluated.json["metrics"]["accuracy"] == told["new_score"]["value"]
    again = cuecard(
        "port", "--resume", tmp_path / "run", "--push", "--registry", registry, "--json"
    )
    assert again.code == 0, again.err
    (line,) = again.out.splitlines()  # nothing was trained again
    assert json.loads(line)["pushed"]["reviews"]["new"] is False
    assert "| reviews |" in (tmp_path / "run" / "report.md").read_text()


def test_what_is_not_shown_to_be_no_worse_is_not_pushed(
    cuecard: Call, words: list[object], registry: Path
) -> None:
    refused = cuecard(*words, "--limit", "40", "--push")
    assert refused.code == 2 and "not shown to be no worse" in refused.err
    assert "rows decide nothing on its agreement" in refused.out.replace("\n", " ")
    assert [v["version"] for v in versions(cuecard, registry)] == ["reviews@1"]


def versions(cuecard: Call, registry: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cuecard("show", "reviews", "--registry", registry, "--json").json[
        "versions"
    ]
    return found


def test_all_prompts_with_an_alias_and_a_folder_go_in_one_pass(
    cuecard: Call, words: list[object], run: Path, data: Path, texts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    Prompt.load(run / "prompt").save(folder)
    at = words.index("reviews@production")
    own = f"mine={data}"
    every = [*words[:at], folder, "--all", "latest", *words[at + 1 :], "--inputs", own]
    plan = cuecard(*every, "--text-field", "review", "--dry-run", "--json").json
    counts = {each["name"]: each["inputs"] for each in plan["prompts"]}
    assert counts == {"mine": 80, "others": 400, "reviews": 400}
    done = cuecard(*every, "--text-field", "review", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    (together,) = (event for event in events if event["event"] == "together")
    assert together["prompts"] == 3
    assert {each["name"] for each in events[-1]["prompts"]} == set(counts)
    alike = {each["ported_from"]["version"] for each in events[-1]["prompts"]}
    assert alike == {None, 1}
    assert sorted(p.name for p in (tmp_path / "run" / "prompts").iterdir()) == sorted(counts)


def test_mistakes(
    cuecard: Call, words: list[object], registry: Path, run: Path, texts: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    bare = words[: words.index("--inputs")]
    for given, said in (
        (["port"], "no prompts and no --to"),
        (["port", "reviews@1"], "no --to"),
        ([*bare, "--registry", registry], "no inputs for reviews"),
        ([*words, "--inputs", texts], "several files for one prompt"),
        ([*words, "reviews@1"], "two prompts have one name"),
        ([*words, "--inputs", f"reviews={empty}"], "the file is empty"),
        ([*words, "--method", "promt-tuning"], "did you mean prompt-tuning"),
        ([*words, "--lr", "auto"], "a port tries no learning rates"),
        ([*words, "--all", "staging"], "no prompt has this alias"),
        ([*words, "--promote", "Pro duction"], "not a valid alias"),
        (["port", "--resume", tmp_path / "none"], "there is no port to resume"),
        (["port", "--resume", tmp_path / "none", "--inputs", texts], "--resume alone"),
        ([*words[:-8], *words[-6:]], "names from a file are not followed"),
    ):
        refused = cuecard(*given)
        assert refused.code == 2 and said in refused.err, refused.err
        assert not (tmp_path / "run").exists()
