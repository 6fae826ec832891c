"""What every searcher promises: the same by seed and after kills, within budget, never worse."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from cuecard.llms.protocol import LLMRequest
from cuecard.search.budget import SearchBudget
from cuecard.search.searcher import Searcher
from cuecard.testing.holds import holds, run_checks, same
from cuecard.testing.scripted import (
    START,
    film_llm,
    run_scripted_search,
    scripted_search,
    told,
)

MakeSearcher = Callable[[], Searcher]


def check_searcher(make: MakeSearcher) -> None:
    """Every check of a searcher of instructions, with an LLM that answers by a script.

    Args:
        make: its class.

    Raises:
        AssertionError: what does not hold.
    """
    run_checks(SEARCHER_CHECKS, make)


def check_repeats(make: MakeSearcher) -> None:
    """The same by seed; a second sitting is answered from the journal and asks nothing."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_scripted_search(make(), Path(folder))
        same(told(run_scripted_search(make())), told(found), "a search by the same seed")
        silent = film_llm()
        again = run_scripted_search(make(), Path(folder), llm=silent)
    same(told(again), told(found), "a search that was run again from its journal")
    same(len(silent.requests), 0, "the number of calls of a second sitting")
    same(again.spent, found.spent, "what a second sitting has spent")


def check_candidates(make: MakeSearcher) -> None:
    """It finds candidates, none twice, and what is kept is not worse than the start."""
    found = run_scripted_search(make())
    keys = [racer.candidate.key for racer in found.ranked]
    same(len({*keys}), len(keys), "the number of different candidates")
    holds(len(keys) > 1, "it proposes nothing")
    holds(
        found.validation(found.best) >= found.validation(START),
        "what is kept is worse than the start",
    )


def check_budget(make: MakeSearcher) -> None:
    """No limit of calls is passed."""
    for calls in (160, 250):
        llm = film_llm()
        found = run_scripted_search(make(), llm=llm, budget=SearchBudget(calls=calls))
        holds(
            len(llm.requests) <= found.spent.calls <= calls,
            f"{len(llm.requests)} calls, of which {found.spent.calls} are counted; limit {calls}",
        )


def check_rows(make: MakeSearcher) -> None:
    """No row that candidates are compared on is shown to what answers or writes."""
    llm = film_llm()
    search = scripted_search(make(), llm=llm, rows=200)
    compared = {record.texts["text"] for record in search.compared}
    asyncio.run(search.run())
    same(
        sorted(shown(llm.requests) & compared),
        [],
        "rows that candidates are compared on and that were shown",
    )


def shown(requests: Iterable[LLMRequest]) -> set[str]:
    """Lines that `film_llm` was told beside the review to answer, with and without their names."""
    found: set[str] = set()
    for request in requests:
        text = request.messages[-1].content
        solves = text.rstrip().endswith("Sentiment:")
        lines = (text.rpartition("Review:")[0] if solves else text).splitlines()
        found |= {part for line in lines for part in (line, line.partition(": ")[2])}
    return found


SEARCHER_CHECKS: Mapping[str, Callable[[MakeSearcher], None]] = MappingProxyType(
    {
        "repeats": check_repeats,
        "candidates": check_candidates,
        "budget": check_budget,
        "rows": check_rows,
    }
)
"""Name -> check, for tests that have one case for each."""
