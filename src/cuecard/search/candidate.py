"""A prompt that a search tries: words, and vectors in front of them where a searcher makes some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cuecard.artifacts.words.parts import TARGET
from cuecard.engine.protocol import Held
from cuecard.evaluation.baselines.manual import CHAT_ANSWER, ManualPrompt, default_manual_prompts
from cuecard.tasks import Task, TaskSpec
from cuecard.types import InputTokens, Record, Tokenizer
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from torch import Tensor

AS_IT_WAS = "as it was"
"""What reports call the prompt that a search begins with."""


@dataclass(frozen=True)
class PromptCandidate:
    """A hand-written prompt, or one that a search has made.

    Attributes:
        prompt: its words. Two candidates of the same words and vectors are one, whatever they are
            called.
        origin: how it came to be, for people.
        soft: vectors among the input embeddings, in front of its words; None for words alone.
        prior: label -> what is taken off its score; None for nothing.
    """

    prompt: ManualPrompt
    origin: str = ""
    soft: Held | None = None
    prior: Mapping[str, float] | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 of its words, vectors and numbers."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Its words and numbers, as JSON knows them, and the digest of its vectors."""
        found = asdict(self.prompt)
        del found["name"]
        found["demonstrations"] = [
            {**record.texts, TARGET: str(record.target)} for record in self.prompt.demonstrations
        ]
        if self.soft is not None:
            found["vectors"] = self.soft.digest
        if self.prior is not None:
            found["prior"] = dict(self.prior)
        return found

    @property
    def parts(self) -> dict[str, Any]:
        """What its words are made of, as a saved prompt keeps it for other tools."""
        kept = ("template", "instruction", "demonstrations")
        return {name: value for name, value in self.to_dict().items() if name in kept}

    def to_spec(self, spec: TaskSpec, tokenizer: Tokenizer, max_positions: int) -> TaskSpec:
        """The task in its words.

        Args:
            max_positions: of the backbone, of which its vectors take some.

        Raises:
            ConfigError: it leaves no room for a record.
        """
        return self.prompt.to_spec(spec, tokenizer, max_positions - self.vectors)

    @property
    def vectors(self) -> int:
        """How many vectors stand in front of its words."""
        return 0 if self.soft is None else self.soft.injection.length

    def text(self, spec: TaskSpec) -> str:
        """Its words as people read them: instruction, solved records, the template of a record.

        Args:
            spec: the task that it asks.
        """
        return self.prompt.ahead(spec) + self.prompt.template

    @property
    def beside(self) -> str:
        """What it has beside its template, in words; "" for nothing."""
        told = []
        if self.vectors:
            told.append(f"{counted(self.vectors, 'vector')} in front")
        if self.prompt.words is not None:
            told.append(f"words: {_pairs(self.prompt.words)}")
        if self.prior is not None:
            off = {label: f"{value:+.2f}" for label, value in self.prior.items()}
            told.append(f"taken off the labels' scores: {_pairs(off)}")
        return "; ".join(told)

    @property
    def length(self) -> int:
        """Characters and vectors of all that does not change from record to record."""
        shown = sum(sum(map(len, r.texts.values())) for r in self.prompt.demonstrations)
        return self.vectors + len(self.prompt.instruction) + len(self.prompt.template) + shown


def first_candidate(spec: TaskSpec, instruction: str | None = None) -> PromptCandidate:
    """What a search of a task begins with.

    Args:
        instruction: in front of every record, "" for none; by default one that names the labels,
            or that asks for a text in the way that suits the template or the chat.
    """
    if instruction is None:
        name = CHAT_ANSWER if spec.chat and spec.mode == "text" else "instruction"
        tried = default_manual_prompts(spec)
        text = next(each.instruction for each in tried if each.name == name)
    else:
        text = f"{instruction.strip()}\n\n" if instruction.strip() else ""
    prompt = ManualPrompt("start", spec.template, text, chat=spec.chat, system=spec.system)
    return PromptCandidate(prompt, AS_IT_WAS)


def with_stop(task: Task) -> Task:
    """The task with a text that ends answers, where it produces texts and has none.

    It is the end of the line or of the paragraph, if no training row's target goes beyond it. Where
    no chat's format tells a model that it is to answer once, it goes on with other records.
    """
    spec = task.spec
    if spec.mode != "text" or spec.chat or spec.stop is not None:
        return task
    texts = [str(record.target).strip() for record in task.train]
    stop = next((end for end in ("\n", "\n\n") if not any(end in text for text in texts)), None)
    return replace(task, spec=spec.model_copy(update={"stop": stop}))


def held_vectors(vectors: Tensor) -> Held:
    """Vectors [P, H] as engines know prompts."""
    kept = vectors.detach().float().cpu().contiguous()
    found = hashlib.sha256(repr(tuple(kept.shape)).encode() + kept.numpy().tobytes())
    return Held(found.hexdigest(), InputTokens(kept))


def told_records(records: Sequence[Record]) -> list[Any]:
    """Records as keys of calls have them: the fields, and what is right."""
    return [[*record.texts.items(), str(record.target)] for record in records]


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{label} {value}" for label, value in values.items())


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON holds, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
