"""A bound prompt as a language model of texts: what a harness asks, without the harness.

Texts are read as lm-evaluation-harness' own Hugging Face model reads them, so that a backbone
without a prompt has the same numbers there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.backbones.adapters.adapter import NO_ADAPTER
from cuecard.engine.protocol import Held
from cuecard.errors import BackboneError, ConfigError
from cuecard.evaluation.continuations import Continuation, score_targets
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.integrations.lm_eval.written_texts import TextRequest, write_texts
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.tokens import leading_ids, plain_ids
from cuecard.types import Backbone, Encoded, HasDecoder, Injection, Placement, Record, Slot


class TextModel:
    """Scores and continues texts under a prompt.

    Args:
        backbone: a model that says words.
        prompt: bound to it; None for the backbone alone.
        template: whether a context fills the prompt's template, as where the prompt answers, or is
            all that the model reads, with the prompt's vectors before or behind it.
        max_length: the most tokens that are read; by default as many as the backbone has positions.

    Raises:
        ConfigError: a backbone that is not asked for next tokens, a prompt with a trained head, a
            prompt and `template` that do not go together, or a `max_length` below 1.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: BoundPrompt | None = None,
        *,
        template: bool = False,
        max_length: int | None = None,
    ) -> None:
        self.backbone, self.prompt, self.template = backbone, prompt, template
        self.tokenizer = backbone.tokenizer
        self._check()
        self.injection: Injection | None = None if prompt is None else prompt.injection
        vectors = 0 if self.injection is None else self.injection.length
        room = backbone.max_positions - vectors
        if max_length is not None and max_length < 1:
            raise ConfigError(
                "there is nothing to read",
                where="max_length",
                got=max_length,
                expected=f"1 to {room}",
            )
        self.room = room if max_length is None else min(room, max_length)
        self._leading = leading_ids(self.tokenizer)
        self._slot: Slot = "prefix" if prompt is None else prompt.slot

    def _check(self) -> None:
        reason = self.backbone.unreadable("next-tokens")
        if reason is not None:
            raise ConfigError(
                "this backbone does not continue texts",
                where=f"backbone {self.backbone.name}",
                got=reason,
                expected="a decoder or an encoder-decoder",
            )
        if self.prompt is None:
            if self.template:
                raise ConfigError(
                    "there is no prompt whose template could be filled",
                    where="template",
                    got="a backbone alone",
                    expected="prompt=",
                )
            return
        where = f"prompt {self.prompt.prompt.digest[:12]}"
        if self.prompt.head is not None:
            raise ConfigError(
                "this prompt answers by a trained head, not in words",
                where=where,
                got=self.prompt.spec.kind,
                expected="a prompt whose answers are words",
            )
        problem = self._unfit_for_template() if self.template else self._needs_template()
        if problem is not None:
            raise ConfigError(
                "the prompt cannot be asked in this way",
                where=where,
                got=problem,
                expected="template=false" if self.template else "template=true",
            )

    def _unfit_for_template(self) -> str | None:
        fields = cast("BoundPrompt", self.prompt).spec.record_fields
        return None if len(fields) == 1 else f"a template of several fields: {', '.join(fields)}"

    def _needs_template(self) -> str | None:
        """What of a prompt is lost where its template is left out."""
        prompt = cast("BoundPrompt", self.prompt).prompt
        if prompt.manifest.slot == "infix":
            return "vectors in the middle of a template"
        if not prompt.tensors and prompt.manifest.backbone.fingerprint.adapter == NO_ADAPTER:
            return "a prompt of words, which are its template"
        return None

    @property
    def first_token(self) -> int:
        """What stands for an empty context: the begin token, or the end token.

        Raises:
            ConfigError: the tokenizer has neither.
        """
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(self.tokenizer, name, None)
            if token is not None:
                return int(token)
        raise ConfigError(
            "nothing stands for an empty context",
            where=f"the tokenizer of {self.backbone.name}",
            got="neither a begin token nor an end token",
            expected="one of them",
        )

    def pair(self, context: str, continuation: str) -> Encoded:
        """A context with the continuation to score.

        A space between the two belongs to the continuation. Of a context that is too long, the
        beginning is left out; a template cuts its field at the end, as where the prompt answers.

        Raises:
            BackboneError: a continuation that alone is too long.
            ConfigError: a continuation without tokens of its own.
        """
        if self.template:
            row = self._filled(context)
            return replace(row, target=self._word(continuation.strip(" ")))
        row = self._raw(*self._split(context, continuation))
        if not row.target:
            raise ConfigError(
                "a continuation has no tokens of its own",
                where=repr(continuation),
                got=f"none after {context[-20:]!r}",
                expected="one or more",
            )
        return row

    def windows(self, text: str) -> list[Encoded]:
        """A whole text in windows whose targets are each of its tokens once.

        Each window but the first reads as many tokens before its target as there is room for.

        Raises:
            ConfigError: a text that would have to fill a template.
        """
        if self.template:
            raise ConfigError(
                "a whole text has no place in a template",
                where="template",
                got="template=true",
                expected="template=false for perplexities",
            )
        ids = self.ids(text)
        rows = [self._raw((self.first_token,), ids[: self.room])] if ids else []
        for start in range(self.room, len(ids), self.room):
            end = min(start + self.room, len(ids))
            rows.append(self._raw(ids[end - self.room - 1 : start], ids[start:end]))
        return rows

    def score(
        self,
        rows: Sequence[Encoded],
        *,
        batch_rows: int = BATCH_ROWS,
        on_rows: OnRows | None = None,
    ) -> list[Continuation]:
        """The log-probability of each row's target, and whether it is what greedy decoding gives.

        Raises:
            BackboneError: a row that does not fit the backbone.
        """
        with self.backbone.lock:
            return score_targets(
                self.backbone, rows, self.injection, batch_rows=batch_rows, on_rows=on_rows
            )

    def generate(self, requests: Sequence[TextRequest], on_rows: OnRows | None = None) -> list[str]:
        """Texts that continue the requests', each up to the first of its stops.

        Raises:
            ConfigError: an answer so long that no context fits before it.
        """
        rows = [self._to_continue(request) for request in requests]
        held = None
        if self.prompt is not None and self.prompt.injection is not None:
            held = Held(self.prompt.prompt.digest, self.prompt.injection)
        return write_texts(self.backbone, held, requests, rows, on_rows)

    def ids(self, text: str, *, leading: bool = True) -> tuple[int, ...]:
        """A text's tokens, special ones among them, after what the tokenizer puts before texts."""
        ids = plain_ids(self.tokenizer, text)
        return (*self._leading, *ids) if leading and ids[:1] != self._leading[:1] else ids

    def _to_continue(self, request: TextRequest) -> Encoded:
        new = request.sampling.max_new_tokens
        room = self.room if isinstance(self.backbone, HasDecoder) else self.room - new
        if room < 1:
            raise ConfigError(
                "no context fits before an answer of this length",
                where="max_gen_toks",
                got=new,
                expected=f"fewer than {self.room}, the positions beside the prompt's",
            )
        if self.template:
            return self._filled(request.context)
        return self._placed(self.ids(request.context)[-room:] or (self.first_token,), ())

    def _split(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Both texts' tokens; of a decoder those that they have as one text."""
        if not context:
            ids = self.ids(continuation, leading=False)
            first = self.first_token
            return ((first,), ids) if ids[:1] != (first,) else (ids[:1], ids[1:])
        kept = context.rstrip()
        continuation, context = context[len(kept) :] + continuation, kept
        before = self.ids(context)
        if isinstance(self.backbone, HasDecoder):
            return before, self.ids(continuation, leading=False)
        return before, self.ids(context + continuation)[len(before) :]

    def _raw(self, context: tuple[int, ...], target: tuple[int, ...]) -> Encoded:
        room = self.room if isinstance(self.backbone, HasDecoder) else self.room + 1 - len(target)
        if room < 1:
            raise BackboneError(
                "a continuation is longer than what the model can read",
                where=self.backbone.name,
                got=f"{len(target)} tokens",
                expected=f"at most {self.room}",
            )
        return self._placed(context[-room:], target)

    def _word(self, text: str) -> tuple[int, ...]:
        """The tokens of a label's word, or of any other text, after the template."""
        spec = cast("BoundPrompt", self.prompt).spec
        word = spec.label_names.get(text, text) if spec.mode == "labels" else text
        return bind(spec, self.tokenizer).option(word)

    def _placed(self, context: tuple[int, ...], target: tuple[int, ...]) -> Encoded:
        slot = len(context) if self._slot == "suffix" else 0
        return Encoded(context, target, Placement.at(slot))

    def _filled(self, context: str) -> Encoded:
        spec = cast("BoundPrompt", self.prompt).spec
        record = Record({spec.record_fields[0]: context}, None)
        return spec.encode(record, self.tokenizer, self._slot)
