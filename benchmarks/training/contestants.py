"""One training step, as cuecard does it and as PEFT's prompt tuning does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from peft import PromptTuningConfig, get_peft_model
from torch import Tensor

from benchmarks.review_task import SPEC
from cuecard.training.objective.loss import Resolved, batch_loss
from cuecard.types import Backbone, Encoded, InputTokens

Contestant = Literal["ours", "peft_fp32", "peft_bf16"]


class Ours:
    """A prompt [P, H] in float32 on a backbone that is shared and frozen."""

    def __init__(
        self, backbone: Backbone, start: Tensor, lr: float = 1e-3, loss: Resolved = "tokens"
    ) -> None:
        self.backbone, self.loss = backbone, loss
        self.vectors = start.clone().requires_grad_(True)
        self.optimizer = torch.optim.AdamW([self.vectors], lr=lr, weight_decay=0.0)

    def step(self, rows: Sequence[Encoded]) -> float:
        """Forward, backward and update."""
        self.optimizer.zero_grad(set_to_none=True)
        injection = InputTokens(self.vectors)
        loss, count = batch_loss(self.backbone, SPEC, rows, injection, self.loss)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach()) / count


class Peft:
    """PEFT's PromptTuningConfig; the slot is always the front."""

    def __init__(self, model: Any, start: Tensor, lr: float = 1e-3) -> None:
        config = PromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=len(start), token_dim=start.shape[1]
        )
        self.model: Any = get_peft_model(model, config)
        with torch.no_grad():
            self.vectors.copy_(start)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)

    @property
    def vectors(self) -> Tensor:
        """The prompt [P, H]."""
        weight: Tensor = self.model.prompt_encoder["default"].embedding.weight
        return weight

    def step(self, rows: Sequence[Encoded]) -> float:
        """The same rows, padded to the longest; labels at the target alone."""
        self.optimizer.zero_grad(set_to_none=True)
        given = {k: v.to(self.vectors.device) for k, v in padded(rows).items()}
        loss = self.model(**given).loss
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def padded(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """input_ids, attention_mask and labels [B, T], padded on the right."""
    width = max(len(row.context) + len(row.target) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for place, row in enumerate(rows):
        whole = torch.tensor(row.context + row.target)
        ids[place, : len(whole)], mask[place, : len(whole)] = whole, 1
        labels[place, len(row.context) : len(whole)] = torch.tensor(row.target)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def linear_flops(model: Any, tokens: int) -> float:
    """Products with the layers' weights in a forward and a backward pass over `tokens`.

    Attention's own products, norms and the head at the reads come on top and are not counted: the
    share of the matrix rate that is made of these alone errs on the low side.
    """
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return 2 * 2.0 * tokens * sum(m.weight.numel() for m in layers)
