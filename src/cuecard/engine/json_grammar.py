"""Structured outputs: JSON schemas compiled to token grammars by llguidance.

The grammar masks the next token at every step, so the output always matches its schema. vLLM gets
the same schema with its `guidance` backend, which is llguidance too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from cuecard.errors import ConfigError
from cuecard.types import Tokenizer

SCHEMA_PARAM = "response_format.json_schema"
MAX_CHARACTERS = 1 << 16
MAX_DEPTH = 64
_KEPT = 64
"""Compiled grammars in the LRU cache."""

# As `json.dumps` writes: if whitespace were free, a small model might generate nothing else.
_LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
# Fuel bounds the time to compile and follow a grammar; states bound its memory (1 to 2 kB each).
_LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
_JSON_CHARACTERS = '{}[]":,\\0123456789-+.eEtrufalsn /_'


class GrammarError(ConfigError):
    """A schema that cannot be enforced.

    Attributes:
        code: what a client of a server is told.
    """

    code = "invalid_json_schema"


class NoGrammarError(GrammarError):
    """A tokenizer that cannot write JSON."""

    code = "unsupported"


@dataclass(frozen=True, slots=True, eq=False)
class JsonGrammar:
    """A schema compiled for one tokenizer.

    Attributes:
        schema: the JSON schema with the output's layout, as JSON.
        matcher: in its initial state; copied for each answer.
    """

    schema: str
    matcher: LLMatcher

    def guide(self) -> JsonGuide:
        """A new guide for one answer."""
        return JsonGuide(self.matcher.deep_copy())


class JsonGuide:
    """The tokens that may come next in one answer."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def accepting(self) -> bool:
        """Whether the answer may end here."""
        return self._matcher.is_accepting()

    @property
    def finished(self) -> bool:
        """Whether the answer must end here."""
        return self._matcher.is_stopped() and self._matcher.is_accepting()

    def allowed(self, vocabulary: int) -> Tensor:
        """[V] bool on the CPU: the tokens that may come next.

        Raises:
            ConfigError: the grammar is too complex to follow.
        """
        mask = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        self._check()
        bits = (mask[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        found = torch.zeros(vocabulary, dtype=torch.bool)
        known = bits.flatten()[:vocabulary].bool()
        found[: len(known)] = known
        return found

    def accept(self, token: int) -> None:
        """Advance by a token.

        Raises:
            ConfigError: the grammar is too complex to follow.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConfigError(
                "the schema is too complex to follow, or its recursion never ends",
                where=SCHEMA_PARAM,
                got=_reason(self._matcher.get_error()),
                expected="fewer alternatives, smaller bounds, simpler patterns or finite recursion",
            )


class GrammarCompiler:
    """Compiles grammars for one tokenizer, and caches them.

    One grammar is compiled at a time, in a thread: it may take a tenth of a second.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words: LLTokenizer | None = None
        self._kept: OrderedDict[str, JsonGrammar] = OrderedDict()
        self._busy = asyncio.Lock()
        self.compiled = 0

    async def compile(self, schema: Mapping[str, Any]) -> JsonGrammar:
        """The grammar of a schema.

        Raises:
            GrammarError: the schema is too large or cannot be enforced, or the tokenizer cannot
                write JSON.
        """
        text = _checked(schema)
        if text not in self._kept:
            async with self._busy:
                if text not in self._kept:
                    self._kept[text] = await asyncio.to_thread(self._compile, text)
        self._kept.move_to_end(text)
        found = self._kept[text]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def _compile(self, text: str) -> JsonGrammar:
        if self._words is None:
            self._words = _words(self._tokenizer)
        try:
            grammar = LLMatcher.grammar_from_json_schema(text)
        except ValueError as error:
            raise _invalid(str(error)) from error
        matcher = LLMatcher(self._words, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _invalid(matcher.get_error())
        self.compiled += 1
        return JsonGrammar(text, matcher)


def _checked(schema: Mapping[str, Any]) -> str:
    """The schema as JSON, with the output's layout.

    Raises:
        GrammarError: too large, too deep, or with an unpaired surrogate.
    """
    if _depth(schema) > MAX_DEPTH:
        raise _invalid(f"it is nested more than {MAX_DEPTH} levels deep")
    text = json.dumps({**schema, "x-guidance": _LAYOUT}, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        raise _invalid(f"it has {len(text)} characters; the maximum is {MAX_CHARACTERS}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid("it contains an unpaired surrogate") from error
    return text


def _depth(value: Any) -> int:
    """The nesting depth, counted up to one more than the maximum."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        level = [
            inner
            for each in level
            if isinstance(each, Mapping | list)
            for inner in (each.values() if isinstance(each, Mapping) else each)
        ]
        depth += 1
    return depth


def _words(tokenizer: Tokenizer) -> LLTokenizer:
    """The tokenizer for llguidance.

    Raises:
        GrammarError: it cannot write JSON.
    """
    try:
        found = from_tokenizer(tokenizer)
    except ValueError as error:
        raise _no_json() from error
    # Greedy tokenization falls back to single-byte tokens, if there are any.
    decoded = found.decode_bytes(found.greedy_tokenize(_JSON_CHARACTERS))
    if decoded != _JSON_CHARACTERS.encode():
        raise _no_json()
    return found


def _no_json() -> NoGrammarError:
    return NoGrammarError(
        "this backbone's tokenizer cannot be constrained to JSON",
        where="response_format",
        got="no tokens for single characters such as { and \\",
        expected="no response_format",
    )


def _invalid(said: str) -> GrammarError:
    return GrammarError("the schema cannot be enforced", where=SCHEMA_PARAM, got=_reason(said))


# llguidance's messages -> what a client can act on.
_REASONS = (
    (r"Unimplemented keys: (\[.*\])", r"these keywords are not supported: \1"),
    (r"oneOf constraints are not supported.*", "oneOf with overlapping alternatives; use anyOf"),
    (r"Resource '(.*)' is not present.*", r"$ref to '\1', which is outside the schema"),
    (r"Pointer '(.*)' does not exist", r"$ref to '#\1', which does not exist"),
)


def _reason(said: str) -> str:
    """An llguidance error in one line."""
    line = " ".join(said.split())[:300].rstrip(".")
    for pattern, message in _REASONS:
        if re.match(pattern, line):
            return re.sub(pattern, message, line)
    return line or "no reason given"
