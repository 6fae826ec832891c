"""The same requests served by PEFT: one adapter per prompt, and one active at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from peft import PromptTuningConfig, get_peft_model
from torch import Tensor

from benchmarks.serving.requests import Request
from cuecard.tasks import collate


class PeftServer:
    """Prompts [P, H] as adapters of one model.

    Args:
        model: it is wrapped, and stays wrapped.
    """

    def __init__(self, model: Any, prompts: Sequence[Tensor]) -> None:
        config = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=len(prompts[0]),
            token_dim=prompts[0].shape[1],
        )
        self._model: Any = get_peft_model(model, config, adapter_name="p0")
        for number in range(1, len(prompts)):
            self._model.add_adapter(f"p{number}", config)
        encoders: Any = self._model.prompt_encoder
        with torch.no_grad():
            for number, prompt in enumerate(prompts):
                encoders[f"p{number}"].embedding.weight.copy_(prompt)
        self._model.eval()

    @torch.inference_mode()
    def classify(self, requests: Sequence[Request], words: Sequence[int]) -> list[Tensor]:
        """Log-probabilities [L] of single tokens behind each row; one adapter for all of them."""
        self._model.set_adapter(f"p{requests[0][0]}")
        batch = collate([(row, ()) for _, row in requests], read="next")
        found = self._model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        at = found.logits.shape[1] - batch.input_ids.shape[1] + batch.read_at - 1
        logits = found.logits[batch.read_rows, at].float()
        return list(logits.log_softmax(-1)[:, list(words)])

    @torch.inference_mode()
    def write(self, requests: Sequence[Request], new_tokens: int, end: int) -> list[list[int]]:
        """Greedy answers, padded on the left as generate wants it; one adapter for all of them."""
        self._model.set_adapter(f"p{requests[0][0]}")
        width = max(len(row.context) for _, row in requests)
        ids = torch.full((len(requests), width), end)
        mask = torch.zeros_like(ids)
        for place, (_, row) in enumerate(requests):
            ids[place, width - len(row.context) :] = torch.tensor(row.context)
            mask[place, width - len(row.context) :] = 1
        with warnings.catch_warnings():
            # It says in every step that it leaves positions to the model, which counts padding:
            # rows that are padded get other answers than alone.
            warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
            found = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=end,
            )
        answers: list[list[int]] = found[:, width:].tolist()
        return [row[: row.index(end)] if end in row else row for row in answers]


def grouped(requests: Sequence[Request]) -> list[list[Request]]:
    """The requests of one prompt together, in the order in which prompts first come."""
    groups: dict[int, list[Request]] = {}
    for request in requests:
        groups.setdefault(request[0], []).append(request)
    return list(groups.values())
