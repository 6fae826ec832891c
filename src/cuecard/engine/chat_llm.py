"""A model in this process that answers chats, many at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

import jinja2

from cuecard.engine.protocol import Finished, Generates, Generation, Grammar, Sampling
from cuecard.errors import ConfigError, LLMError
from cuecard.lazy import lazy_module
from cuecard.llms.protocol import LLMAnswer, LLMRequest, TokenUsage
from cuecard.tasks.encoding.tokens import chat_ids
from cuecard.types import Tokenizer

if TYPE_CHECKING:
    from cuecard.engine.json_grammar import GrammarCompiler

# Its library comes with an extra.
json_grammar = lazy_module("cuecard.engine.json_grammar")


class ChatEngine(Generates, Protocol):
    """What such a model needs of an engine."""

    tokenizer: Tokenizer
    max_positions: int


class EngineLLM:
    """An engine's bare backbone, asked in its chat template.

    Args:
        engine: started before it is asked, and closed by who started it.
        name: of the model.
        at_once: requests that share passes.

    Raises:
        ConfigError: a model without a chat template.
    """

    def __init__(self, engine: ChatEngine, name: str, *, at_once: int = 8) -> None:
        if not engine.tokenizer.chat_template:
            raise ConfigError(
                "the model has no chat template, so that it cannot be asked to do something",
                where="an LLM in this process",
                got=name,
                expected="a model that is tuned to follow instructions",
                hint="of the catalogue: qwen2.5-coder-1.5b-instruct",
            )
        self._engine, self.name, self.at_once = engine, name, at_once
        self._grammars: GrammarCompiler | None = None

    def most_prompt_tokens(self, request: LLMRequest) -> int:
        """What it is in tokens.

        Raises:
            LLMError: as `complete`.
        """
        return len(self._ids(request))

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        """The answer, which is cut where the model has no more positions.

        Raises:
            LLMError: the request alone fills them, or the template rejects it.
        """
        ids = self._ids(request)
        room = min(request.max_tokens, self._engine.max_positions - len(ids))
        if room < 1:
            raise self._refused(
                f"{len(ids)} tokens", f"fewer than {self._engine.max_positions}, with the answer"
            )
        seed = request.sample if request.temperature > 0 else None
        sampling = Sampling(
            room,
            temperature=request.temperature,
            seed=seed,
            grammar=None if request.schema is None else await self._grammar(request.schema),
        )
        items = [
            item async for item in self._engine.generate(Generation(None, ids, len(ids), sampling))
        ]
        written = [item.id for item in items if not isinstance(item, Finished)]
        reason = next(item.reason for item in items if isinstance(item, Finished))
        text = str(self._engine.tokenizer.decode(written, skip_special_tokens=True))
        return LLMAnswer(text, TokenUsage(len(ids), len(written)), reason, self.name)

    async def close(self) -> None:
        """The engine is closed by who started it."""

    async def _grammar(self, schema: str) -> Grammar | None:
        """The schema's grammar; None where nothing here can hold an answer to it."""
        try:
            if self._grammars is None:
                self._grammars = json_grammar.GrammarCompiler(self._engine.tokenizer)
            return await self._grammars.compile(json.loads(schema))
        except (ImportError, ConfigError):  # no llguidance, or no tokens to write JSON with
            return None

    def _ids(self, request: LLMRequest) -> tuple[int, ...]:
        try:
            turns = [(message.role, message.content) for message in request.messages]
            return chat_ids(self._engine.tokenizer, turns)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise self._refused(str(error), "messages that its chat template takes") from error

    def _refused(self, got: str, expected: str) -> LLMError:
        return LLMError(
            "the model cannot take the request",
            where=f"model {self.name}",
            got=got,
            expected=expected,
            fatal=True,
            unpaid=True,
        )
