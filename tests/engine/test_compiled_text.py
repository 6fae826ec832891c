"""A text as keys and values is the text in the engine too, in front of everything and within."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cuecard.backbones import CausalBackbone
from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.protocol import Finished, Generation, Held, Sampling
from cuecard.tasks import TaskSpec
from cuecard.training.compiling.full_text import FullText
from cuecard.types import Record
from support.tiny import tiny_model, tiny_tokenizer

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it ."


async def answers(engine: Any, asked: list[Generation]) -> list[list[int]]:
    async def one(generation: Generation) -> list[int]:
        return [x.id async for x in engine.generate(generation) if not isinstance(x, Finished)]

    await engine.start()
    for prompt in {each.prompt for each in asked if each.prompt is not None}:
        await engine.hold(prompt)
    found = await asyncio.gather(*map(one, asked))
    await engine.close()
    return list(found)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("around", ["", "<s> $A"])
def test_the_engine_answers_as_with_the_text(chat: bool, around: str) -> None:
    backbone = CausalBackbone(tiny_model("llama"), tiny_tokenizer(around), "tiny")
    spec = TaskSpec(kind="text-to-text", template="{prompt}\n{text}\nAnswer:", chat=chat)
    text = FullText.of(backbone, spec, TEXT)
    assert text.late is (chat or bool(around))
    held, sampling = Held("text", text.injection), Sampling(12)
    asked = []
    for words in ("a film", "quick brown foxes"):
        row = text.spec.encode(Record({"text": words}, None), backbone.tokenizer, text.slot)
        whole = (*row.context[: row.slot], *text.ids, *row.context[row.slot :])
        asked += [
            Generation(held, row.context, row.slot, sampling),
            Generation(None, whole, 0, sampling),
            Generation(None, row.context, 0, sampling),
        ]
    found = asyncio.run(answers(LocalEngine(backbone), asked))
    assert found[0] == found[1] != found[2]
    assert found[3] == found[4] != found[5]
