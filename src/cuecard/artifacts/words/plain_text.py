"""A prompt as plain text: the exact string that is sent, with `{field}` gaps."""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.artifacts.words.parts import PromptParts
from cuecard.errors import ConfigError, DataError, TemplateError
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.template import Template
from cuecard.types import Record


def write_text(parts: PromptParts, spec: TaskSpec, tests: Sequence[Record]) -> str:
    """All that is sent; braces of its own are doubled, as in templates.

    Raises:
        ConfigError: a system message, which plain text has no place for.
    """
    if spec.system is not None:
        raise ConfigError(
            "plain text has no place for a system message",
            where="--form text",
            got="a system message",
            expected="--form promptfoo",
        )
    return spec.template


def read_text(content: bytes, where: str) -> PromptParts:
    """Such a text as a template.

    Raises:
        DataError: no UTF-8.
        TemplateError: no gap for a field, or one that is no plain name.
    """
    try:
        text = content.decode()
        Template(text)
        return PromptParts(text)
    except TemplateError as error:
        raise error.replaced(where=where) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "the prompt is not UTF-8", where=where, got=str(error), expected="a text in UTF-8"
        ) from error
