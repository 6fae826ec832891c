"""What a search tells while it runs, and what its journal tells of each model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuecard.search.budget import SearchBudget
from cuecard.search.journal import FILE, spent_by_model
from support.scripted_search import search


def run(folder: Path, budget: SearchBudget) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    search("opro", folder, budget=budget, observer=seen.append)
    return seen


def test_every_candidate_is_told_once_with_its_words(tmp_path: Path) -> None:
    seen = run(tmp_path, SearchBudget())
    scored = [event for event in seen if event["event"] == "scored"]
    assert scored[0]["text"] == "Shout, decide, review.\n\nReview: {text}\nSentiment:"
    assert len({event["key"] for event in scored}) == len(scored) > 3
    finals = {event["key"] for event in seen if event["event"] == "final"}
    assert finals and finals <= {event["key"] for event in scored}
    calls = [event["calls"] for event in seen if "calls" in event]
    assert calls == sorted(calls) and calls[0] > 0


def test_what_was_spent_is_told_as_it_was_before_a_resume(tmp_path: Path) -> None:
    first = run(tmp_path, SearchBudget(calls=500))
    again = run(tmp_path, SearchBudget(calls=500))
    assert first == again
    rounds = [event["calls"] for event in again if event["event"] == "round"]
    assert len(set(rounds)) == len(rounds) > 1


def test_a_journal_tells_what_each_model_took(tmp_path: Path) -> None:
    seen = run(tmp_path, SearchBudget(calls=500))
    models, seconds = spent_by_model(tmp_path / FILE)
    (own,) = models.values()
    last = [event for event in seen if event["event"] in ("scored", "round")][-1]
    assert own.spent.calls >= last["calls"] and own.answered == own.spent.calls
    assert (own.open, own.failed) == (0, 0) and seconds >= 0
