"""DSPy's saved programs: the state of one predictor, in JSON.

What `dspy.Predict.save("program.json")` writes (https://dspy.ai/diving-deeper/saving-and-loading,
`dump_state` of `Predict` and of `Signature`):

    {"traces": [], "train": [], "demos": [{field: text, ...}], "lm": null,
     "signature": {"instructions": ..., "fields": [{"prefix": ..., "description": ...}, ...]},
     "metadata": {"dependency_versions": {...}}}

A module's program has such a state for each of its predictors, by name, beside "metadata". Fields
have no names there, the output last; `${name}` is the usual description.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cuecard.artifacts.words.parts import TARGET, PromptParts
from cuecard.errors import DataError
from cuecard.plain_files import parse_json
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record

_PLAIN = (str, int, float)
_NAMED = re.compile(r"\$\{(\w+)\}")
_EXPECTED = 'what `program.save("program.json")` of DSPy 2.6 or later writes, of one predictor'


def write_dspy(parts: PromptParts, spec: TaskSpec, tests: Sequence[Record]) -> str:
    """For `dspy.Predict("field, ... -> target")`, which loads it."""
    names = (*spec.field_names, spec.target_field)
    inputs = ", ".join(f"`{name}`" for name in spec.field_names)
    usual = f"Given the fields {inputs}, produce the fields `{spec.target_field}`."
    state: dict[str, Any] = {
        "traces": [],
        "train": [],
        "demos": [
            {spec.target_field if name == TARGET else name: text for name, text in each.items()}
            for each in parts.demonstrations
        ],
        "signature": {
            "instructions": parts.instruction.strip() or usual,
            "fields": [
                {"prefix": f"{_title(name)}:", "description": f"${{{name}}}"} for name in names
            ],
        },
        "lm": None,
        "metadata": {"dependency_versions": {}},
    }
    return json.dumps(state, ensure_ascii=False, indent=2) + "\n"


def read_dspy(content: bytes, where: str) -> PromptParts:
    """A predictor's instructions and demonstrations.

    Raises:
        DataError: no such program, or one of several predictors.
    """
    state = _predictor(parse_json(content, where, DataError), where)
    signature, demos = state.get("signature"), state.get("demos")
    if not isinstance(signature, dict) or not isinstance(demos, list):
        raise _no_program(where, "no signature, or no list of demos")
    instructions, fields = signature.get("instructions"), signature.get("fields")
    if not isinstance(instructions, str) or not isinstance(fields, list) or not fields:
        raise _no_program(where, "a signature without instructions or fields")
    output = _output(fields, where)
    shown = tuple(_demonstration(each, output, where) for each in demos)
    text = f"{instructions.strip()}\n\n" if instructions.strip() else ""
    return PromptParts(None, text, shown)


def _predictor(program: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if "signature" in program:
        return program
    found = {
        name: each
        for name, each in program.items()
        if isinstance(each, dict) and "signature" in each
    }
    if len(found) != 1:
        raise _no_program(where, ", ".join(found) or "no predictor")
    return next(iter(found.values()))


def _output(fields: Sequence[Any], where: str) -> str:
    """The name of the last field."""
    last = fields[-1]
    if not isinstance(last, dict):
        raise _no_program(where, repr(last)[:80])
    named = _NAMED.fullmatch(str(last.get("description", "")))
    prefix = str(last.get("prefix", "")).strip().rstrip(":")
    return named[1] if named else "_".join(prefix.lower().split())


def _demonstration(demo: Any, output: str, where: str) -> dict[str, str]:
    if not isinstance(demo, dict) or output not in demo:
        raise DataError(
            "a demonstration has no output",
            where=where,
            got=repr(demo)[:120],
            expected=f"an object with {output!r}",
        )
    # Typed fields are numbers and truth values; lists and objects have no one way to be written.
    texts = {str(name): str(value) for name, value in demo.items() if isinstance(value, _PLAIN)}
    return {TARGET if name == output else name: text for name, text in texts.items()} | {
        TARGET: str(demo[output])
    }


def _title(name: str) -> str:
    return " ".join(name.split("_")).title()


def _no_program(where: str, got: str) -> DataError:
    return DataError(
        "this is not the saved program of one predictor",
        where=where,
        got=got,
        expected=_EXPECTED,
    )
