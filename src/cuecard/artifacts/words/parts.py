"""A prompt's words in parts: instruction, demonstrations, and the template of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cuecard.artifacts.prompt import Prompt
from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.template import Template
from cuecard.types import Backbone, Record

TARGET = ""
"""The target's name among a demonstration's fields; no field is called so."""


@dataclass(frozen=True)
class PromptParts:
    """A prompt in words.

    Attributes:
        template: of a record, with `{field}` gaps; None where the tool knows no templates.
        instruction: what comes once before everything, as plain text.
        demonstrations: solved records: field -> text, and `TARGET` -> what is right.
        chat: whether all of it is a user's message.
        system: the chat's system message.
    """

    template: str | None
    instruction: str = ""
    demonstrations: tuple[Mapping[str, str], ...] = ()
    chat: bool = False
    system: str | None = None

    @classmethod
    def of(cls, prompt: Prompt) -> PromptParts:
        """A saved prompt's; all of it is the template where it was not kept in parts.

        Raises:
            ConfigError: vectors, a head, or a prompt for images or masks.
        """
        spec, manifest = prompt.spec, prompt.manifest
        if prompt.injection().length or prompt.head() is not None or spec.parsed.has_mask:
            raise ConfigError(
                "this prompt is not words alone",
                where=prompt.source or "the prompt",
                got=f"{manifest.method} for kind {spec.kind}",
                expected="a prompt that `cuecard search` found, without vectors, head and {mask}",
                hint="--form peft, npy and safetensors keep vectors",
            )
        kept = manifest.method_config.get("parts")
        parts = kept if isinstance(kept, dict) else {"template": spec.template}
        return cls.read(parts, chat=spec.chat, system=spec.system)

    @classmethod
    def read(cls, parts: Mapping[str, Any], **more: Any) -> PromptParts:
        """From what `to_dict` made."""
        shown = tuple(
            {str(name): str(text) for name, text in each.items()}
            for each in parts.get("demonstrations", ())
        )
        return cls(str(parts["template"]), str(parts.get("instruction", "")), shown, **more)

    def to_dict(self) -> dict[str, Any]:
        """As a saved prompt keeps them."""
        return {
            "template": self.template,
            "instruction": self.instruction,
            "demonstrations": [dict(each) for each in self.demonstrations],
        }

    def to_spec(self, spec: TaskSpec, backbone: Backbone) -> TaskSpec:
        """A task asked in these words.

        Raises:
            ConfigError: they leave no room for a record.
            DataError: as `manual`.
        """
        # What the words take is room beside that of a record.
        fields = "".join(f"{{{name}}}" for name in spec.field_names)
        bare = spec.model_copy(update={"template": fields, "chat": False, "system": None})
        return self.manual(spec).to_spec(bare, backbone.tokenizer, backbone.max_positions)

    def manual(self, spec: TaskSpec) -> ManualPrompt:
        """The same as a hand-written prompt for a task.

        Where its template ends with the task's, what stands before that is its instruction.

        Raises:
            DataError: gaps that the task has no fields for, or demonstrations that lack a field.
        """
        template, instruction = self.template or spec.template, self.instruction
        unknown = [name for name in Template(template).fields if name not in spec.field_names]
        if unknown:
            raise DataError(
                "the prompt has gaps that the task has no fields for",
                where="the imported prompt",
                got=", ".join(unknown),
                expected=", ".join(spec.field_names),
                hint="--template with the prompt's own field names",
            )
        ahead = template.removesuffix(spec.template)
        if not instruction and ahead not in ("", template):
            pieces = Template(f"{ahead}{{x}}").pieces[:-1]
            if not any(piece.is_field for piece in pieces):
                template, instruction = spec.template, "".join(piece.text for piece in pieces)
        return ManualPrompt(
            "the imported prompt",
            template,
            instruction,
            chat=spec.chat or self.chat,
            system=self.system if self.system is not None else spec.system,
            demonstrations=tuple(self._record(each, spec) for each in self.demonstrations),
        )

    def _record(self, shown: Mapping[str, str], spec: TaskSpec) -> Record:
        missing = [name for name in (*spec.field_names, TARGET) if name not in shown]
        if missing:
            raise DataError(
                "a demonstration lacks a field of the task",
                where="the imported prompt",
                got=", ".join(name for name in shown if name) or "none",
                expected=", ".join((*spec.field_names, spec.target_field)),
                hint="--template with the tool's own field names, --label-field with its output's",
            )
        if spec.labels and shown[TARGET] not in spec.labels:
            raise DataError(
                "a demonstration's label is not in the list",
                where="the imported prompt",
                got=repr(shown[TARGET]),
                expected=", ".join(spec.labels),
            )
        return Record({name: shown[name] for name in spec.field_names}, shown[TARGET])
