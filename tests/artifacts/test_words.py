"""Prompts in words, out to other tools and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jinja2 import Environment

from cuecard.artifacts import Prompt
from cuecard.artifacts.words import (
    export_words,
    import_words,
    read_parts,
    read_promptfoo_tests,
)
from cuecard.artifacts.words.parts import PromptParts
from cuecard.errors import ConfigError, CuecardError, DataError
from cuecard.types import Record
from support.data.reviews import SPEC, TEXT_SPEC, reviews
from support.tiny import shared_backbone

PARTS = PromptParts(
    SPEC.template,
    "Judge {{ it }}: 100% {fair}, {% as people %} {# do #} {\n\n",
    ({"text": "warm {and} fine", "": "positive"}, {"text": "cold", "": "negative"}),
)


def made(parts: PromptParts = PARTS, spec: Any = SPEC) -> Prompt:
    return import_words(parts, shared_backbone("llama"), spec, "a test")


def test_text_is_what_is_sent(tmp_path: Path) -> None:
    prompt = made()
    text = export_words(prompt, tmp_path / "p.txt", "text").read_text()
    assert text == prompt.spec.template
    parts = read_parts(tmp_path / "p.txt")
    again = made(parts, SPEC.model_copy(update={"template": text}))
    assert again.spec.template == text and again.spec == prompt.spec
    record, tokenizer = Record({"text": "nice"}, None), shared_backbone("llama").tokenizer
    sent = again.spec.render(record, tokenizer)
    assert sent == prompt.spec.render(record, tokenizer)
    assert sent.startswith(PARTS.instruction) and "Review: warm {and} fine\nSentiment: good" in sent


@pytest.mark.parametrize("system", [None, "Be {{ kind }}."])
def test_promptfoo_sends_the_same(system: str | None, tmp_path: Path) -> None:
    prompt = made(replace(PARTS, chat=system is not None, system=system))
    rows = reviews(4)
    path = export_words(prompt, tmp_path / "p.yaml", "promptfoo", tests=rows)
    config = yaml.safe_load(path.read_text())
    assert config["providers"] == ["echo"]
    (told,) = config["prompts"]
    assert set(told) == {"id", "label", "raw"}
    # Variables and raw blocks are written alike in Nunjucks and Jinja.
    filled = Environment(keep_trailing_newline=True, autoescape=False)
    messages = [{"content": told["raw"]}] if system is None else json.loads(told["raw"])
    *ahead, user = [filled.from_string(m["content"]).render(text="nice") for m in messages]
    assert ahead == ([] if system is None else [system])
    assert user == prompt.spec.parsed.render({"text": "nice"})
    parts = read_parts(path)
    assert parts.template == prompt.spec.template
    assert (parts.chat, parts.system) == (system is not None, system)
    tests = read_promptfoo_tests(path)
    assert [each["text"] for each in tests] == [row.texts["text"] for row in rows]
    assert [each["target"] for each in tests] == ["bad", "good", "bad", "good"]
    assert {each["assert"][0]["type"] for each in config["tests"]} == {"icontains"}


def test_dspys_typed_fields_are_read_as_text(tmp_path: Path) -> None:
    # As DSPy 3.4 saves Predict of a signature with `stars: int` and `verdict: bool`.
    demo = {"augmented": True, "text": "x y", "stars": 3, "notes": ["z"], "verdict": True}
    fields = [
        {"prefix": "Text:", "description": "${text}"},
        {"prefix": "Stars:", "description": "how many"},
        {"prefix": "Verdict:", "description": "is it good?"},
    ]
    signature = {"instructions": "Rate it.", "fields": fields}
    state = {"traces": [], "train": [], "demos": [demo], "signature": signature, "lm": None}
    (tmp_path / "p.json").write_text(json.dumps(state))
    parts = read_parts(tmp_path / "p.json")
    (shown,) = parts.demonstrations
    assert shown["stars"] == "3" and shown[""] == "True" and "notes" not in shown
    spec = {"template": "{text}, {stars} stars. Good:", "labels": ("False", "True")}
    prompt = made(parts, SPEC.model_copy(update=spec | {"words": {}, "target_field": "verdict"}))
    ahead = "Rate it.\n\nx y, 3 stars. Good: True\n\n"
    assert prompt.spec.template == ahead + spec["template"]


def test_dspy_keeps_instructions_and_demonstrations(tmp_path: Path) -> None:
    prompt = made()
    path = export_words(prompt, tmp_path / "program.json", "dspy")
    state = json.loads(path.read_text())
    assert set(state) == {"traces", "train", "demos", "signature", "lm", "metadata"}
    assert state["demos"][1] == {"text": "cold", "label": "negative"}
    assert state["signature"]["instructions"] == PARTS.instruction.strip()
    assert state["signature"]["fields"][1] == {"prefix": "Label:", "description": "${label}"}
    parts = read_parts(path)
    assert parts.demonstrations == PARTS.demonstrations
    again = made(parts)
    assert again.spec == prompt.spec
    # A module's program, with a predictor's name and what a model added to demonstrations.
    state["demos"][0] |= {"augmented": True, "reasoning": "It is warm."}
    nested = {"classify": state, "metadata": state.pop("metadata")}
    path.write_text(json.dumps(nested))
    assert made(read_parts(path)).spec == again.spec


def test_texts_are_exported_too(tmp_path: Path) -> None:
    parts = PromptParts(TEXT_SPEC.template, "", ({"text": "a b", "": "a"},))
    prompt = made(parts, TEXT_SPEC)
    row = Record({"text": "c d"}, "c")
    path = export_words(prompt, tmp_path / "p.yaml", "promptfoo", tests=[row])
    assert read_promptfoo_tests(path) == [{"text": "c d", "target": "c"}]
    state = json.loads(export_words(prompt, tmp_path / "p.json", "dspy").read_text())
    usual = "Given the fields `text`, produce the fields `title`."
    assert state["signature"]["instructions"] == usual
    assert state["demos"] == [{"text": "a b", "title": "a"}]


def test_what_stands_ahead_is_an_instruction() -> None:
    ahead = PromptParts("Judge {{it}}.\n\n" + SPEC.template).manual(SPEC)
    assert (ahead.instruction, ahead.template) == ("Judge {it}.\n\n", SPEC.template)
    for template in ("See {text}: " + SPEC.template, "{text}, in short:", SPEC.template):
        manual = PromptParts(template).manual(SPEC)
        assert (manual.instruction, manual.template) == ("", template)
    with pytest.raises(DataError, match="gaps that the task has no fields for"):
        PromptParts("{title}: {text}").manual(SPEC)


def test_what_is_not_words_is_refused(tmp_path: Path) -> None:
    vectors = Prompt.create(
        torch.zeros(2, 32),
        backbone=shared_backbone("llama"),
        spec=SPEC,
        slot="prefix",
        method="prompt-tuning",
        method_config={},
    )
    with pytest.raises(ConfigError, match="not words alone"):
        export_words(vectors, tmp_path / "p.txt", "text")
    with pytest.raises(ConfigError, match="no place for a system message"):
        export_words(made(replace(PARTS, chat=True, system="Hm.")), tmp_path / "p.txt", "text")
    with pytest.raises(ConfigError, match="only promptfoo's form has tests"):
        export_words(made(), tmp_path / "p.txt", "text", tests=reviews(2))
    ended = made(replace(PARTS, instruction="{% endraw %}"))
    with pytest.raises(ConfigError, match="end a raw block"):
        export_words(ended, tmp_path / "p.yaml", "promptfoo")
    assert not list(tmp_path.iterdir())


DEMO: dict[str, Any] = {
    "demos": [{"text": "a", "label": "positive"}],
    "signature": {"instructions": "Judge.", "fields": [{"prefix": "Label:", "description": "?"}]},
}


def imported(path: Path) -> Prompt:
    parts = read_parts(path)
    template = SPEC.template if parts.template is None else parts.template
    return made(parts, SPEC.model_validate({**SPEC.model_dump(), "template": template}))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("p.md", "Hm", "not read from a file of this type"),
        ("p.txt", b"\xff", "not UTF-8"),
        ("p.txt", "no gap", r"names no field\n  where: .*p\.txt"),
        ("p.json", "[]", "p.json"),
        ("p.json", "{}", "saved program of one predictor"),
        ("p.json", json.dumps({"a": DEMO, "b": DEMO}), "got: a, b"),
        ("p.json", json.dumps({**DEMO, "demos": [{"text": "a"}]}), "has no output"),
        ("p.json", json.dumps({**DEMO, "demos": [{"label": "positive"}]}), "lacks a field"),
        (
            "p.json",
            json.dumps({**DEMO, "demos": [{"text": "a", "label": "?"}]}),
            "not in the list",
        ),
        ("p.json", json.dumps({**DEMO, "signature": {}}), "saved program of one predictor"),
        ("p.yaml", "prompts: [", "not YAML"),
        ("p.yaml", "- x", "not a mapping"),
        ("p.yaml", "prompts: [a, b]", "of one prompt"),
        ("p.yaml", "prompts: [file://x.txt]", "in the configuration itself"),
        ("p.yaml", "prompts: ['{{ text | upper }}']", "more than fill in variables"),
        ("p.yaml", "prompts: ['{% if a %}{{ text }}']", "more than fill in variables"),
        ("p.yaml", 'prompts: [\'[{"role": "assistant"}]\']', "not a single question"),
        (
            "p.yaml",
            'prompts: [\'[{"role": "system", "content": "{{a}}"}, {"role": "user"}]\']',
            "system message has variables",
        ),
    ],
)
def test_files_that_cannot_be_read(
    name: str, content: str | bytes, what: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CuecardError, match=what) as caught:
        imported(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("prompts: x", "no tests of its own"),
        ("tests: file://rows.csv", "no tests of its own"),
        ("tests: [{vars: {text: a}}]", "does not say what is expected"),
        ("tests: [{vars: {text: a}, assert: [{type: cost, threshold: 1}]}]", "does not say"),
    ],
)
def test_tests_that_cannot_be_read(content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(CuecardError, match=what):
        read_promptfoo_tests(tmp_path / "p.yaml")
