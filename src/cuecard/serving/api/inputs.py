"""Turn the texts of requests into token ids, with or without a prompt's template."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from jinja2.exceptions import TemplateError as JinjaError

from cuecard.engine.protocol import Engine
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.serving.protocol.requests import Message
from cuecard.serving.settings import SystemMessages
from cuecard.tasks.encoding.tokens import chat_ids, leading_ids, plain_ids
from cuecard.types import Encoded, Placement, Record, Tokenizer, Value

_LONG = 1 << 14
"""Characters from which encoding is too slow for the event loop."""

Made = TypeVar("Made")
Given = TypeVar("Given", str, bytes | str)
"""What a request has for a field: a text, or a text or a file."""


async def offload(characters: int, work: Callable[[], Made]) -> Made:
    """Run short work here, and long work in a thread."""
    return work() if characters < _LONG else await asyncio.to_thread(work)


def count_characters(texts: Sequence[str], limit: int, param: str) -> int:
    """The total number of characters, if no text is too long.

    Raises:
        APIError: 413.
    """
    longest = max(map(len, texts), default=0)
    if longest > limit:
        raise APIError(
            413,
            "input_too_long",
            f"An input has {longest} characters; the maximum is {limit}.",
            param=param,
        )
    return sum(map(len, texts))


def match_fields(
    served: ServedPrompt, value: Given | None, fields: Mapping[str, Given] | None, param: str
) -> dict[str, Given]:
    """The values of the template's fields, by name or from one value.

    Raises:
        APIError: fields that do not match the template, or one value for several fields.
    """
    required = served.spec.field_names
    optional: dict[str, Given] = dict.fromkeys(served.spec.allow_empty, "")
    if fields is not None:
        fields = {**optional, **fields}
        if set(fields) != set(required):
            raise bad_request(
                f"{served} needs exactly the fields {', '.join(required)}; "
                f"got {', '.join(sorted(fields)) or 'none'}.",
                param,
                "invalid_fields",
            )
        return dict(fields)
    names = [name for name in required if name not in optional]
    if len(names) > 1 or value is None:
        raise bad_request(
            f"{served} has the fields {', '.join(required)}; give them by name.",
            param,
            "invalid_fields",
        )
    return {**optional, names[0]: value}


def encode_record(
    served: ServedPrompt, fields: Mapping[str, Value], tokenizer: Tokenizer
) -> Encoded:
    """A record in its task's template, truncated to the task's maximum length.

    Raises:
        APIError: the input is empty.
    """
    row = served.spec.encode(Record(fields, None), tokenizer, served.prompt.manifest.slot)
    if not (row.context or row.images):
        raise bad_request("The input is empty.", "input", "empty_input")
    return row


def encode_raw(served: ServedPrompt | None, text: str, tokenizer: Tokenizer) -> Encoded:
    """A text as the whole context; special tokens in it are special.

    Raises:
        APIError: an empty context, or a prompt in the middle of its template.
    """
    # Not what the tokenizer puts after texts: one to be continued has no end, and where a backbone
    # needs one, it puts it there itself.
    return _with_slot(served, leading_ids(tokenizer) + plain_ids(tokenizer, text))


def encode_chat(
    served: ServedPrompt | None, messages: Sequence[Message], tokenizer: Tokenizer
) -> Encoded:
    """Messages in the backbone's chat template; special tokens in their texts are escaped.

    Raises:
        APIError: no chat template, or one that rejects the messages.
    """
    if not tokenizer.chat_template:
        raise bad_request(
            "The backbone has no chat template; use /v1/completions.", "model", "unsupported"
        )
    turns = [
        ("system" if message.role == "developer" else message.role, message.text)
        for message in messages
    ]
    try:
        context = chat_ids(tokenizer, turns)
    except (JinjaError, TypeError, ValueError) as error:
        # Messages of the template itself are meant for people; other exceptions are not.
        reason = f": {str(error).rstrip('.')}" if isinstance(error, JinjaError) else ""
        raise bad_request(
            f"The backbone's chat template rejects the messages{reason}.", "messages"
        ) from error
    return _with_slot(served, context)


def user_message(
    served: ServedPrompt, messages: Sequence[Message], system_messages: SystemMessages
) -> str:
    """The user message that fills a task's template.

    Args:
        system_messages: how to treat system and developer messages: "refuse" rejects them, "ignore"
            drops them, "prepend" puts them before the user message, separated by empty lines.

    Raises:
        APIError: other messages than one user message.
    """
    system = [each for each in messages if each.role in ("system", "developer")]
    others = [each for each in messages if each.role not in ("system", "developer")]
    if system and system_messages == "refuse":
        raise bad_request(
            f"{served} has no place for a system message in its template; the server's operator "
            "can have them ignored or prepended (cuecard serve --system-messages).",
            "messages",
            "unsupported",
        )
    if len(others) != 1 or others[0].role != "user":
        raise bad_request(
            f"{served} answers a single user message, which fills its template; set raw to true "
            "to use the backbone's chat template.",
            "messages",
            "unsupported",
        )
    before = system if system_messages == "prepend" else []
    return "\n\n".join(each.text for each in [*before, others[0]] if each.text)


def _with_slot(served: ServedPrompt | None, context: tuple[int, ...]) -> Encoded:
    if not context:
        raise bad_request("The input is empty.", "prompt", "empty_input")
    slot = "prefix" if served is None else served.prompt.manifest.slot
    if slot == "infix":
        raise bad_request(
            f"{served} has its vectors in the middle of its template, which raw leaves out.",
            "raw",
            "unsupported",
        )
    return Encoded(context, (), Placement.at(len(context) if slot == "suffix" else 0))


def check_positions(engine: Engine, served: ServedPrompt | None, row: Encoded, new: int) -> None:
    """Check that a row with its prompt and `new` more tokens fits the backbone.

    Raises:
        APIError: 400.
    """
    vectors = 0 if served is None else served.held.injection.length
    if row.positions + vectors + new > engine.max_positions:
        answer = f", the answer up to {new}" if new else ""
        raise bad_request(
            f"The backbone has {engine.max_positions} positions; the input takes "
            f"{row.positions}, the prompt's vectors {vectors}{answer}.",
            None,
            "context_length_exceeded",
        )
