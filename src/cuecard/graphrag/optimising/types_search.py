"""Other names for types of entities, beside what another searcher changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cuecard.graphrag.answers.faults import type_key
from cuecard.graphrag.described import type_words
from cuecard.graphrag.gold import GoldText
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import Searcher, SearchState
from cuecard.search.searchers.writing import replies
from cuecard.types import Record

# Names of each type that an LLM is shown, answers that it gives, and how long a name may be.
_SHOWN, _ASKED, _LONGEST = 6, 2, 60
_TOKENS = 300
_ASK = (
    "Entities of these types are to be found in texts:\n\n{types}\n\nWrite for each type a short "
    "name that says clearly what belongs to it, a line each, such as\ntype: name\nWrite nothing "
    "else."
)


class WithTypeNames:
    """A searcher that also tries other names for the types, in its first round.

    Names in words ("other scientific term"), in capitals, and those that an LLM writes where there
    is one. The best of them go into the best candidate so far, and into all that the other searcher
    finds from then on.

    Args:
        searcher: the other one.
        texts: what is known of texts, by text.
    """

    def __init__(
        self, searcher: Searcher, types: Sequence[str], texts: Mapping[str, GoldText]
    ) -> None:
        self._searcher, self._types, self._texts = searcher, tuple(types), texts
        self._named: list[PromptCandidate] = []

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """See `Searcher.propose`."""
        if state.round == 0:
            self._named = [_with_words(state.start, *each) for each in await self._names(state)]
            return [*self._named, *await self._searcher.propose(state, count)]
        words = self._best_of_named(state).prompt.words
        found = await self._searcher.propose(state, count)
        return [_with_words(each, words, each.origin) for each in (state.best, *found)]

    def _best_of_named(self, state: SearchState) -> PromptCandidate:
        """The best of those that differ from the start by the types' names alone, or the start."""
        keys = {each.key for each in (state.start, *self._named)}
        return next(r.candidate for r in state.ranked if r.candidate.key in keys)

    async def _names(self, state: SearchState) -> list[tuple[dict[str, str], str]]:
        """Names for all types, and how they came to be."""
        plain = {each: type_words(each) for each in self._types}
        large = {each: name.upper() for each, name in plain.items()}
        found = [(plain, "types in words"), (large, "types in capitals")]
        if state.asker is not None:
            told = "\n".join(f"{each}: {self._examples(each, state.train)}" for each in self._types)
            asked = [_ASK.format(types=told)] * _ASKED
            said = await replies(state, asked, temperature=0.7, first_sample=0, tokens=_TOKENS)
            found += [(names_in(x, self._types), "types as the LLM calls them") for x in said]
        own = {each: each for each in self._types}
        return [(names, how) for names, how in found if names != own and _differ(names)]

    def _examples(self, kind: str, records: Sequence[Record]) -> str:
        """Some names of a type."""
        names = (
            entity.name
            for record in records
            for entity in self._texts[record.text("text")].extraction.entities
            if type_key(entity.type) == type_key(kind)
        )
        return ", ".join(list(dict.fromkeys(names))[:_SHOWN])


def _with_words(
    candidate: PromptCandidate, words: Mapping[str, str] | None, origin: str
) -> PromptCandidate:
    return replace(candidate, prompt=replace(candidate.prompt, words=words), origin=origin)


def names_in(text: str, types: Sequence[str]) -> dict[str, str]:
    """The names that an LLM gave, in lines "type: name"; a type's own where it gave none."""
    found = {each: each for each in types}
    known = {type_key(each): each for each in types}
    for line in text.splitlines():
        kind, colon, name = line.strip(" -*\t").partition(":")
        # A comma would part it in two in the list of types.
        name = name.strip().strip("\"'`.*").partition(",")[0].strip()
        if colon and type_key(kind) in known and 0 < len(name) <= _LONGEST and "<" not in name:
            found[known[type_key(kind)]] = name
    return found


def _differ(names: Mapping[str, str]) -> bool:
    """Whether each type has a name of its own."""
    return len({type_key(each) for each in names.values()}) == len(names)
