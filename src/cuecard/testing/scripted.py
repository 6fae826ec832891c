"""Searches with a scripted model, which answers reviews the better the better it is asked."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searcher import Searcher
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from cuecard.testing.rows import review_task
from cuecard.testing.tiny import tiny_backbone
from cuecard.training.storage.log import Observer

WORDS = ("carefully", "review", "film", "decide", "mood", "shout", "whether", "positive")
GOOD = frozenset({"carefully", "film", "mood", "positive"})
"""What makes the scripted model better, each by a tenth."""
START = PromptCandidate(
    ManualPrompt("start", "Review: {text}\nSentiment:", "Shout, decide, review.\n\n"), "start"
)
NO_LIMITS = SearchBudget()
SETTINGS = SearchSettings(
    rows=20, proposals=4, rounds=3, finalists=2, block=10, step_rows=4, population=4
)


def chance(*parts: object) -> float:
    """A number from 0 to 1 that is the same for the same parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def film_llm() -> ScriptedLLM:
    """Answers a review the better, the more good words are in front; writes words when asked."""

    def answer(request: LLMRequest) -> str:
        text = request.messages[-1].content
        if not text.rstrip().endswith("Sentiment:"):
            draw = random.Random(f"{text}{request.sample}")
            return f"<prompt>{' '.join(draw.sample(WORDS, 4))}</prompt>"
        ahead, _, own = text.rpartition("Review:")
        right = "positive" if re.search(r"warm|fine|good|bright", own) else "negative"
        wrong = "negative" if right == "positive" else "positive"
        share = 0.5 + 0.1 * len(GOOD & set(re.findall(r"\w+", ahead.casefold())))
        return right.capitalize() + "." if chance(ahead, own) < share else wrong

    return ScriptedLLM(answer)


def scripted_search(
    searcher: Searcher,
    folder: Path | None = None,
    *,
    key: str = "scripted",
    llm: ScriptedLLM | None = None,
    budget: SearchBudget = NO_LIMITS,
    settings: SearchSettings = SETTINGS,
    rows: int = 100,
    observer: Observer | None = None,
    backbone: Any = None,
) -> Search:
    """A search for the instruction of film reviews, answered and written for by a script.

    Args:
        folder: of its journal; None for none.
        key: of the journal.
        backbone: for searchers that run a model; a tiny one by default.
    """
    task = replace(review_task(rows), test=())
    calls = Calls(Journal(None if folder is None else folder / FILE, key), budget)
    asker = Asker(llm or film_llm(), calls, Price(1.0, 2.0), wait=0.0)
    solver = LLMSolver(asker, task.spec)
    model = SearchModel(tiny_backbone() if backbone is None else backbone, calls)
    return Search(
        task,
        START,
        searcher,
        solver,
        calls,
        settings,
        asker=asker,
        model=model,
        observer=observer,
    )


def run_scripted_search(searcher: Searcher, folder: Path | None = None, **options: Any) -> Found:
    """Run `scripted_search` to its end."""
    return asyncio.run(scripted_search(searcher, folder, **options).run())


def told(found: Found) -> Any:
    """What two searches have in common that went alike."""
    ranked = [(racer.candidate.to_dict(), racer.score) for racer in found.ranked]
    return found.best.to_dict(), ranked, found.rounds, found.ended
