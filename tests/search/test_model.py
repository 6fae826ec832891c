"""The backbone as searchers use it: passes counted, none run twice, many prompts a pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
import torch

from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.protocol import Generation, Sampling
from cuecard.search.budget import Amount, BudgetSpent, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.journal import Journal
from cuecard.search.model import SearchModel
from cuecard.training.objective.loss import batch_loss
from cuecard.types import InputTokens
from support.data.reviews import LONG_SPEC, MASKED_SPEC, SPEC, review_task, title_task
from support.tiny import tiny_backbone


def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    backbone, ran = tiny_backbone(), []

    def run() -> list[float]:
        ran.append(1)
        return [0.1, 0.2]

    async def ask(model: SearchModel) -> Any:
        return await model.counted(["losses", 1], Amount(4, 100), run)

    for _ in range(2):
        calls = Calls(Journal(tmp_path / "journal.jsonl", "x"), SearchBudget(calls=6))
        model = SearchModel(backbone, calls)
        assert asyncio.run(ask(model)) == [0.1, 0.2] and len(ran) == 1
        assert calls.ledger.spent == Amount(4, 100)
    with pytest.raises(BudgetSpent, match="calls"):
        asyncio.run(model.counted("other", Amount(3, 1), run))
    assert len(ran) == 1


def test_nothing_is_run_while_an_engine_is_at_a_request_that_nobody_waits_for() -> None:
    task, backbone = title_task(24), tiny_backbone()
    rows = task.spec.encode_rows(task.train[:4], backbone.tokenizer, "prefix")
    model = SearchModel(backbone, Calls(Journal(None, ""), SearchBudget()))
    prompt = InputTokens(torch.zeros(3, 32))
    wanted = model.losses(task.spec, rows, [prompt])

    async def ask() -> list[Any]:
        engine, found = LocalEngine(backbone), []
        await engine.start()
        try:
            for number in range(10):
                items = engine.generate(Generation(None, rows[0].context, 0, Sampling(100)))
                async with aclosing(cast("AsyncGenerator[Any, None]", items)):
                    await anext(items)
                amount = Amount(4, 100)
                found.append(
                    await model.counted(
                        number, amount, lambda: model.losses(task.spec, rows, [prompt])
                    )
                )
        finally:
            await engine.close()
        return found

    assert asyncio.run(ask()) == [pytest.approx(wanted)] * 10


def test_the_model_is_held_while_it_is_run() -> None:
    backbone, free = tiny_backbone(), list[bool]()
    model = SearchModel(backbone, Calls(Journal(None, ""), SearchBudget()))

    def run() -> None:
        other = Thread(target=lambda: free.append(backbone.lock.acquire(blocking=False)))
        other.start()
        other.join()

    asyncio.run(model.counted("x", Amount(1, 1), run))
    assert free == [False]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [("llama", SPEC), ("llama", LONG_SPEC), ("t5-gated", SPEC), ("bert", MASKED_SPEC)],
)
def test_losses_of_many_prompts_are_those_of_training(kind: str, spec: Any) -> None:
    backbone, task = tiny_backbone(kind), review_task(60, spec)
    rows = spec.encode_rows(task.train[:24], backbone.tokenizer, "prefix")
    draw = torch.Generator().manual_seed(0)
    prompts = [InputTokens(torch.randn(3, 32, generator=draw)) for _ in range(9)]
    model = SearchModel(backbone, Calls(Journal(None, ""), SearchBudget()))
    kind_of_loss: Any = "tokens" if spec is LONG_SPEC else "labels"
    wanted = [batch_loss(backbone, spec, rows, prompt, kind_of_loss) for prompt in prompts]
    found = model.losses(spec, rows, prompts)
    assert found == pytest.approx([float(loss) / count for loss, count in wanted], rel=1e-4)
    assert float(model.loss(spec, rows, prompts[0])) == pytest.approx(found[0], rel=1e-4)
