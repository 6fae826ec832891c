"""Prompt tuning: P free vectors among the input embeddings.

Formula: p(y | x) = LM([P; E(x)]), with P in R^{P x H} the only thing that is trained. An
encoder-decoder may also have D vectors in front of its decoder's input:
p(y_t | x, y_<t) = Dec([D; E(start); E(y_<t)] | Enc([P; E(x)])).
Paper: Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning"
(EMNLP 2021), section 2. Reference code: google-research/prompt-tuning, `prompts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from cuecard.methods.image_options import ImageSettings
from cuecard.methods.settings import TensorField
from cuecard.methods.start import GIVEN, LENGTH, MAX_LENGTH
from cuecard.types import InitContext, InjectionKind, Tower

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.shaped_prompt import ShapedPrompt
    from cuecard.methods.modules.soft_prompt import SoftPrompt


class PromptTuning(ImageSettings):
    """Settings of prompt tuning: a length, an init, a slot; see `StartSettings`.

    Attributes:
        length: 0 only with decoder vectors.
        decoder_length: vectors in front of an encoder-decoder's decoder input. They start as the
            others do, with an init of their own draw, among the decoder's own embeddings.
        decoder_prompt: the rows that they start from with the inits "prompt" and "meta"; sampled
            from the vocabulary where there are none.
    """

    name: ClassVar[str] = "prompt-tuning"
    about: ClassVar[str] = "vectors among the input embeddings"

    length: int | None = Field(default=None, ge=0, le=MAX_LENGTH, description=LENGTH)
    decoder_length: int = Field(default=0, ge=0, le=MAX_LENGTH)
    decoder_prompt: TensorField | None = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _some_vectors(self) -> PromptTuning:
        if self.length == 0 and not self.decoder_length:
            raise ValueError("length 0 is for a prompt with a decoder_length above 0")
        return self

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Vectors in the input, in the decoder's, or in both."""
        lengths: dict[Tower, int | None] = {"text": self.length, "decoder": self.decoder_length}
        return {tower: self.injects for tower, length in lengths.items() if length != 0}

    @property
    def warm_start(self) -> tuple[Tensor, ...]:
        """The rows to start from, the input's and the decoder's."""
        return tuple(rows for rows in (self.prompt, self.decoder_prompt) if rows is not None)

    def build(self, context: InitContext) -> SoftPrompt | ShapedPrompt:
        """Make the prompt.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.soft_prompt import SoftPrompt  # noqa: PLC0415 - it needs torch

        if self.shapes:
            return self.shaped(lambda context: self.start(context)[None], context, deep=False)
        vectors = context.embeddings[:0] if self.length == 0 else self.start(context)
        return SoftPrompt(vectors, self._decoder_start(context) if self.decoder_length else None)

    def _decoder_start(self, context: InitContext) -> Tensor:
        changes: dict[str, Any] = {"length": self.decoder_length, "prompt": self.decoder_prompt}
        if self.init in GIVEN and self.decoder_prompt is None:
            changes["init"] = "vocabulary"
        context = replace(context, embeddings=context.towers.get("decoder", context.embeddings))
        return self.model_copy(update=changes).start(context)
