"""Prompts in words for other tools, and from them: plain text, DSPy's programs, promptfoo's files.

What a search improves is the exact string that a model is sent. Plain text and promptfoo keep it,
with gaps for the record's fields. DSPy makes a string of its own of instructions and
demonstrations, so that its form keeps those, and the model is sent something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from cuecard.artifacts.files import MAX_JSON_BYTES, publish_file, read_plain_file
from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.words.dspy_program import read_dspy, write_dspy
from cuecard.artifacts.words.parts import PromptParts
from cuecard.artifacts.words.plain_text import read_text, write_text
from cuecard.artifacts.words.promptfoo_config import read_promptfoo, read_tests, write_promptfoo
from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, InputTokens, Record

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
    if tests and form != "promptfoo":
        raise ConfigError(
            "only promptfoo's form has tests",
            where="--tests",
            got=f"--form {form}",
            expected="--form promptfoo",
        )
    parts = PromptParts.of(prompt)
    place = Path(path).absolute()
    text = WRITERS[form](parts, prompt.spec, tests)
    publish_file(place, text.encode(), overwrite=overwrite)
    return place


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
            "a prompt's words are not read from such a file",
            where=str(place),
            got=place.suffix or "no ending",
            expected=", ".join(READERS),
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
