"""Where keys and values start: settings and inits that prefix tuning and P-tuning v2 share.

Li, Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation" (ACL 2021), section 7.4:
activations of real words beat random numbers. PEFT's own benchmark says the same (18.6 random, 35.8
zero, 41.6 with real text's keys and values, Llama-3.2-3B on GSM8K).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.image_start import drawn_of, patches_in
from cuecard.methods.settings import MethodSettings
from cuecard.methods.start import DEFAULT_LENGTH, MAX_LENGTH, text_ids
from cuecard.types import InitContext, InjectionKind, PrefixKV, Tower

if TYPE_CHECKING:
    from torch import Tensor

Init = Literal["text", "zero", "random", "prompt", "patches"]


class PrefixSettings(MethodSettings):
    """Settings of keys and values in front of the input.

    Attributes:
        length: how many positions, 1 to 1,000; None takes the init text's own length.
        init: where they start. "text": the keys and values that the backbone itself makes of
            `text`, repeated or cut to the length: at first they answer as the text would. "zero":
            keys that every query is indifferent to, and values that add nothing. "random": normal,
            with each layer's RMS of the text's keys and of its values. "prompt": a trained prompt,
            given as `prompt`: of this kind, or vectors whose keys and values are taken. "patches":
            keys and values of patches of training images, and what text becomes for images.
        prompt: [P, 2 L K D] as PEFT lays it out, or [P, H].
    """

    injects: ClassVar[tuple[InjectionKind, ...]] = ("prefix-kv",)
    drawn_init: ClassVar[str] = "random"
    late_injects: ClassVar[tuple[InjectionKind, ...]] = ("late-prefix-kv",)

    length: int | None = Field(default=None, ge=1, le=MAX_LENGTH)
    init: Init = "text"
    text: str | None = Field(
        default=None,
        description="The text of the init text; by default a sentence made from the task. On texts "
        "it also gives the inits zero and random their length, where there is none, and random its "
        "scale.",
    )
    slot: Literal["prefix", "infix"] = Field(
        default="prefix",
        description="Where keys and values are seen from: all of the input, or (infix) what comes "
        "after {prompt} in the template, by default after its last field. What is before it is "
        "then run without a prompt, once for all epochs and tasks.",
    )

    @property
    def late(self) -> bool:
        """Whether they are seen from within the template on."""
        return self.slot == "infix"

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Keys and values, in front of the input or late."""
        return {"text": self.late_injects if self.late else self.injects}

    @model_validator(mode="after")
    def _complete(self) -> PrefixSettings:
        if (self.init == "prompt") is not (self.prompt is not None):
            raise ConfigError(
                "the init and what it starts from do not go together",
                where=f"method {self.name}, init",
                got=f"init={self.init!r}, prompt {'missing' if self.prompt is None else 'given'}",
                expected="init='prompt' for a prompt",
            )
        if self.init == "patches":
            self._refuse_text()
        return self

    def _refuse_text(self) -> None:
        if self.text is not None:
            raise ConfigError(
                "the init and what it starts from do not go together",
                where=f"method {self.name}, text",
                got=f"init={self.init!r} with a text",
                expected="no text, or init='text' on a language model",
            )

    @property
    def size(self) -> int:
        """P, of an init that has no length of its own."""
        return self.length or DEFAULT_LENGTH

    def start(self, context: InitContext) -> Tensor:
        """[L, 2, K, P, D] float32 on the embeddings' device.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        if self.init == "prompt" or (context.sees and self.init != "text"):
            self._refuse_text()
        found = _INITS[self.init](self, context)
        return found.to(context.embeddings.device, torch.float32).clone()


def _keys_values(context: InitContext, vectors: Tensor) -> Tensor:
    found = context.states(vectors).keys_values
    assert found is not None, "a backbone without plain keys and values was refused before"
    return found


def _of_text(settings: PrefixSettings, context: InitContext) -> Tensor:
    ids = text_ids(settings.name, settings.text, settings.length, context)
    return _keys_values(context, context.embeddings[torch.tensor(ids)])


def _patches(settings: PrefixSettings, context: InitContext) -> Tensor:
    found = patches_in(settings, context).keys_values().cpu()
    return found[..., drawn_of(found.shape[3], settings, context), :]


def _zero(settings: PrefixSettings, context: InitContext) -> Tensor:
    if not context.sees:
        return torch.zeros_like(_of_text(settings, context))
    layers, kinds, heads, _, size = _keys_values(context, context.embeddings[:1]).shape
    return torch.zeros(layers, kinds, heads, settings.size, size)


def _random(settings: PrefixSettings, context: InitContext) -> Tensor:
    if context.sees:  # any number of patches has a scale
        real, length = patches_in(settings, context).keys_values().cpu(), settings.size
    else:
        real = _of_text(settings, context).cpu()
        length = real.shape[3]
    scale = real.pow(2).mean((2, 3, 4), keepdim=True).sqrt()
    shape = (*real.shape[:3], length, real.shape[4])
    return torch.randn(shape, generator=context.generator) * scale


def _prompt(settings: PrefixSettings, context: InitContext) -> Tensor:
    assert settings.prompt is not None
    given, width = settings.prompt, context.embeddings.shape[1]
    if given.ndim == 2 and given.shape[1] == width:
        given = PrefixKV(_keys_values(context, given.to(context.embeddings.device))).matrix
    layers, _, heads, _, size = _keys_values(context, context.embeddings[:1]).shape
    length = settings.length or len(given)
    if given.ndim != 2 or given.shape[1] != layers * 2 * heads * size or len(given) < length:
        raise ConfigError(
            "the prompt to start from does not fit",
            where=f"method {settings.name}, prompt",
            got=f"shape {tuple(given.shape)} for a length of {length}",
            expected=f"shape ({length} or more, {layers * 2 * heads * size} or {width})",
        )
    return PrefixKV.of_matrix(given[:length], layers, heads).keys_values


_INITS: dict[Init, Callable[[PrefixSettings, InitContext], Tensor]] = {
    "text": _of_text,
    "zero": _zero,
    "random": _random,
    "prompt": _prompt,
    "patches": _patches,
}
