"""Where an extraction prompt has its instruction, its types and its examples.

Found by headings, those of GraphRAG's own prompts ("-Goal-", "-Examples-", "-Real Data-") and those
of `cuecard graphrag tune` ("# Task", "# Example 1: text", "# Text"). A prompt with neither gets an
instruction at its beginning, and examples before the line with the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.graphrag.answers import AnswerForm
from cuecard.graphrag.measuring.prompts import TEXT, TYPES, ExtractionPrompt
from cuecard.graphrag.prompts.filling import escaped
from cuecard.graphrag.records import Extraction

_TEXT, _TYPES = f"{{{TEXT}}}", f"{{{TYPES}}}"
_GOAL = re.compile(r"^(?:-Goal-|# Task)[ \t]*\n", re.MULTILINE)
_EXAMPLES = re.compile(r"^(?:-Examples-[ \t]*$|# Example 1\b)", re.MULTILINE)
_DATA = re.compile(r"^(?:-Real Data-|# Text)[ \t]*$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t]*\n")
# Lines of a goal that are kept where its words are changed: they say which types there are.
_KEPT = re.compile(rf"^(?:Types:.*|.*{re.escape(_TYPES)}.*)$", re.MULTILINE)

Shown = tuple[str, Extraction]
"""A text, and what is in it."""


def unescaped(text: str) -> str:
    """What `str.format` makes of a text without gaps."""
    return text.replace("{{", "{").replace("}}", "}")


@dataclass(frozen=True)
class ExampleStyle:
    """How examples are written.

    Attributes:
        ahead: what stands before the first one.
        one: with {n}, {types}, {text} and {answer}.
    """

    ahead: str
    one: str

    def text(self, shown: Sequence[Shown], types: Sequence[str], form: AnswerForm) -> str:
        """Examples in a template, with braces doubled."""
        parts = [
            self.one.format(
                n=number,
                types=escaped(",".join(types)),
                text=escaped(text.strip()),
                answer=escaped(form.write(extraction)),
            )
            for number, (text, extraction) in enumerate(shown, 1)
        ]
        return self.ahead + "".join(parts)


_RULER = "#" * 22
DASHES = ExampleStyle(
    f"-Examples-\n{_RULER}\n",
    f"Example {{n}}:\nEntity_types: {{types}}\nText:\n{{text}}\n{_RULER}\nOutput:\n{{answer}}\n"
    f"{_RULER}\n\n",
)
HASHES = ExampleStyle("", "# Example {n}: text\n{text}\n# Example {n}: output\n{answer}\n\n")


@dataclass(frozen=True)
class PromptLayout:
    """A prompt in parts, which are templates; only the instruction is plain text.

    Attributes:
        ahead: what stands before the instruction.
        instruction: what is to be done.
        rules: what stands after it, such as the form of answers.
        examples: as the prompt has them.
        data: the text's place, and what stands around it.
    """

    prompt: ExtractionPrompt
    ahead: str
    instruction: str
    rules: str
    examples: str
    data: str

    @classmethod
    def of(cls, prompt: ExtractionPrompt) -> PromptLayout:
        """A prompt's parts; put together again as they are, they are the prompt."""
        template = prompt.template
        place = template.index(_TEXT)
        headings = [found.start() for found in _DATA.finditer(template, 0, place)]
        start = headings[-1] if headings else template.rfind("\n", 0, place) + 1
        first = _EXAMPLES.search(template, 0, start)
        until = start if first is None else first.start()
        goal = _GOAL.search(template, 0, until)
        if goal is None:
            ahead, instruction, rules = "", "", template[:until]
        else:
            end = _end_of_goal(template, goal.end(), until)
            ahead, rules = template[: goal.end()], template[end:until]
            instruction = unescaped(template[goal.end() : end])
        examples, data = template[until:start], template[start:]
        return cls(prompt, ahead, instruction, rules, examples, data)

    def template(self, instruction: str, shown: Sequence[Shown], types: Sequence[str]) -> str:
        """The prompt with another instruction, and other examples where there are any."""
        own, said = self.instruction, instruction.strip()
        if said == own.strip() and not shown:
            return self.prompt.template
        around = own[len(own.rstrip()) :] if own else "\n\n" if said else ""
        examples = self._examples(shown, types) if shown else self.examples
        return f"{self.ahead}{escaped(said)}{around}{self.rules}{examples}{self.data}"

    def _examples(self, shown: Sequence[Shown], types: Sequence[str]) -> str:
        style = DASHES if "-Real Data-" in self.data or "-Goal-" in self.ahead else HASHES
        gap = "" if not self.rules or self.rules.endswith("\n\n") else "\n"
        return gap + style.text(shown, types, self.prompt.answers)


def _end_of_goal(template: str, start: int, until: int) -> int:
    """Where the instruction ends: before a blank line, or a line that has the types."""
    found = [each.search(template, start, until) for each in (_BLANK, _KEPT)]
    return min([until, *(match.start() for match in found if match is not None)])
