"""`cuecard search` as a user types it: a tiny backbone answers, a scripted endpoint writes."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.cli.views.progress import EventLines
from cuecard.llms.protocol import LLMRequest
from support.command_line import Call, Done, save_rows, save_tiny
from support.data.reviews import reviews
from support.http_llm import http_llm
from support.tiny_vision import save_vision

Answers = Callable[[str], str]
TEMPLATE = r"Review: {text}\nSentiment:"


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    return [
        *("search", str(data), "--text-field", "review", "--template", TEMPLATE),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--race-rows", "12", "--proposals", "3", "--finalists", "2", "--rounds", "2"),
    ]


@pytest.fixture
def bare(words: list[str]) -> list[str]:
    """Without a backbone."""
    at = words.index("--backbone")
    return words[:at] + words[at + 2 :]


def solved(text: str) -> str:
    """What a model that knows one good word says to a review; "" to anything else."""
    if not text.rstrip().endswith("Sentiment:"):
        return ""
    right = re.search(r"fine", text.rpartition("Review:")[2])
    return "**Good**." if right else "bad, I would say"


@contextmanager
def endpoint(
    status: int = 200, says: Answers | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible one that writes another instruction each time.

    Args:
        says: what it says first of all; "" where it writes one.
    """

    def answer(request: LLMRequest) -> str | None:
        if status != 200:
            return None
        text = says(request.messages[-1].content) if says is not None else ""
        return text or f"<prompt>Judge number {len(made.asked)}.</prompt>"

    with http_llm(answer, failure=status, usage=(50, 5)) as made:
        yield made.url, made.asked


def test_from_rows_to_words_that_answer(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "found"
    done = cuecard(*words, "--search-budget", "2000 calls", "--out", out)
    assert done.code == 0, done.err
    assert "the prompt as it is:" in done.out and "2 new candidates" in done.out
    assert "on 6 validation rows; so few tell only large differences" in done.out
    assert "searchers: demonstrations, " in done.out and "next: demonstrations" in done.out
    left = re.search(r"opro, capo, .*\(needs an LLM that writes \(--llm\)\)", done.out, re.DOTALL)
    assert left and "Rounds by searcher: demonstrations 1" in (out / "search.md").read_text()
    found = json.loads((out / "search.json").read_text())
    assert found["spent"]["calls"] <= 2000 and found["spent"]["dollars"] == 0
    scores = [final["score"] for final in found["validation"]]
    start = next(f["score"] for f in found["validation"] if f["origin"] == "as it was")
    assert scores == sorted(scores, reverse=True) and max(scores) >= start
    # Of a handful of validation rows no difference is certain, and the report says so.
    assert ("which may be chance" in (out / "search.md").read_text()) == found["better"]
    prompt = Prompt.load(out / "prompt")
    assert prompt.spec.template == found["template"] and not prompt.tensors
    assert found["template"] in (out / "search.md").read_text()
    told = cuecard("predict", out, "good nice", "--json").out
    assert '"answer": "negative"' in told or '"answer": "positive"' in told, told
    assert cuecard("export", out, tmp_path / "p.txt", "--form", "text").code == 0
    assert (tmp_path / "p.txt").read_text() == found["template"]
    cuecard("export", out, tmp_path / "p.json", "--form", "dspy")
    shown = json.loads((tmp_path / "p.json").read_text())["demos"]
    assert shown == [
        {"text": each["text"], "label": each[""]}
        for each in found["validation"][0]["demonstrations"]
    ]
    # Another search has a changed one race, too.
    program = json.loads((tmp_path / "p.json").read_text())
    program["signature"]["instructions"] = "Weigh every word."
    (tmp_path / "p.json").write_text(json.dumps(program))
    more = ("--searcher", "grips", "--start", tmp_path / "p.json", "--out", tmp_path / "on")
    done = cuecard(*words, *more, "--rounds", "1", "--json")
    assert done.code == 0, done.err
    tried = json.loads(done.out.splitlines()[-1])["candidates"]
    assert str(tmp_path / "p.json") in {each["origin"] for each in tried}
    journal = (out / "journal.jsonl").read_bytes()
    again = cuecard("search", "--resume", out)
    assert again.code == 0 and (out / "journal.jsonl").read_bytes() == journal
    found_again = json.loads((out / "search.json").read_text())
    assert {**found_again, "test": 0, "start_test": 0} == {**found, "test": 0, "start_test": 0}


def test_numbers_that_were_found_are_saved(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "found"
    more = ("--searcher", "calibration", "--instruction", "", "--finalists", "3")
    done = cuecard(*words, *more, "--out", out, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert found["better"]
    best = found["validation"][0]
    assert Prompt.load(out / "prompt").manifest.prior == best["prior"]
    rows = cuecard("eval", out, words[1], "--json").json
    assert rows["calibration"] == "saved"
    assert rows["unseen"]["metrics"]["accuracy"] == found["test"]["metrics"]["accuracy"]
    told = cuecard("search", "--resume", out).out
    assert "taken off the labels' scores: negative" in told
    assert "taken off the labels' scores: negative" in (out / "search.md").read_text()


def test_vectors_are_kept_as_trained_ones_are(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "found"
    sizes = ("--searcher", "bbt", "--population", "8", "--step-rows", "8")
    done = cuecard(*words, *sizes, "--search-budget", "5000 calls", "--out", out)
    assert done.code == 0, done.err
    found = json.loads((out / "search.json").read_text())
    vectors = {one["origin"]: "vectors" in one for one in found["validation"]}
    assert vectors.pop("as it was") is False and all(vectors.values())
    prompt = Prompt.load(out / "prompt")
    assert bool(prompt.tensors) is found["better"]
    assert ("vectors in front)" in done.out) is found["better"]
    told = cuecard("predict", out, "good nice", "--json")
    assert told.code == 0 and '"answer"' in told.out


def test_an_llm_writes(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "found"
    with endpoint() as (url, asked):
        done = cuecard(
            *words,
            *("--searcher", "opro", "--llm", "writer", "--llm-url", url, "--json"),
            *("--llm-price", "1,2", "--search-budget", "3000 calls,$1", "--out", out),
        )
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    result = events[-1]
    assert result["event"] == "result" and len(asked) == 6
    assert result["spent"]["dollars"] == pytest.approx(6 * (50 + 10) / 1e6)
    origins = {candidate["origin"] for candidate in result["candidates"]}
    assert origins == {"as it was", "opro, round 1", "opro, round 2"}
    assert all("Judge number" not in body["messages"][0]["content"] for body in asked[:3])
    assert any("Judge number" in body["messages"][0]["content"] for body in asked[3:])


def test_a_model_in_this_process_writes(
    cuecard: Call,
    words: list[str],
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder's model, with room for what it is asked; its calls count, and none is made twice."""
    monkeypatch.chdir(tmp_path)
    writer, out = Path("writer"), tmp_path / "found"
    shutil.copytree(backbone, writer)
    config = json.loads((writer / "config.json").read_text())
    (writer / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    more = ("--searcher", "ape", "--llm", writer, "--search-budget", "2000 calls,$1")
    done = cuecard(*words, *more, "--rounds", "1", "--out", out, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    journal = (out / "journal.jsonl").read_text()
    rows = [json.loads(line) for line in journal.splitlines()]
    written = [row for row in rows if row.get("model") == str(writer)]
    assert len(written) == 3 and all(row["reserved"]["money"] == 0 for row in written)
    assert result["spent"]["dollars"] == 0 and result["spent"]["calls"] <= 2000
    again = cuecard("search", "--resume", out)
    assert again.code == 0 and (out / "journal.jsonl").read_text() == journal
    # Another model of the same name is another search.
    (writer / "model.safetensors").write_bytes(
        (writer / "model.safetensors").read_bytes()[:-4] + b"\x00\x00\x00\x3f"
    )
    other = cuecard("search", "--resume", out)
    assert other.code == 2 and "the journal of another search" in other.err
    monkeypatch.chdir(backbone)
    away = cuecard("search", "--resume", out)
    assert away.code == 2 and f"cd {tmp_path}" in away.err, away.err


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--llm", "qwen2.5-coder-15b-instruct"), "did you mean 'qwen2.5-coder-1.5b-instruct'?"),
        (("--llm", "flan-t5-small"), "does not write"),
        (("--llm", "./nowhere"), "there is no such folder"),
        (("--llm", "gpt-4o"), "there is no key for OpenAI's endpoint"),
        (("--llm", "x", "--llm-url", "nowhere"), "not an endpoint's address"),
        (("--searcher", "oprah"), "there is no such searcher"),
        (("--searcher", "opro"), "needs an LLM that writes"),
        (("--search-budget", "much"), "the search budget cannot be read"),
        (("--search-budget", "9 calls"), "too small to compare prompts"),
        (("--searcher", "grips", "--fluency", "0.5"), "expected: --searcher autoprompt, gcg, pez"),
        (("--searcher", "grips", "--llm", "gpt-4o"), "does not ask an LLM to write"),
        (("--llm", "x", "--llm-url", "http://x", "--llm-price", "-1,2"), "--llm-price"),
        (("--set", "training.steps=3"), "a search trains nothing"),
        (("--start", "none.txt"), "none.txt"),
        (("--set", "compare=false"), "a search trains nothing"),
        (("--head", "trained"), "where a model answers in words"),
        (("--score", "bleu"), "there is no such score"),
        (("--score", "regex:x"), "only generated texts can be scored"),
        (("--search-budget", "$1"), "nothing here costs money"),
        (("--llm-url", "http://x"), "where: --llm\n"),
        (("--llm", "x", "--llm-price", "1"), "where: --llm-price\n"),
        (("--start", __file__), "ends in .txt, .json"),
        (("--held-out-limit", "3"), "too few rows for a search"),
        (
            ("--searcher", "ape", "--llm", "w", "--llm-url", "http://x", "--search-budget", "$1"),
            "needs the model's price",
        ),
    ],
)
def test_mistakes(
    cuecard: Call,
    words: list[str],
    tmp_path: Path,
    more: tuple[str, ...],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = cuecard(*words, *more, "--out", tmp_path / "x")
    assert done.code == 2 and what in done.err, done.err
    assert not (tmp_path / "x").exists()


def test_what_is_refused_leaves_a_finished_search(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "found"
    done = cuecard(*words, "--searcher", "grips", "--rounds", "1", "--out", out)
    assert done.code == 0, done.err
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    refused = cuecard(*words, "--search-budget", "5 calls", "--out", out, "--overwrite")
    assert refused.code == 2 and "too small to compare prompts" in refused.err
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_backbone_for_images(cuecard: Call, bare: list[str], tmp_path: Path) -> None:
    done = cuecard(*bare, "--backbone", save_vision(tmp_path / "vit"), "--out", tmp_path / "x")
    assert done.code == 2 and "this backbone does not read texts" in done.err, done.err
    assert not (tmp_path / "x").exists()


def test_a_score_of_ones_own(
    cuecard: Call, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = tmp_path / "searched_metric.py"
    module.write_text("def vowels(answer, target, record):\n    raise SystemExit(0)\n")
    rows = [{"text": r.texts["text"], "title": r.texts["text"].split()[0]} for r in reviews(60)]
    save_rows(tmp_path / "titles.csv", rows)
    words = [
        *("search", "titles.csv", "--kind", "text-to-text", "--label-field", "title"),
        *("--template", r"Text: {text}\nTitle:"),
        *("--backbone", backbone, "--race-rows", "8", "--proposals", "2", "--rounds", "1"),
        *("--finalists", "1", "--score", "searched_metric:vowels", "--out", "found"),
    ]
    failed = cuecard(*words)
    assert failed.code == 2 and "searched_metric:vowels, titles.csv, row" in failed.err
    answered = Path("found/journal.jsonl").read_bytes()
    del sys.modules["searched_metric"]
    module.write_text(
        "def vowels(answer, target, record):\n"
        "    return sum(x in 'aeiou' for x in answer) / max(1, len(answer))\n"
    )
    importlib.invalidate_caches()
    done = cuecard("search", "--resume", "found", "--json")
    assert done.code == 0 and Path("found/journal.jsonl").read_bytes().startswith(answered)
    found = json.loads(done.out.splitlines()[-1])
    assert found["score"] == "searched_metric:vowels"
    share = found["test"]["metrics"]["searched_metric:vowels"]
    low, high = found["test"]["ci95"]["searched_metric:vowels"]
    assert low <= share <= high
    told = cuecard("eval", "found", "titles.csv", "--score", "searched_metric:vowels", "--json")
    assert told.json["unseen"]["rows"] == found["test"]["rows"]
    assert 0 < told.json["metrics"]["searched_metric:vowels"] < 1
    told = cuecard("eval", "found", "titles.csv", "--score", "vowels")
    assert told.code == 2 and "there is no such score" in told.err


@pytest.fixture
def titles(backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A search for titles that a model judges, and titles that people rated by their words."""
    monkeypatch.chdir(tmp_path)
    texts = [record.texts["text"] for record in reviews(60)]
    rows = [{"text": text, "title": text.split()[0]} for text in texts]
    save_rows(tmp_path / "titles.csv", rows)
    rated = [
        {**row, "answer": "x " * (n % 5), "rating": str(n % 5)} for n, row in enumerate(rows[:12])
    ]
    save_rows(tmp_path / "rated.csv", rated)
    save_rows(tmp_path / "few.csv", rated[:3])
    save_rows(tmp_path / "alike.csv", [{**row, "rating": "3"} for row in rated])
    save_rows(tmp_path / "words.csv", [{**row, "rating": "fine"} for row in rated])
    return [
        *("search", "titles.csv", "--kind", "text-to-text", "--label-field", "title"),
        *("--template", r"Text: {text}\nTitle:", "--backbone", str(backbone)),
        *("--race-rows", "8", "--proposals", "2", "--rounds", "1", "--finalists", "1"),
        *("--score", "judge:Is it long?", "--judge-llm", "writer", "--out", "found"),
    ]


def grade(request: str) -> str:
    answer = request.rpartition("<answer>")[2].split("</answer>")[0]
    return f"Rating: {min(9, len(answer.split()))}"


def test_a_model_judges(cuecard: Call, titles: list[str]) -> None:
    with endpoint(says=grade) as (url, asked):
        more = (
            "--judge-llm-url",
            url,
            "--judge-labels",
            "rated.csv",
            "--judge-budget",
            "400 calls",
        )
        dry = cuecard(*titles, *more, "--dry-run").out
        assert "judge: beside all this, 400 calls at most" in dry and not asked
        done = cuecard(*titles, *more, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out.splitlines()[-1])
        assert found["judge"]["agreement"]["spearman"] == pytest.approx(1.0)
        assert found["judge"]["spent"]["calls"] == len(asked) <= 400
        assert all("Is it long?" in body["messages"][0]["content"] for body in asked)
        assert 0 <= found["test"]["metrics"]["judge:Is it long?"] <= 1
        asked.clear()
        again = cuecard("search", "--resume", "found")
    assert again.code == 0 and not asked, again.err
    assert "agrees with people: Spearman 1.00, 100% of pairs" in again.out
    assert (
        "Spearman 1.00 with people's ratings of 12 answers" in Path("found/search.md").read_text()
    )


@pytest.mark.parametrize(
    ("says", "more", "what"),
    [
        (lambda text: "Rating: 5", ("--judge-labels", "rated.csv"), "does not rate answers as"),
        (lambda text: "Fine!", ("--judge-labels", "rated.csv"), "12 without a rating"),
        (grade, ("--judge-labels", "few.csv"), "too few answers were rated"),
        (grade, ("--judge-labels", "alike.csv"), "people rated all answers alike"),
        (grade, ("--judge-labels", "words.csv"), "a rating is not a number"),
        (grade, ("--judge-labels", "titles.csv"), "answer"),
        (grade, ("--judge-budget", "20 calls"), "the judge's budget is too small"),
        (grade, ("--judge-budget", "some"), "--judge-budget 'some'"),
        (grade, ("--judge-budget", "$1"), "needs the model's price"),
        (grade, ("--score", "rouge_l"), "no judge is asked for by the score"),
    ],
)
def test_judges_that_are_refused(
    cuecard: Call, titles: list[str], says: Answers, more: tuple[str, ...], what: str
) -> None:
    with endpoint(says=says) as (url, _):
        done = cuecard(*titles, "--judge-llm-url", url, *more)
    assert done.code == 2 and what in done.err, done.err
    assert not Path("found/prompt").exists()


def test_a_judge_is_named(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    done = cuecard(*words, "--score", "judge:", "--out", tmp_path / "x")
    assert done.code == 2 and "no LLM was named to judge" in done.err


def test_an_llm_answers(cuecard: Call, bare: list[str], tmp_path: Path) -> None:
    out = tmp_path / "found"
    with endpoint(says=solved) as (url, asked):
        command = [
            *bare,
            *("--searcher", "opro", "--llm", "writer", "--llm-url", url, "--llm-price", "1,2"),
            *("--solver-llm", "reader", "--solver-url", url, "--solver-price", "10,20"),
            *("--search-budget", "400 calls,$1", "--out", out, "--json"),
        ]
        dry = cuecard(*command, "--dry-run").json
        assert not asked and not out.exists()
        done = cuecard(*command)
        assert done.code == 0, done.err
        again = cuecard("search", "--resume", out, "--json")
    result, more = (json.loads(each.out.splitlines()[-1]) for each in (done, again))
    assert more == result and result["spent"]["calls"] == len(asked) <= 400
    by_model = Counter(body["model"] for body in asked)
    assert by_model["writer"] == 6
    # 50 tokens read and 5 written each; the test is in it.
    cost = 60 * by_model["writer"] + 600 * by_model["reader"]
    assert result["spent"]["dollars"] == pytest.approx(cost / 1e6)
    parts = {name: part["calls"] for name, part in dry["parts"].items()}
    tested = 2 * result["test"]["rows"]
    assert parts == {"start": 6 + 12, "round": 3 * 12 + 3, "finals": 2 * 6, "test": tested}
    assert dry["rounds"] == {"most": 2, "paid": 2} and dry["parts"]["test"]["counted"]
    assert all(0 < result["spent"][unit] <= most for unit, most in dry["at_most"].items())
    assert result["solver"] == {"model": "reader", "url": url}
    assert 0.5 < result["test"]["metrics"]["accuracy"] < 1 and result["start_test"]["rows"] > 0
    kept = (out / "prompt.txt").read_text()
    assert kept == result["template"] and kept.endswith("Review: {text}\nSentiment:")
    assert kept in (out / "search.md").read_text() and not (out / "prompt").exists()
    exported = cuecard("export", out, tmp_path / "p.txt", "--form", "text")
    assert exported.code == 0 and (tmp_path / "p.txt").read_text() == kept, exported.err
    assert cuecard("export", out, tmp_path / "p.json", "--form", "dspy").code == 0
    state = json.loads((tmp_path / "p.json").read_text())
    assert state["signature"]["instructions"] == kept.partition("\n\n")[0]
    (out / "words.json").write_text("{}")
    broken = cuecard("export", out, tmp_path / "p.yaml", "--form", "promptfoo")
    assert broken.code == 2 and "the words of a search cannot be read" in broken.err
    for command in (("predict", out, "good"), ("eval", out, "x.csv"), ("inspect", out)):
        refused = cuecard(*command)
        assert refused.code == 2 and "was found for an LLM" in refused.err, refused.err
        assert f"reader at {url}" in refused.err and "prompt.txt" in refused.err


def test_what_a_search_will_take(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    done = cuecard(*words, "--search-budget", "200 calls,10m", "--dry-run", "--out", tmp_path / "x")
    assert done.code == 0 and not (tmp_path / "x").exists(), done.err
    for told in (
        *("the prompt as it is on 6 validation rows and 12 training rows", "not counted"),
        *("2 finalists on 6 validation rows", "3 candidates on 12 training rows", "in all"),
        "rows that the searcher runs the model on",
        *("rounds: 2 at most; the budget pays for at least 1, for more where", "10.0 minutes"),
    ):
        assert told in done.out, done.out
    small = cuecard(*words, "--search-budget", "20 calls", "--dry-run")
    assert small.code == 2 and "too small to compare prompts" in small.err
    assert "got: 20 calls" in small.err and "more than 30 calls:" in small.err
    # Enough for the start and the finals, and for no candidate.
    more = ("--searcher", "grips", "--search-budget", "31 calls", "--out", tmp_path / "y")
    done = cuecard(*words, *more)
    assert done.code == 0 and "No candidate was compared. The prompt as it was:" in done.out
    assert "0 candidates in 0 rounds: 18 calls" in done.out, done.out
    # Enough for one candidate of a round: its answers count.
    done = cuecard(*words, *more[:2], "--search-budget", "43 calls", "--out", tmp_path / "z")
    assert done.code == 0 and "1 candidate in 0 rounds:" in done.out, done.out
    assert "what is left of the budget of calls is too little to go on" in done.out, done.out


@pytest.mark.parametrize(
    ("more", "whats"),
    [
        (("--solver-llm", "gpt-4o"), ("no key for OpenAI's endpoint", "--solver-url http://")),
        (("--solver-llm", "x", "--solver-url", "no"), ("not an endpoint's", "--solver-url")),
        (
            ("--solver-llm", "x", "--solver-url", "http://x", "--search-budget", "$1"),
            ("needs the model's price", "--solver-price"),
        ),
        (
            ("--solver-llm", "x", "--solver-url", "http://x", "--backbone", "y"),
            ("no backbone does", "--backbone"),
        ),
        (
            ("--solver-llm", "x", "--solver-url", "http://x", "--searcher", "calibration"),
            ("needs a backbone in this process",),
        ),
        (
            ("--solver-llm", "x", "--solver-url", "http://127.0.0.1:9/v1"),
            ("cannot be reached", "http://127.0.0.1:9/v1"),
        ),
    ],
)
def test_mistakes_with_an_llm_that_answers(
    cuecard: Call,
    bare: list[str],
    tmp_path: Path,
    more: tuple[str, ...],
    whats: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = cuecard(*bare, *more, "--out", tmp_path / "x")
    assert done.code == 2 and all(what in done.err for what in whats), done.err


def test_a_model_that_names_no_label(cuecard: Call, bare: list[str], tmp_path: Path) -> None:
    with endpoint(says=lambda text: "I cannot help with that.") as (url, asked):
        more = ("--solver-llm", "reader", "--solver-url", url, "--out", tmp_path / "x")
        done = cuecard(*bare, *more)
    assert done.code == 2 and "none of the LLM's answers names a label" in done.err
    assert "I cannot help" in done.err and "good" in done.err and "--instruction" in done.err
    assert len(asked) == 6  # the validation rows, and nothing after


def test_ctrl_c_says_how_to_go_on(
    cuecard: Call, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cuecard(*words, "--search-budget", "2000 calls", "--out", tmp_path / "whole", "--json")
    shown = EventLines.__call__

    def stopping(self: EventLines, event: dict[str, Any]) -> None:
        if event["event"] == "round":
            raise KeyboardInterrupt
        shown(self, event)

    out = tmp_path / "x"
    with monkeypatch.context() as patch:
        patch.setattr(EventLines, "__call__", stopping)
        done = cuecard(*words, "--search-budget", "2000 calls", "--out", out)
    assert done.code == 130 and f"cuecard search --resume {out}" in done.err, done.err
    assert not (out / "prompt").exists()
    again = cuecard("search", "--resume", out, "--json")
    ended, wanted = (json.loads(each.out.splitlines()[-1]) for each in (again, whole))
    assert ended["template"] == wanted["template"] and ended["spent"] == wanted["spent"]


def test_an_endpoint_that_refuses(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    with endpoint(401) as (url, asked):
        more = ("--searcher", "ape", "--llm", "writer", "--llm-url", url)
        done = cuecard(*words, *more, "--out", tmp_path / "x")
    assert done.code == 2 and "does not accept the API key" in done.err and len(asked) <= 3
    with endpoint() as (url, asked):  # what was answered is kept
        done = cuecard("search", "--resume", tmp_path / "x")
    assert done.code == 2 and "cannot be reached" in done.err
    assert f"cuecard search --resume {tmp_path / 'x'}" in done.err


def test_gradients_find_words(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    own = ("--searcher", "gcg", "--trigger-tokens", "4", "--step-rows", "4")
    done = cuecard(*words, *own, "--population", "4", "--json", "--out", tmp_path / "x")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    assert any(each["origin"].startswith("gcg, round 1") for each in result["candidates"])


def test_from_words_to_vectors_and_back(
    cuecard: Call, words: list[str], data: Path, tmp_path: Path
) -> None:
    found, trained = tmp_path / "found", tmp_path / "trained"
    instruction = ("--instruction", "it is good or bad .")
    done = cuecard(*words, *instruction, "--searcher", "grips", "--out", found)
    assert done.code == 0, done.err
    own = words[2 : words.index("--race-rows")]
    options = ("--no-compare", "--no-calibrate", "--steps", "1", "--lr", "1e-6")
    done = cuecard("train", data, *own, *options, "--init-prompt", found, "--out", trained)
    assert done.code == 0, done.err
    # Vectors that have hardly moved do what the words do that they start from.
    texts = [f"{word} {number}" for number, word in enumerate(("good", "bad", "nice", "poor"))]
    scores = []
    for folder in (found, trained):
        done = cuecard("predict", folder, *texts, "--json")
        (told,) = map(json.loads, done.out.splitlines())
        scores.append([row["probabilities"]["positive"] for row in told["predictions"]])
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    more = ("--searcher", "grips", "--start", trained, "--rounds", "1", "--json")
    done = cuecard(*words, *more, "--out", tmp_path / "again")
    assert done.code == 0, done.err
    origins = [each["origin"] for each in json.loads(done.out.splitlines()[-1])["candidates"]]
    assert f"nearest to {trained} by cosine" in origins


def test_a_start_without_words(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x")
    done = cuecard(*words, "--start", tmp_path / "nothing", *out)
    assert done.code == 2 and "nothing" in done.err


def untimed(done: Done) -> dict[str, Any]:
    """The result without the tests, which are timed."""
    return {**json.loads(done.out.splitlines()[-1]), "test": 0, "start_test": 0}


def test_another_model_writes(
    cuecard: Call, words: list[str], backbone: Path, tmp_path: Path
) -> None:
    other, out = save_tiny(tmp_path / "other", seed=1, kind="gpt2"), tmp_path / "found"
    small = ("--population", "4", "--step-rows", "4", "--written-tokens", "3", "--rounds", "1")
    own = ("--searcher", "rlprompt", *small, "--json")
    done = cuecard(*words, *own, "--policy", other, "--out", out)
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    again = cuecard("search", "--resume", out, "--json")
    assert untimed(again) == untimed(done)
    # Its words are not those that the backbone writes, of itself or by name.
    itself = cuecard(*words, *own, "--out", tmp_path / "itself")
    named = cuecard(*words, *own, "--policy", backbone, "--out", tmp_path / "named")
    told = [json.loads(each.out.splitlines()[-1])["validation"] for each in (itself, named)]
    assert told[0] == told[1] != result["validation"]
    refused = cuecard(*words, "--policy", other, "--out", tmp_path / "x")
    assert refused.code == 2 and "no policy writes in this search" in refused.err
    masked = save_tiny(tmp_path / "masked", kind="roberta")
    refused = cuecard(*words, *own, "--policy", masked, "--out", tmp_path / "x")
    assert refused.code == 2 and "is a causal language model" in refused.json["what"]
    assert refused.json["where"] == f"--policy {masked}" and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("kind", "template"),
    [("roberta", r"Review: {text}\nSentiment: {mask}."), ("t5-gated", TEMPLATE)],
)
def test_models_of_other_families(
    cuecard: Call, bare: list[str], kind: str, template: str, tmp_path: Path
) -> None:
    out, model = tmp_path / "found", save_tiny(tmp_path / kind, kind=kind)
    own = ("--backbone", model, "--template", template, "--rounds", "3", "--json", "--out", out)
    done = cuecard(*bare, *own, "--search-budget", "2000 calls")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    scores = {each["origin"]: each["score"] for each in result["validation"]}
    assert len(result["candidates"]) > 3 and max(scores.values()) >= scores["as it was"]
    turns = [each["searcher"] for each in result["told"] if each["event"] == "turn"]
    out_of = {n for e in result["told"] if e["event"] == "left out" for n in e["searchers"]}
    assert len(set(turns)) == 3 and ("label-words" in out_of) == (kind == "roberta")
    assert ("{mask}" in result["template"]) == (kind == "roberta")
    tested = cuecard("predict", out, "good nice", "--json").json
    assert tested["predictions"][0]["answer"] in ("negative", "positive")
    journal = (out / "journal.jsonl").read_bytes()
    again = cuecard("search", "--resume", out, "--json")
    assert untimed(again) == untimed(done)
    assert (out / "journal.jsonl").read_bytes() == journal
