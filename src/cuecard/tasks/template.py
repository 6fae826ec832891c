"""A text with named gaps: `"Review: {text}\\nSentiment:"`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from cuecard.errors import TemplateError
from cuecard.tasks.similar import nearest

PROMPT = "prompt"
"""The gap for the prompt itself, wherever it is; no record has a field of this name."""

MASK = "mask"
"""The gap for what a masked model is to say; no record has a field of this name."""

_OWN = (PROMPT, MASK)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a template: its own words, or the name of a field.

    Attributes:
        vectors: of a prompt's place, how many it takes; 0 where the template does not say.
    """

    text: str
    is_field: bool
    vectors: int = 0


@dataclass(frozen=True)
class Template:
    """A template with `{field}` gaps; `{{` and `}}` stand for the braces themselves.

    `{prompt}` is not a field: it marks where the prompt is for the slot "infix", and is nothing
    otherwise. Several places share the prompt's vectors in their order: evenly, or as many as each
    says, `{prompt:5}`. Nor is `{mask}`: a masked model's mask token, where it is to say a label's
    word.

    A gap is a plain name: attributes, indexes, conversions and format specs are refused, so that
    a template from a file can reach nothing but the record's fields.

    Args:
        text: the template.
        chat: whether the text is a user's message for the tokenizer's chat template.
        system: the chat's system message, taken as it is but for `{prompt}`.

    Raises:
        TemplateError: a stray brace, a gap that is no plain name, no gap at all, `{mask}` twice, or
            a number of vectors at some of the prompt's places only.

    >>> Template("Review: {text}\\nSentiment:").render({"text": "a gem"})
    'Review: a gem\\nSentiment:'
    """

    text: str
    chat: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        if not self.fields:
            raise TemplateError(
                "the template names no field",
                where="template",
                got=repr(self.text),
                expected="at least one gap such as {text}",
                hint=f"{{{PROMPT}}} and {{{MASK}}} are not columns"
                if self.has_prompt or self.has_mask
                else None,
            )
        if self.count(MASK) > 1:
            raise TemplateError(
                "the template has more than one mask",
                where="template",
                got=repr(self.text),
                expected=f"{{{MASK}}} once",
            )
        if any(self.deal) and not all(self.deal):
            raise TemplateError(
                "the template does not say at every place how many vectors it takes",
                where="template",
                got=repr(self.text),
                expected=f"{{{PROMPT}:5}} at every place, or {{{PROMPT}}} for an even split",
            )

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The template's words and fields in order."""
        return tuple(_parse(self.text))

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields' names in the order of their first use."""
        names = (piece.text for piece in self.pieces if piece.is_field)
        return tuple(dict.fromkeys(name for name in names if name not in _OWN))

    @property
    def has_prompt(self) -> bool:
        """Whether the template says where the prompt is."""
        return self.places > 0

    @property
    def places(self) -> int:
        """How many places the prompt has, those in the system message counted in."""
        return self._in_system + self.count(PROMPT)

    @property
    def _in_system(self) -> int:
        return (self.system or "").count(f"{{{PROMPT}}}")

    @property
    def deal(self) -> tuple[int, ...]:
        """How many vectors each of the prompt's places takes; zeros for an even split."""
        own = (piece.vectors for piece in self.pieces if _is_prompt(piece))
        return (*[0] * self._in_system, *own)

    @property
    def has_mask(self) -> bool:
        """Whether the template says where a masked model is to say a word."""
        return self.count(MASK) > 0

    @property
    def prompt_is_late(self) -> bool:
        """Whether a field comes before the prompt's place."""
        names = [p.text for p in self.pieces if p.is_field and p.text != MASK]
        return PROMPT in names and names[0] != PROMPT

    @cached_property
    def with_prompt(self) -> Template:
        """This template with the prompt's place: after its last field where it does not say."""
        if self.has_prompt:
            return self
        last = max(at for at, p in enumerate(self.pieces) if p.is_field and p.text not in _OWN)
        texts = [f"{{{p.text}}}" if p.is_field else escape(p.text) for p in self.pieces]
        text = "".join([*texts[: last + 1], f"{{{PROMPT}}}", *texts[last + 1 :]])
        return replace(self, text=text)

    @property
    def ends_with_prompt(self) -> bool:
        """Whether the template says nothing after the prompt's place."""
        return _is_prompt(self.pieces[-1]) and not self.chat

    @property
    def ends_with_field(self) -> bool:
        """Whether the last thing in the template is a field."""
        return self.pieces[-1].is_field and self.pieces[-1].text not in _OWN

    def count(self, name: str) -> int:
        """How often the template uses a field."""
        return sum(piece.is_field and piece.text == name for piece in self.pieces)

    def render(self, fields: Mapping[str, str], prompt: str = "", mask: str = "") -> str:
        """Fill the gaps.

        Args:
            prompt: what `{prompt}` becomes.
            mask: what `{mask}` becomes.

        Raises:
            TemplateError: a field the template needs is not there.
        """
        self.check(fields)
        known = {**fields, PROMPT: prompt, MASK: mask}
        return "".join(known[p.text] if p.is_field else p.text for p in self.pieces)

    def render_system(self, prompt: str = "") -> str | None:
        """The system message; None without one.

        Args:
            prompt: what `{prompt}` becomes.
        """
        return None if self.system is None else self.system.replace(f"{{{PROMPT}}}", prompt)

    def check(self, fields: Iterable[str]) -> None:
        """Raise TemplateError where a field the template needs is not among these names."""
        for name in self.fields:
            if name not in fields:
                raise TemplateError(
                    f"the template needs the field {name!r}",
                    where=f"template {self.text!r}",
                    got=f"fields {', '.join(sorted(fields)) or '(none)'}",
                    expected=f"fields {', '.join(self.fields)}",
                    hint=nearest(name, fields),
                )


def escape(text: str) -> str:
    """Text that a template renders as it is: its braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def _parse(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    words: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if text[at : at + 2] in ("{{", "}}"):
            words.append(char)
            at += 2
        elif char == "{":
            end = text.find("}", at)
            gap = _gap(text, at, end)
            if words:
                pieces.append(Piece("".join(words), is_field=False))
                words = []
            pieces.append(gap)
            at = end + 1
        elif char == "}":
            raise _broken("a closing brace without an opening one", text, at, "}")
        else:
            words.append(char)
            at += 1
    if words:
        pieces.append(Piece("".join(words), is_field=False))
    return pieces


def _gap(text: str, start: int, end: int) -> Piece:
    if end < 0:
        raise _broken("an opening brace without a closing one", text, start, text[start:][:40])
    name, colon, count = text[start + 1 : end].partition(":")
    sized = colon and name == PROMPT and count.isdecimal() and int(count) > 0
    if not name.isidentifier() or (colon and not sized):
        raise _broken("a gap that is not a plain name", text, start, text[start : end + 1][:60])
    return Piece(name, is_field=True, vectors=int(count) if sized else 0)


def _is_prompt(piece: Piece) -> bool:
    return piece.is_field and piece.text == PROMPT


def _broken(what: str, text: str, at: int, got: str) -> TemplateError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return TemplateError(
        f"the template has {what}",
        where=f"template, line {line}, column {column}",
        got=repr(got),
        expected="gaps such as {text}; {{ and }} for the braces themselves",
    )
