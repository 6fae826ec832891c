"""The distance of prompts in two towers to the frozen model, which holds them to what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.evaluation.baselines.zero_shot import unprompted
from cuecard.lazy import functional, torch
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.types import Anchor, Backbone, Encoded, Head

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeldTo:
    """What a prompt is held to.

    Khattak et al., "Self-regulating Prompts" (ICCV 2023), section 3.2.1.

    Attributes:
        anchor: how much each distance weighs.
        head: what the frozen tower makes of the labels' names.
    """

    anchor: Anchor
    head: Head

    def distance(
        self, backbone: Backbone, rows: Sequence[Encoded], head: Head, images: Tensor
    ) -> Tensor:
        """As many times as there are images: a |g - g'| + b |f - f'| + c KL, each a mean.

        Of names' unit vectors g over all labels' numbers, of images' f over all images' numbers,
        and of the KL from the frozen model's answers to these over all logits.

        Args:
            head: of the labels' names under the prompt.
            images: [N, D] the rows' unit vectors under the prompt.
        """
        with torch.no_grad():
            (frozen,) = read_for_heads(backbone, [HeadRows(rows, unprompted())])
            wanted = self.head(frozen).float().log_softmax(-1)
        texts, plain = (functional.normalize(each.weight, dim=-1) for each in (head, self.head))
        answers = head(images).float().log_softmax(-1)
        anchor = self.anchor
        return len(rows) * (
            anchor.text * functional.l1_loss(texts, plain)
            + anchor.image * functional.l1_loss(images, frozen)
            + anchor.logits
            * functional.kl_div(answers, wanted, reduction="sum", log_target=True)
            / answers.numel()
        )
