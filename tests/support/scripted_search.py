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
from cuecard.search.asker import Asker, Observer
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from support.data.reviews import review_task
from support.tiny import shared_backbone

WORDS = ("carefully", "review", "film", "decide", "mood", "shout", "whether", "positive")
# What makes the scripted model better, each by a tenth.
GOOD = {"carefully", "film", "mood", "positive"}
START = PromptCandidate(
    ManualPrompt("start", "Review: {text}\nSentiment:", "Shout, decide, review.\n\n"), "start"
)
NO_LIMITS = SearchBudget()
SETTINGS = SearchSettings(
    rows=20, proposals=4, rounds=3, finalists=2, block=10, step_rows=4, population=4
)


# Those that a scripted model can answer; the others have tests of their own.
AT_HAND = {"llm", "optuna", "gradients", "gepa"}
SCRIPTED = [name for name, one in SEARCHERS.items() if one.missing(AT_HAND) is None]


def chance(*parts: object) -> float:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def world() -> ScriptedLLM:
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


def search(
    name: str,
    folder: Path | None = None,
    llm: ScriptedLLM | None = None,
    budget: SearchBudget = NO_LIMITS,
    settings: SearchSettings = SETTINGS,
    rows: int = 100,
    observer: Observer | None = None,
) -> Found:
    llm = llm or world()
    task = replace(review_task(rows), test=())
    calls = Calls(Journal(None if folder is None else folder / FILE, name), budget)
    asker = Asker(llm, calls, Price(1.0, 2.0), wait=0.0)
    solver = LLMSolver(asker, task.spec)
    model = SearchModel(shared_backbone(), calls)
    options: dict[str, Any] = {"asker": asker, "model": model, "observer": observer}
    made = Search(task, START, SEARCHERS[name].make(), solver, calls, settings, **options)
    return asyncio.run(made.run())


def told(found: Found) -> Any:
    ranked = [(racer.candidate.to_dict(), racer.score) for racer in found.ranked]
    return found.best.to_dict(), ranked, found.rounds, found.ended
