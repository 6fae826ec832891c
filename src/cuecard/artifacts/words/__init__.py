"""Prompts in words for other tools, and from them: plain text, DSPy's programs, promptfoo's files.

What a search improves is the exact string that a model is sent. Plain text and promptfoo keep it,
with gaps for the record's fields. DSPy makes a string of its own of instructions and
demonstrations, so that its form keeps those, and the model is sent something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cuecard.artifacts.files import MAX_JSON_BYTES, publish_file, read_plain_file
from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.words.dspy_program import read_dspy, write_dspy
from cuecard.artifacts.words.parts import PromptParts
from cuecard.artifacts.words.plain_text import read_text, write_text
from cuecard.artifacts.words.promptfoo_config import read_promptfoo, read_tests, write_promptfoo
from cuecard.errors import ArtifactError, ConfigError
from cuecard.lazy import torch
from cuecard.plain_files import parse_json
from cuecard.plain_files import write_text as write_plain_text
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, InputTokens, Record

WORDS = "words.json"
"""The file of a search's folder that keeps words without a backbone."""

Writer = Callable[[PromptParts, TaskSpec, Sequence[Record]], str]
Reader = Callable[[bytes, str], PromptParts]

WRITERS: Mapping[str, Writer] = MappingProxyType(
    {"text": write_text, "dspy": write_dspy, "promptfoo": write_promptfoo}
)
READERS: Mapping[str, Reader] = MappingProxyType(
    {
        ".txt": read_text,
        ".json": read_dspy,
        ".yaml": read_promptfoo,
        ".yml": read_promptfoo,
    }
)
"""By the file's ending."""


def export_words(
    prompt: Prompt,
    path: str | Path,
    form: str,
    *,
    tests: Sequence[Record] = (),
    overwrite: bool = False,
) -> Path:
    """Write a prompt's words for another tool, in one step.

    Args:
        form: one of `WRITERS`.
        tests: labelled records, which promptfoo gets as tests with assertions.
        overwrite: replace what is there.

    Returns:
        The absolute path written.

    Raises:
        ConfigError: a prompt that is not words alone, or that the form has no place for.
        ArtifactError: the path is taken or cannot be written.
    """
    return export_parts(
        PromptParts.of(prompt), prompt.spec, path, form, tests=tests, overwrite=overwrite
    )


def export_parts(
    parts: PromptParts,
    spec: TaskSpec,
    path: str | Path,
    form: str,
    *,
    tests: Sequence[Record] = (),
    overwrite: bool = False,
) -> Path:
    """The same of words that belong to no backbone.

    Args:
        spec: the task in these words.

    Raises:
        ConfigError, ArtifactError: as `export_words`.
    """
    if tests and form != "promptfoo":
        raise ConfigError(
            "only promptfoo's form has tests",
            where="--tests",
            got=f"--form {form}",
            expected="--form promptfoo",
        )
    place = Path(path).absolute()
    publish_file(place, WRITERS[form](parts, spec, tests).encode(), overwrite=overwrite)
    return place


def write_words(folder: Path, spec: TaskSpec, parts: Mapping[str, Any]) -> None:
    """Keep the words that a search found for an LLM elsewhere, in parts."""
    told = {"task": spec.model_dump(mode="json"), "parts": dict(parts)}
    write_plain_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", folder / WORDS)


def found_words(folder: str | Path) -> tuple[PromptParts, TaskSpec] | None:
    """What `write_words` kept in a search's folder; None where nothing is.

    Raises:
        ArtifactError: a file that was not written so.
    """
    place = Path(folder) / WORDS
    if not place.is_file():
        return None
    told = parse_json(_content(place), str(place))
    try:
        spec = TaskSpec.model_validate(told["task"])
        return PromptParts.read(told["parts"], chat=spec.chat, system=spec.system), spec
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactError(
            "the words of a search cannot be read",
            where=str(place),
            got=f"{type(error).__name__}: {str(error)[:200]}",
            expected="what `cuecard search` wrote",
        ) from error


def read_parts(path: str | Path) -> PromptParts:
    """A prompt that another tool has written: `.txt`, `.json` of DSPy, `.yaml` of promptfoo.

    Raises:
        ArtifactError: no such file, or a much too large one.
        ConfigError: another ending.
        DataError: a file that is not what its ending says.
    """
    place = Path(path)
    if place.suffix not in READERS:
        raise ConfigError(
            "a prompt is not read from a file of this type",
            where=str(place),
            got=place.suffix or "no ending",
            expected=f"a prompt's folder, or a file that ends in {', '.join(READERS)}",
        )
    if not place.is_file():
        raise ArtifactError(
            "there is no such file",
            where=str(place),
            expected=f"a prompt in words: {', '.join(READERS)}",
        )
    return READERS[place.suffix](_content(place), str(place))


def read_promptfoo_tests(path: str | Path) -> list[dict[str, str]]:
    """The tests of a promptfoo file: variables, and what is expected under "target".

    Raises:
        ArtifactError, DataError: as `read_parts`.
    """
    return read_tests(_content(Path(path)), str(path))


def import_words(parts: PromptParts, backbone: Backbone, spec: TaskSpec, source: str) -> Prompt:
    """A prompt of words that another tool has written.

    Args:
        spec: the task; its template is that of one record.
        source: where they came from.

    Raises:
        ConfigError: words that leave no room for a record.
        DataError: demonstrations that lack a field of the template.
    """
    asked = parts.to_spec(spec, backbone)
    return Prompt.create(
        InputTokens(torch.zeros(0, backbone.hidden_size)),
        backbone=backbone,
        spec=asked,
        slot="prefix",
        method="search",
        method_config={"origin": "imported", "parts": parts.to_dict()},
        created_with={"imported_from": source},
    )


def _content(path: Path) -> bytes:
    return read_plain_file(path.parent, path.name, MAX_JSON_BYTES)
