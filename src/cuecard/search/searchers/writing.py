"""Asking an LLM for instructions, and reading what it writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.tasks import TaskSpec
from cuecard.types import Record

LONGEST = 500
"""Characters of an instruction; a longer one is an essay about the task, or an answer to it."""

_TOKENS = 200
_EXAMPLE = 200
_REWORD = (
    "Rewrite this instruction in other words, so that a model follows it better. Write it between "
    "<prompt> and </prompt>.\n\n{text}"
)
_TAGGED = re.compile(r"<prompt>(.*?)</prompt>", re.DOTALL | re.IGNORECASE)
# How models begin that do not do what they are asked: no instruction begins like that.
_REFUSED = re.compile(
    r"(?:i.?m|i am|we.?re|we are) (?:very |so |really )?sorry\b|sorry[,.!]|"
    r"i (?:can.?t|cannot|am unable|won.?t)\b|i.?m (?:unable|not able)\b|as an ai\b",
    re.IGNORECASE,
)
_AHEAD = re.compile(r"^(?:(?:new |final )?(?:instruction|prompt|output)\s*:\s*)", re.IGNORECASE)


async def written(
    state: SearchState, texts: Sequence[str], *, temperature: float, first_sample: int
) -> list[str]:
    """The instructions that the search's LLM writes when asked; those that are usable.

    Args:
        texts: what it is asked.
        first_sample: tells these requests apart from others of the same words.
    """
    found = await replies(state, texts, temperature=temperature, first_sample=first_sample)
    return [text for text in usable(state, map(instruction_in, found), found) if text]


async def reworded(state: SearchState, count: int, first_sample: int) -> list[str]:
    """The best instruction so far in other words; those that are usable."""
    known = [text for racer in state.ranked if (text := instruction_of(racer.candidate))]
    about = known[0] if known else f"Write what comes after this: {state.spec.template}"
    asked = [_REWORD.format(text=about)] * count
    return await written(state, asked, temperature=0.5, first_sample=first_sample)


async def replies(
    state: SearchState,
    texts: Sequence[str],
    *,
    temperature: float,
    first_sample: int,
    tokens: int = _TOKENS,
) -> list[str]:
    """What the search's LLM writes when asked, as it is.

    Raises:
        BudgetSpent, LLMError: as `Asker.ask`.
    """
    assert state.asker is not None  # a searcher that needs one is given one
    found = await state.asker.ask(
        [
            LLMRequest((LLMMessage("user", text),), tokens, temperature, first_sample + number)
            for number, text in enumerate(texts)
        ]
    )
    return [each.text for each in found]


def usable(state: SearchState, read: Iterable[str], answers: Sequence[str]) -> list[str]:
    """What was read in answers, "" where nothing was; tells it where there is nothing in all."""
    found = list(read)
    if found and not any(found):
        state.tell({"event": "unusable", "answers": len(found), "example": answers[0][:_EXAMPLE]})
    return found


def instruction_in(text: str, *, longest: int = LONGEST, tagged: bool = False) -> str:
    """The instruction in what an LLM wrote; "" where there is none that can be used.

    Args:
        longest: characters that it may have.
        tagged: whether it has to stand between <prompt> and </prompt>.
    """
    marked = _TAGGED.findall(text)
    if tagged and not marked:
        return ""
    found = marked[-1] if marked else text
    found = _AHEAD.sub("", found.strip()).strip().strip("\"'`").strip()
    fits = 0 < len(found) <= longest and "<" not in found
    # An object or a list is an answer in a format that nobody asked for.
    other = found.startswith(("{", "[")) or _REFUSED.match(found)
    return found if fits and not other else ""


def with_instruction(base: PromptCandidate, text: str, origin: str) -> PromptCandidate:
    """The same prompt with another instruction."""
    prompt = replace(base.prompt, instruction=f"{text}\n\n" if text else "", name=origin)
    return PromptCandidate(prompt, origin)


def instruction_of(candidate: PromptCandidate) -> str:
    """A candidate's instruction, without the line that follows it."""
    return candidate.prompt.instruction.strip()


def shown(spec: TaskSpec, records: Sequence[Record]) -> str:
    """Records as pairs of input and output."""
    pairs = (asked_and_right(spec, record) for record in records)
    return "\n\n".join(f"Input: {asked}\nOutput: {right}" for asked, right in pairs)


def asked_and_right(spec: TaskSpec, record: Record) -> tuple[str, str]:
    """A record's input, and the output that is right."""
    label = spec.label_of(record)
    return _input(spec, record), spec.words.get(label, label)


def _input(spec: TaskSpec, record: Record) -> str:
    texts = [record.texts[name] for name in spec.field_names]
    if len(texts) == 1:
        return texts[0]
    return "; ".join(f"{n}: {t}" for n, t in zip(spec.field_names, texts, strict=True))
