"""promptfoo's configuration: prompts, tests with variables, and assertions, in YAML.

https://www.promptfoo.dev/docs/configuration/reference: prompts are Nunjucks templates with
`{{variable}}`, or JSON lists of chat messages; a test has `vars` and `assert`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cuecard.artifacts.words.parts import PromptParts
from cuecard.errors import ConfigError, DataError
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.template import MASK, PROMPT, Template, escape
from cuecard.types import Record
from cuecard.yaml_files import DuplicateKeyError, load_yaml

TARGET_NAME = "target"
_HEAD = (
    "# The provider echo answers with the exact string that is sent; put yours in its place, such\n"
    "# as openai:chat:gpt-4o-mini.\n"
)
# Nunjucks' marks: of variables, of statements, of comments.
_MARKS = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")
_RAW = re.compile(r"\{%-?\s*raw\s*-?%\}(.*?)\{%-?\s*endraw\s*-?%\}", re.DOTALL)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_EXPECTING = ("equals", "icontains", "contains")
_FILES = ("file://", "exec:")


def write_promptfoo(parts: PromptParts, spec: TaskSpec, tests: Sequence[Record]) -> str:
    """The exact prompt, and records as tests that assert what is right.

    Raises:
        ConfigError: words that would end a raw block.
    """
    text = _nunjucks(spec.parsed)
    if spec.chat:
        system = [{"role": "system", "content": _quoted(spec.system)}] if spec.system else []
        messages = [*system, {"role": "user", "content": text}]
        text = json.dumps(messages, ensure_ascii=False, indent=2)
    config = {
        "description": f"{spec.kind} by a prompt of cuecard",
        "prompts": [{"id": "cuecard", "label": "cuecard", "raw": text}],
        "providers": ["echo"],
        "tests": [_test(spec, record) for record in tests],
    }
    told = yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=1_000_000)
    return _HEAD + told


def read_promptfoo(content: bytes, where: str) -> PromptParts:
    """The only prompt of a configuration.

    Raises:
        DataError: no such configuration, several prompts, one in a file of its own, or one that
            does more than fill in variables.
    """
    found = _mapping(content, where).get("prompts")
    prompts = [found] if isinstance(found, str) else found
    if not isinstance(prompts, list) or len(prompts) != 1:
        raise DataError(
            "a prompt is read from a configuration of one prompt",
            where=where,
            got=f"{len(prompts)} prompts" if isinstance(prompts, list) else repr(prompts)[:80],
            expected="prompts: with one text",
        )
    (only,) = prompts
    raw = only.get("raw") if isinstance(only, dict) else only
    if not isinstance(raw, str) or raw.startswith(_FILES):
        raise DataError(
            "the prompt does not stand in the configuration itself",
            where=where,
            got=repr(raw or only)[:80],
            expected="its text, or raw: with its text",
        )
    messages = _messages(raw, where)
    if messages is None:
        return PromptParts(_template(raw, where))
    *system, user = messages
    told = Template(f"{_template(system[0], where)}{{x}}").pieces[:-1] if system else ()
    if any(piece.is_field for piece in told):
        raise DataError(
            "the system message has variables, which cuecard fills into the user's alone",
            where=where,
            got=system[0][:80],
            expected="a system message without variables",
        )
    text = "".join(piece.text for piece in told)
    return PromptParts(_template(user, where), chat=True, system=text or None)


def read_tests(content: bytes, where: str) -> list[dict[str, str]]:
    """The variables of every test, and what is expected under "target".

    Raises:
        DataError: tests in another file, or none that says what is expected.
    """
    tests = _mapping(content, where).get("tests")
    if not isinstance(tests, list) or not tests:
        raise DataError(
            "the configuration has no tests of its own",
            where=where,
            got=repr(tests)[:80],
            expected="tests: with a list",
        )
    return [_row(test, f"{where}, test {number}") for number, test in enumerate(tests, 1)]


def _row(test: Any, where: str) -> dict[str, str]:
    values = test.get("vars") if isinstance(test, dict) else None
    asserted = test.get("assert") if isinstance(test, dict) else None
    expected = [
        each["value"]
        for each in (asserted if isinstance(asserted, list) else [])
        if isinstance(each, dict) and each.get("type") in _EXPECTING and "value" in each
    ]
    if not isinstance(values, dict) or not expected:
        raise DataError(
            "a test does not say what is expected",
            where=where,
            got=repr(test)[:120],
            expected=f"vars, and an assertion of type {', '.join(_EXPECTING)}",
        )
    return {**{str(k): str(v) for k, v in values.items()}, TARGET_NAME: str(expected[0])}


def _test(spec: TaskSpec, record: Record) -> dict[str, Any]:
    """A model may say more than a label's word; a text is to be the target."""
    label = spec.label_of(record)
    kind = "icontains" if spec.labels else "equals"
    fields = {name: record.texts[name] for name in spec.field_names}
    return {
        "vars": fields,
        "assert": [{"type": kind, "value": spec.words.get(label, label)}],
    }


def _nunjucks(template: Template) -> str:
    parts = []
    for piece in template.pieces:
        if not piece.is_field:
            parts.append(_quoted(piece.text))
        elif piece.text not in (PROMPT, MASK):
            parts.append(f"{{{{{piece.text}}}}}")
    return "".join(parts)


def _quoted(text: str) -> str:
    """A text that Nunjucks leaves as it is."""
    if not _MARKS.search(text):
        # A brace before a variable's would be read with it.
        return text if not text.endswith("{") else f"{{% raw %}}{text}{{% endraw %}}"
    if re.search(r"\{%-?\s*endraw", text):
        raise ConfigError(
            "the prompt's own words would end a raw block of Nunjucks",
            where="--form promptfoo",
            got="{% endraw %}",
            expected="a prompt without it",
        )
    return f"{{% raw %}}{text}{{% endraw %}}"


def _template(raw: str, where: str) -> str:
    """A Nunjucks template of variables alone as a template of ours."""
    parts, at = [], 0
    for block in _RAW.finditer(raw):
        parts += [_filled(raw[at : block.start()], where), escape(block[1])]
        at = block.end()
    return "".join([*parts, _filled(raw[at:], where)])


def _filled(text: str, where: str) -> str:
    parts, at = [], 0
    for gap in _VARIABLE.finditer(text):
        parts += [_plain(text[at : gap.start()], where), f"{{{gap[1]}}}"]
        at = gap.end()
    return "".join([*parts, _plain(text[at:], where)])


def _plain(text: str, where: str) -> str:
    found = _MARKS.search(text)
    if found is not None:
        raise DataError(
            "the prompt does more than fill in variables",
            where=where,
            got=text[found.start() : found.start() + 60],
            expected="{{variable}} and {% raw %} blocks alone",
        )
    return escape(text)


def _messages(raw: str, where: str) -> list[str] | None:
    """A chat's messages: the system's, if there is one, and the user's; None for plain text."""
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(found, list):
        return None
    roles = [each.get("role") if isinstance(each, dict) else None for each in found]
    if roles not in (["user"], ["system", "user"]):
        raise DataError(
            "the chat is not a single question",
            where=where,
            got=", ".join(map(str, roles)) or "no messages",
            expected="a user's message, and a system's in front of it or none",
        )
    return [str(each.get("content", "")) for each in found]


def _mapping(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = load_yaml(content.decode())
    except (UnicodeDecodeError, yaml.YAMLError, DuplicateKeyError) as error:
        raise DataError(
            "the configuration is not YAML",
            where=where,
            got=" ".join(str(error).split())[:200],
            expected="a configuration of promptfoo",
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            "the configuration is not a mapping",
            where=where,
            got=type(found).__name__,
            expected="a configuration of promptfoo",
        )
    return found
