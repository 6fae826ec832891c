"""The words of an instruction as tokens that a search changes, and the rows behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.search.candidate import PromptCandidate, digest
from cuecard.search.model import SearchModel
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import instruction_of, with_instruction
from cuecard.search.words.nearest_tokens import readable_tokens
from cuecard.tasks.encoding.tokens import plain_ids
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, InputTokens, Placement, Record, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]

# What a prompt without an instruction begins from, as in Wallace et al. 2019 (arXiv:1908.07125).
_FILLER = " the"
_DEFAULT_TOKENS = 10


class Trigger:
    """An instruction that is changed token by token, in front of a task's rows.

    Args:
        base: a prompt; its instruction is what a search begins from.
        spec: the task.
        records: that the rows are made of.
        tokens: how many are changed; by default as many as the instruction has.

    Attributes:
        ids: the first trigger's tokens.
        spec: the task in the base's words.
        rows: the records without the trigger, with its place as their slot.
        key: digest of all that a loss depends on besides the trigger.

    Raises:
        ConfigError: an instruction whose tokens do not stand alone in what the model reads.
    """

    def __init__(
        self,
        base: PromptCandidate,
        spec: TaskSpec,
        records: Sequence[Record],
        model: SearchModel,
        tokens: int | None = None,
    ) -> None:
        self._base, self._task, self._records, self.model = base, spec, records, model
        self._tokenizer = model.backbone.tokenizer
        ids = first_ids(instruction_of(base), tokens, self._tokenizer)
        rows = at = None
        while ids and at is None:
            self.spec = self._spec_of(ids)
            rows = [self.spec.encode(record, self._tokenizer) for record in records]
            at = _place_of(ids, [row.context for row in rows])
            # A full stop may be one token with the end of its line.
            ids = ids if at is not None else ids[:-1]
        if rows is None or at is None:
            raise ConfigError(
                "the tokenizer does not read the instruction apart from what is around it",
                where="--instruction",
                got=repr(instruction_of(base)),
                expected="another instruction, or a searcher without gradients",
            )
        self.ids = ids
        self.rows = [_without(row, at, len(ids)) for row in rows]
        told = [[row.context, row.target, row.mask, at] for row in self.rows]
        self.key = digest([self.spec.model_dump(mode="json"), told])
        self._at = at
        self._short = min(range(len(rows)), key=lambda n: len(self.rows[n].context))

    def candidate(self, ids: Sequence[int], origin: str) -> PromptCandidate:
        """The base with these words as its instruction."""
        return with_instruction(self._base, self.text(ids), origin)

    def text(self, ids: Sequence[int]) -> str:
        """What these tokens say."""
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def vectors(self, ids: Sequence[int]) -> InputTokens:
        """[P, H] the embeddings of these tokens."""
        return InputTokens(self.model.backbone.embeddings[list(ids)].float())

    def is_text(self, ids: Sequence[int]) -> bool:
        """Whether the prompt with these tokens' text is read as the same tokens again."""
        if not self.text(ids).strip():
            return False
        row, record = self.rows[self._short], self._records[self._short]
        try:
            found = self._spec_of(ids).encode(record, self._tokenizer).context
        except ConfigError:  # no room left for a record
            return False
        return found == (*row.context[: self._at], *ids, *row.context[self._at :])

    @cached_property
    def allowed(self) -> Tensor:
        """[V] bool, the tokens that may stand in a trigger.

        Those that can be read: of printable ASCII and of characters that the records have.
        """
        size = len(self.model.backbone.embeddings)
        return readable_tokens(self._tokenizer, size, self._records)

    def _spec_of(self, ids: Sequence[int]) -> TaskSpec:
        prompt = self.candidate(ids, "").prompt
        return prompt.to_spec(self._task, self._tokenizer, self.model.backbone.max_positions)


def trigger_of(state: SearchState, base: PromptCandidate) -> Trigger:
    """A prompt's instruction as a trigger, before the rows that may be shown.

    Raises:
        ConfigError: no backbone in this process, or one that takes no vectors in its input.
    """
    model = state.model
    if model is None:
        raise ConfigError(
            "this searcher follows gradients, which only a backbone in this process has",
            where="--searcher",
            got="an LLM elsewhere",
            expected="a searcher without gradients, or a backbone that answers",
        )
    reason = model.backbone.unsupported("input-tokens")
    if reason is not None:
        raise ConfigError(
            "this backbone gives no gradients at its input",
            where=model.backbone.name,
            got=reason,
            expected="a causal or masked language model, or an encoder-decoder",
        )
    return Trigger(base, state.spec, state.train, model, state.settings.trigger_tokens)


def first_ids(text: str, tokens: int | None, tokenizer: Tokenizer) -> Ids:
    """The tokens of an instruction, cut or filled up to a number of them."""
    missing = tokens or (0 if text else _DEFAULT_TOKENS)
    ids = plain_ids(tokenizer, f"{text}{_FILLER * missing}".strip())
    return ids[: tokens or len(ids)]


def _place_of(ids: Ids, contexts: Sequence[Ids]) -> int | None:
    """Where all contexts have these tokens, the same place in each."""
    first = contexts[0]
    for at in range(len(first) - len(ids) + 1):
        end = at + len(ids)
        if first[at:end] == ids:
            same = all(context[:end] == first[:end] for context in contexts)
            return at if same else None
    return None


def _without(row: Encoded, at: int, length: int) -> Encoded:
    """A row without the tokens of a trigger, which goes to their place."""
    mask = row.mask
    if mask is not None and mask >= at:
        mask -= length
    context = (*row.context[:at], *row.context[at + length :])
    return replace(row, context=context, mask=mask, placement=Placement.at(at))
