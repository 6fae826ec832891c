"""Texts of requests -> token ids, in the prompt's template or without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jinja2.exceptions import TemplateError as JinjaError

from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.serving.protocol.requests import Message
from cuecard.serving.settings import SystemMessages
from cuecard.tasks.encoding.tokens import defuse, plain_ids, special_texts
from cuecard.types import Encoded, Placement, Record, Tokenizer

_LONG = 1 << 14
"""Characters that take so long to encode that others should not wait for it."""

Value = TypeVar("Value")


async def off_the_loop(characters: int, work: Callable[[], Value]) -> Value:
    """Do the work here if it is short, and in a thread if it is long."""
    return work() if characters < _LONG else await asyncio.to_thread(work)


def check_size(texts: Sequence[str], most: int, param: str) -> int:
    """The characters of the texts, of which none is too long.

    Raises:
        APIError: 413 for one that is.
    """
    longest = max(map(len, texts), default=0)
    if longest > most:
        raise APIError(
            413,
            "input_too_long",
            f"An input has {longest} characters; at most {most} are taken.",
            param=param,
        )
    return sum(map(len, texts))


def fields_of(
    served: ServedPrompt, text: str | None, fields: Mapping[str, str] | None, param: str
) -> dict[str, str]:
    """The template's fields: those that were given, or its only one from a text.

    Raises:
        APIError: other fields than the template has, or one text for several of them.
    """
    needed = served.spec.field_names
    optional = dict.fromkeys(served.spec.allow_empty, "")
    if fields is not None:
        fields = {**optional, **fields}
        if set(fields) != set(needed):
            raise bad_request(
                f"{served} needs exactly the fields {', '.join(needed)}; "
                f"got {', '.join(sorted(fields)) or 'none'}.",
                param,
                "invalid_fields",
            )
        return dict(fields)
    asked = [name for name in needed if name not in optional]
    if len(asked) > 1 or text is None:
        raise bad_request(
            f"{served} has the fields {', '.join(needed)}; give them by name.",
            param,
            "invalid_fields",
        )
    return {**optional, asked[0]: text}


def task_row(served: ServedPrompt, fields: Mapping[str, str], tokenizer: Tokenizer) -> Encoded:
    """A record in its task's template, cut to the task's length.

    Raises:
        APIError: nothing is left to read.
    """
    row = served.spec.encode(Record(fields, None), tokenizer, served.prompt.manifest.slot)
    if not row.context:
        raise bad_request("The input is empty.", "input", "empty_input")
    return row


def raw_row(served: ServedPrompt | None, text: str, tokenizer: Tokenizer) -> Encoded:
    """A text as the whole context: what it says is read as the tokenizer reads it.

    Raises:
        APIError: an empty context, or a prompt that stands in the midst of its template.
    """
    context = tuple(int(token) for token in tokenizer(text, verbose=False)["input_ids"])
    return _placed(served, context)


def chat_row(
    served: ServedPrompt | None, messages: Sequence[Message], tokenizer: Tokenizer
) -> Encoded:
    """Messages in the backbone's chat template. None can pass for a turn that it is not.

    Raises:
        APIError: no chat template, or one that refuses the messages.
    """
    if not tokenizer.chat_template:
        raise bad_request(
            "The backbone has no chat template; use /v1/completions.", "model", "unsupported"
        )
    specials = special_texts(tokenizer)
    turns = [
        {
            "role": "system" if message.role == "developer" else message.role,
            "content": defuse(message.text, specials),
        }
        for message in messages
    ]
    try:
        text: Any = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except (JinjaError, TypeError, ValueError) as error:
        # What a template itself says is meant for people; what fails in it is not.
        says = f": {str(error).rstrip('.')}" if isinstance(error, JinjaError) else ""
        raise bad_request(
            f"The backbone's chat template refuses the messages{says}.", "messages"
        ) from error
    return _placed(served, plain_ids(tokenizer, str(text)))


def only_message(
    served: ServedPrompt, messages: Sequence[Message], system_messages: SystemMessages
) -> str:
    """The one user's message that fills a task's template.

    Args:
        system_messages: what becomes of system and developer messages, for which the template has
            no place either: "refuse" refuses them, "ignore" leaves them out, "prepend" puts them
            before the user's message, each with an empty line after it.

    Raises:
        APIError: any other messages.
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
            f"{served} answers one message of the user, which fills its template; for other "
            "messages in the backbone's own chat template set raw to true.",
            "messages",
            "unsupported",
        )
    before = system if system_messages == "prepend" else []
    return "\n\n".join(each.text for each in [*before, others[0]] if each.text)


def _placed(served: ServedPrompt | None, context: tuple[int, ...]) -> Encoded:
    if not context:
        raise bad_request("The input is empty.", "prompt", "empty_input")
    slot = "prefix" if served is None else served.prompt.manifest.slot
    if slot == "infix":
        raise bad_request(
            f"{served} stands in the midst of its template, which raw leaves out.",
            "raw",
            "unsupported",
        )
    return Encoded(context, (), Placement.at(len(context) if slot == "suffix" else 0))
