"""ATTEMPT: prompts of other tasks, mixed for each input by attention, and a new one beside them.

Formula: P(x) = P + sum_j a_j(x) P_j, j over the source prompts P_1 ... P_S and P itself, with
a(x) = softmax_j(max(P_j) . LN(W_up SiLU(W_down max(E(x)))) / T), where max is taken over a prompt's
vectors, and over the tokens of the context. P, W_down in R^{R x H}, W_up in R^{H x R} and the
layer norm are trained, at two learning rates; the source prompts are as they are.
Paper: Asai, Salehi, Peters, Hajishirzi, "ATTEMPT: Parameter-Efficient Multi-task Tuning via
Attentional Mixtures of Soft Prompts" (EMNLP 2022), section 3.2. The published code
(AkariAsai/ATTEMPT) takes the maximum over padding too; here it is over the context's own tokens,
so that an answer does not depend on what is in its batch. The attention is not shared with other
tasks, and not trained on the source tasks before.

The prompt is another one for every input: its keys and values are not kept between requests, and
it has no form in PEFT or vLLM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.errors import ConfigError
from cuecard.methods.settings import TensorField
from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InjectionKind

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.mixed_prompt import MixedPrompt


class ATTEMPT(StartSettings):
    """Settings of attentional mixtures of prompts.

    Attributes:
        sources: [S, P, H] the source prompts; in a recipe the list of their folders.
        length: P; that of the source prompts by default.
        bottleneck: R.
        temperature: T; e times H by default, as in the paper.
        attention_lr: the peak learning rate of the attention; the prompt takes the run's.
    """

    name: ClassVar[str] = "attempt"
    about: ClassVar[str] = "vectors, and an attention that mixes saved prompts into them by input"
    injects: ClassVar[tuple[InjectionKind, ...]] = ("input-tokens", "mixed-tokens")
    several_tasks: ClassVar[bool] = True

    sources: TensorField | None = Field(default=None, exclude=True, repr=False)
    bottleneck: int = Field(default=100, ge=1, le=4096)
    temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    attention_lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)

    @property
    def warm_start(self) -> tuple[Tensor, ...]:
        """The source prompts, and the rows to start from."""
        return tuple(rows for rows in (self.sources, self.prompt) if rows is not None)

    def build(self, context: InitContext) -> MixedPrompt:
        """Make the prompt and its attention.

        Raises:
            ConfigError: no source prompts, some of another size, or an init that this backbone or
                task cannot give.
        """
        from cuecard.methods.modules.mixed_prompt import MixedPrompt  # noqa: PLC0415 - it needs torch

        sources, width = self.sources, context.embeddings.shape[1]
        if sources is None:
            raise no_sources()
        fits = sources.ndim == 3 and sources.shape[2] == width and min(sources.shape) > 0
        if not fits or self.length not in (None, sources.shape[1]):
            raise ConfigError(
                "the source prompts do not fit this prompt or backbone",
                where=f"method {self.name}, sources",
                got=f"shape {tuple(sources.shape)}",
                expected=f"shape (S, {self.length or 'P'}, {width})",
            )
        start = self.model_copy(update={"length": sources.shape[1]}).start(context)
        return MixedPrompt(self, start, sources, context.generator)


def no_sources() -> ConfigError:
    """What is raised where there is nothing to mix."""
    return ConfigError(
        "there are no source prompts to mix",
        where=f"method {ATTEMPT.name}, sources",
        expected="the folders of trained prompts",
        hint="`cuecard transfer DATA --from REGISTRY` mixes those of a library",
    )
