"""Hand-written prompts: a template, an instruction, demonstrations.

A hand-written prompt is a task with another template, so `predict` serves it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import prompt_tokens
from cuecard.lazy import np
from cuecard.tasks.encoding.tokens import defuse, special_texts
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.template import MASK, Template, escape
from cuecard.types import Record, Tokenizer

CHAT_ANSWER = "chat, answer only"
"""The hand-written prompt that asks a chat model for a text and nothing around it."""

# More labels than this make a list that is longer than most texts.
_MOST_LISTED = 30
# Up to so many labels, demonstrations show every one of them.
_FEW_LABELS = 16


@dataclass(frozen=True, slots=True)
class ManualPrompt:
    """A hand-written prompt.

    Attributes:
        name: what reports call it.
        template: the record's part, with `{field}` gaps; demonstrations repeat it.
        instruction: what comes once before everything, as plain text.
        chat: whether all of it is a user's message for the chat template.
        system: the chat's system message.
        words: label -> word, where it differs from the task's.
        demonstrations: solved records, shown between instruction and record.
    """

    name: str
    template: str
    instruction: str = ""
    chat: bool = False
    system: str | None = None
    words: Mapping[str, str] | None = None
    demonstrations: tuple[Record, ...] = ()

    def to_spec(
        self, spec: TaskSpec, tokenizer: Tokenizer, max_positions: int | None = None
    ) -> TaskSpec:
        """The task asked in this prompt's words.

        The context may be longer by what this prompt is longer than the task's own template, so
        that no record is cut because of it, as far as `max_positions` allows.

        Raises:
            ConfigError: no chat template, or a prompt that leaves no room for a record.
        """
        settings = spec.model_dump() | {
            "template": escape(self.ahead(spec, special_texts(tokenizer))) + self.template,
            "chat": self.chat,
            "system": self.system,
            "words": self._words_of(spec),
        }
        # Measured with room for anything; the task's own length would refuse a long prompt.
        roomy = TaskSpec(**(settings | {"max_length": 1_000_000}))
        bare = prompt_tokens(roomy, tokenizer)
        length = spec.max_length + max(0, bare - prompt_tokens(spec, tokenizer))
        if max_positions is not None:
            length = min(length, max_positions - _answer_tokens(roomy, tokenizer))
        if length <= bare:
            raise ConfigError(
                "the hand-written prompt leaves no room for a record",
                where=self.name,
                got=f"{bare} tokens",
                expected=f"fewer than {length}",
                hint="fewer or shorter demonstrations",
            )
        return TaskSpec(**(settings | {"max_length": length}))

    def ahead(self, spec: TaskSpec, specials: tuple[str, ...] = ()) -> str:
        """What stands in front of a record: the instruction, and solved records.

        Args:
            spec: the task that it asks.
            specials: the texts of special tokens, which records may not have.
        """
        words = self._words_of(spec)
        shown = [self._show(spec, record, words, specials) for record in self.demonstrations]
        return "".join([self.instruction, *(f"{each}\n\n" for each in shown)])

    def _words_of(self, spec: TaskSpec) -> dict[str, str]:
        return dict(spec.words if self.words is None else self.words)

    def _show(
        self, spec: TaskSpec, record: Record, words: Mapping[str, str], specials: tuple[str, ...]
    ) -> str:
        fields = {name: defuse(text, specials) for name, text in record.texts.items()}
        target = spec.label_of(record)
        answer = defuse(words.get(target, target), specials).strip()
        template = Template(self.template)
        text = template.render(fields, mask=answer)
        if template.has_mask:
            return text
        return f"{text}{'' if text[-1:].isspace() else ' '}{answer}"


def default_manual_prompts(spec: TaskSpec, *, chat: bool = True) -> list[ManualPrompt]:
    """Zero-shot prompts for any task, from its template, fields and label words.

    Args:
        chat: whether to include prompts in the chat template.
    """
    own = ManualPrompt("template", spec.template, chat=spec.chat, system=spec.system)
    fields = _field_lines(spec)
    if spec.mode == "text":
        short = "Reply with the answer only.\n\n"
        plain = [
            own,
            ManualPrompt("input and output", f"{fields}\nOutput:"),
            ManualPrompt("instruction", spec.template, instruction="Complete the last line.\n\n"),
        ]
        talk = [
            ManualPrompt("chat", spec.template, chat=True),
            ManualPrompt(CHAT_ANSWER, spec.template, instruction=short, chat=True),
        ]
        return plain + (talk if chat else [])
    options = _options(spec)
    one = f"Decide which of these fits: {options}.\n\n"
    reply = f"Is the following {options}? Answer with one word only.\n\n"
    said = f" {{{MASK}}}." if spec.parsed.has_mask else ""
    question = f"{fields}\nQuestion: Is this {escape(options)}?\nAnswer:{said}"
    plain = [
        own,
        ManualPrompt("instruction", spec.template, instruction=one),
        ManualPrompt("question", question),
        ManualPrompt("statement", f"{fields}\nOverall, this is{said}"),
    ]
    talk = [ManualPrompt("chat", spec.template, instruction=reply, chat=True)]
    large = {label: _large(spec.words.get(label, label)) for label in spec.labels}
    if len(set(large.values())) == len(large):
        talk.append(ManualPrompt("chat, capitals", spec.template, reply, chat=True, words=large))
    return plain + (talk if chat else [])


def demonstration_counts(spec: TaskSpec, train: Sequence[Record]) -> tuple[int, ...]:
    """How many demonstrations are worth trying for a task, fewest first.

    4, 8, 12 and 16, or 4 and 8 texts; as many as show every label once or twice where these are
    few, and no fewer than show all of them.
    """
    if not spec.labels:
        counts = {4, 8}
    else:
        labels = len(spec.labels)
        counts = {4, 8, 12, 16}
        if labels <= _FEW_LABELS:
            counts = {count for count in counts | {labels, 2 * labels} if count >= labels}
    most = most_demonstrations(train, spec)
    return tuple(sorted(count for count in counts if count <= most) or filter(None, [most]))


def most_demonstrations(train: Sequence[Record], spec: TaskSpec) -> int:
    """How many training records `with_demonstrations` chooses from."""
    return sum(map(len, short_records(train, spec)))


def with_demonstrations(
    manual: ManualPrompt,
    train: Sequence[Record],
    ks: Sequence[int],
    spec: TaskSpec,
    seed: int,
    *,
    draws: int = 1,
) -> list[ManualPrompt]:
    """The same prompt with k solved training records, for each k and each of `draws` draws.

    Records come from the shorter half of each label's, the labels in turn.

    Raises:
        ConfigError: a k below one or above the number of usable training records.
    """
    groups = short_records(train, spec)
    most = sum(map(len, groups))
    prompts = []
    for k in ks:
        if not 1 <= k <= most:
            raise ConfigError(
                "there are not enough training records to show",
                where=manual.name,
                got=k,
                expected=f"1 to {most}, the shorter half of the training records",
            )
        for draw in range(draws):
            rng = np.random.default_rng((seed, k, draw))
            chosen = _in_turn(groups, k, rng)
            name = f"{manual.name}, {k} demonstrations" + (f" #{draw + 1}" if draws > 1 else "")
            prompts.append(replace(manual, name=name, demonstrations=chosen))
    return prompts


def _answer_tokens(spec: TaskSpec, tokenizer: Tokenizer) -> int:
    if spec.mode == "text":
        return int(spec.max_new_tokens)
    return max(map(len, spec.continuations(tokenizer)))


def _field_lines(spec: TaskSpec) -> str:
    names = spec.field_names
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {{{name}}}" for name in names)


def _options(spec: TaskSpec) -> str:
    """ "negative, neutral or positive"; the words themselves, in the labels' order."""
    words = [spec.words.get(label, label) for label in spec.labels]
    if len(words) > _MOST_LISTED:
        words = [*words[: _MOST_LISTED - 1], "something else"]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _large(word: str) -> str:
    return word[:1].upper() + word[1:]


def short_records(train: Sequence[Record], spec: TaskSpec) -> list[list[Record]]:
    """The shorter half of each label's records (of all records, for texts), at least one each."""
    groups: dict[str, list[Record]] = {label: [] for label in spec.labels}
    for record in train:
        if record.target is not None:
            groups.setdefault(spec.label_of(record) if spec.labels else "", []).append(record)

    def length(record: Record) -> int:
        return sum(len(record.texts.get(name, "")) for name in spec.field_names)

    return [
        sorted(group, key=length)[: (len(group) + 1) // 2] for group in groups.values() if group
    ]


def _in_turn(
    groups: Sequence[Sequence[Record]], k: int, rng: np.random.Generator
) -> tuple[Record, ...]:
    """k records, the groups in turn and in random order, each group's records shuffled."""
    piles = [
        [groups[g][i] for i in rng.permutation(len(groups[g]))]
        for g in rng.permutation(len(groups))
    ]
    chosen: list[Record] = []
    while len(chosen) < k:
        for pile in piles:
            if pile and len(chosen) < k:
                chosen.append(pile.pop())
    return tuple(chosen)
