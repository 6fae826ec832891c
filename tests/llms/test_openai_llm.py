"""A model behind an address: the real client against an endpoint that also fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cuecard.errors import ConfigError, LLMError
from cuecard.llms.openai_llm import KEY, OpenAILLM
from cuecard.llms.prices import Price, price_of
from cuecard.llms.protocol import LLMAnswer, LLMMessage, LLMRequest, TokenUsage
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import Journal

pytestmark = pytest.mark.anyio
ASKED = LLMRequest(
    (LLMMessage("system", "Be brief."), LLMMessage("user", "Is it good?")), 5, 0.7, 3
)


def answer(text: str | None = "yes", **more: Any) -> tuple[int, str]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "a-model"}
    return 200, json.dumps({**body, "choices": [choice], "usage": usage, **more})


def failure(status: int, message: str = "no", code: str = "x") -> tuple[int, str]:
    return status, json.dumps({"error": {"message": message, "code": code, "type": code}})


@dataclass
class Endpoint:
    """Answers by a script, the last of it again and again."""

    script: list[tuple[int, str]]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        self.bodies.append(json.loads(await reader.readexactly(size)))
        status, body = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if status:  # 0: it never answers
            content = body.encode()
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(content)
            await writer.drain()
        else:
            await reader.read()  # until the client gives up
        writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def endpoint(*script: tuple[int, str]) -> AsyncIterator[Endpoint]:
    made = Endpoint(list(script))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def client(made: Endpoint, **options: Any) -> AsyncIterator[OpenAILLM]:
    llm = OpenAILLM("a-model", made.url, **options)
    try:
        yield llm
    finally:
        await llm.close()


async def test_what_is_sent_and_what_is_read(anyio_backend: str) -> None:
    async with endpoint(answer()) as made, client(made) as llm:
        assert await llm.complete(ASKED) == LLMAnswer("yes", TokenUsage(9, 2), "stop", "a-model")
        assert await llm.complete(LLMRequest(ASKED.messages, 5)) == await llm.complete(ASKED)
    sent = made.bodies[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is it good?"},
    ]
    assert (sent["max_tokens"], sent["temperature"], sent["seed"]) == (5, 0.7, 3)
    assert "seed" not in made.bodies[1] and not sent.get("stream")


async def test_a_model_that_calls_its_limit_by_the_new_name(anyio_backend: str) -> None:
    refused = failure(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
    async with endpoint(refused, answer()) as made, client(made) as llm:
        assert (await llm.complete(ASKED)).text == "yes"
        await llm.complete(ASKED)
    assert [body.get("max_completion_tokens") for body in made.bodies] == [None, 5, 5]


async def test_a_schema_is_asked_for_until_the_endpoint_refuses_it(anyio_backend: str) -> None:
    held = replace(ASKED, schema=json.dumps({"enum": ["yes", "no"]}))
    refused = failure(400, "response_format is not supported by this model")
    async with endpoint(answer(), refused, answer()) as made, client(made) as llm:
        for _ in range(3):
            assert (await llm.complete(held)).text == "yes"
        await llm.complete(ASKED)
    sent = [body.get("response_format") for body in made.bodies]
    assert [each and each["json_schema"]["schema"] for each in sent] == [
        *({"enum": ["yes", "no"]},) * 2,
        *(None,) * 3,
    ]


async def test_journals_know_requests_without_a_schema_as_before(anyio_backend: str) -> None:
    async with endpoint(answer()) as made, client(made) as llm:
        calls = Calls(Journal(None, ""), SearchBudget())
        await Asker(llm, calls).ask([ASKED])
        messages = [{"role": each.role, "content": each.content} for each in ASKED.messages]
        fields = {"messages": messages, "max_tokens": 5, "temperature": 0.7, "sample": 3}
        assert [*calls.journal.answers] == [digest([llm.name, fields])]


async def test_an_answer_without_text_or_usage(anyio_backend: str) -> None:
    async with endpoint(answer(None, usage=None)) as made, client(made) as llm:
        found = await llm.complete(ASKED)
    assert found.text == "" and found.usage == TokenUsage(ASKED.most_prompt_tokens, 5)


async def test_a_refusal_is_no_text(anyio_backend: str) -> None:
    status, body = answer(None)
    found = json.loads(body)
    found["choices"][0]["message"]["refusal"] = "I can't."
    async with endpoint((status, json.dumps(found))) as made, client(made) as llm:
        got = await llm.complete(ASKED)
    assert (got.text, got.finish_reason) == ("", "refusal")


async def test_it_can_be_asked_after_it_was_closed(anyio_backend: str) -> None:
    async with endpoint(answer()) as made, client(made) as llm:
        await llm.close()
        assert (await llm.complete(ASKED)).text == "yes"


async def test_an_answer_that_cannot_be_read_is_shown(anyio_backend: str) -> None:
    async with endpoint((200, '"<html>a proxy\\n</html>"')) as made, client(made) as llm:
        with pytest.raises(LLMError) as caught:
            await llm.complete(ASKED)
    assert caught.value.got == "<html>a proxy </html>"


@pytest.mark.parametrize(
    ("script", "what", "fatal", "unpaid"),
    [
        (failure(401), "does not accept the API key", True, True),
        (failure(404), "no such model, or nothing at this path", True, True),
        (failure(400, "too long"), "refuses the request", True, False),
        (failure(429), "limits requests", False, True),
        (failure(429, code="insufficient_quota"), "limits requests", True, True),
        (failure(500), "the endpoint failed", False, True),
        ((200, '{"choices": [{"mess'), "cannot be read", False, False),
        ((200, '{"choices": []}'), "not a chat completion", False, False),
        ((200, "[]"), "not a chat completion", False, False),
        ((200, '"<html>a proxy</html>"'), "not a chat completion", False, False),
        ((0, ""), "took too long", False, False),
    ],
)
async def test_failures(
    anyio_backend: str, script: tuple[int, str], what: str, fatal: bool, unpaid: bool
) -> None:
    async with endpoint(script) as made, client(made, seconds=0.5) as llm:
        with pytest.raises(LLMError, match=what) as caught:
            await llm.complete(ASKED)
    assert (caught.value.fatal, caught.value.unpaid) == (fatal, unpaid)
    assert made.url in str(caught.value.where) and len(made.bodies) == 1


async def test_an_address_where_nothing_is(anyio_backend: str) -> None:
    llm = OpenAILLM("a-model", "http://127.0.0.1:9/v1", seconds=2)
    with pytest.raises(LLMError, match="cannot be reached"):
        await llm.complete(ASKED)
    await llm.close()


async def asked(script: Sequence[tuple[int, str]], **limits: Any) -> tuple[Any, Calls, Endpoint]:
    """Two requests at once within a search."""
    calls = Calls(Journal(None, ""), SearchBudget(**limits))
    async with endpoint(*script) as made, client(made, seconds=0.5) as llm:
        asker = Asker(llm, calls, Price(1.0, 10.0), wait=0.0)
        requests = [ASKED, LLMRequest(ASKED.messages, 5, 0.7, 4)]
        return await asker.ask(requests), calls, made


async def test_failures_are_tried_again_and_paid_as_far_as_known(anyio_backend: str) -> None:
    script = [failure(429), failure(500), (200, "{"), answer()]
    found, calls, made = await asked(script)
    assert [each.text for each in found] == ["yes", "yes"] and len(made.bodies) == 5
    lost = Amount(1, ASKED.most_prompt_tokens + 5, ASKED.most_prompt_tokens + 50)
    assert calls.ledger.spent == Amount(4, 22, 58) + lost


async def test_another_model_than_before_ends_it(anyio_backend: str) -> None:
    with pytest.raises(LLMError, match="another model answers than before"):
        await asked([answer(), answer(model="b-model")])


async def test_more_tokens_than_asked_for_end_it(anyio_backend: str) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 9_000, "total_tokens": 9_009}
    with pytest.raises(LLMError, match="more tokens than the request can have"):
        await asked([answer(usage=usage)])


async def test_fewer_tokens_than_none_end_it(anyio_backend: str) -> None:
    usage = {"prompt_tokens": -50, "completion_tokens": -8, "total_tokens": -58}
    with pytest.raises(LLMError, match="a negative number of tokens"):
        await asked([answer(usage=usage)])


async def test_waiting_is_told_once_for_all_requests(anyio_backend: str) -> None:
    class Failing:
        """Fails at every request once, and only when both have been made."""

        name, at_once = "a-model", 2

        def __init__(self) -> None:
            self.met: set[LLMRequest] = set()
            self.both = asyncio.Event()

        def most_prompt_tokens(self, request: LLMRequest) -> int:
            return request.most_prompt_tokens

        async def complete(self, request: LLMRequest) -> LLMAnswer:
            if request in self.met:
                return LLMAnswer("yes", TokenUsage(9, 2))
            self.met.add(request)
            if len(self.met) == 2:
                self.both.set()
            await self.both.wait()
            raise LLMError("the endpoint failed", unpaid=True)

        async def close(self) -> None:
            pass

    told: list[dict[str, Any]] = []
    asker = Asker(Failing(), Calls(Journal(None, ""), SearchBudget()), wait=0.0, tell=told.append)
    found = await asker.ask([ASKED, LLMRequest(ASKED.messages, 5, 0.7, 4)])
    assert [each.text for each in found] == ["yes", "yes"]
    assert told == [{"event": "retry", "seconds": 0.0, "why": "the endpoint failed"}]


def test_no_key_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ConfigError, match="no key for OpenAI's endpoint"):
        OpenAILLM("gpt-4o")
    with pytest.raises(ConfigError, match="not an endpoint's address"):
        OpenAILLM("a-model", "localhost:8000")


def test_prices() -> None:
    dated = price_of("gpt-4o-mini-2024-07-18")
    assert dated is not None and dated == price_of("gpt-4o-mini") != price_of("gpt-4o")
    assert dated.of(TokenUsage(1_000_000, 1_000_000)) == 750_000
    assert dated.of(TokenUsage(1, 0)) == 1  # rounded up
    assert price_of("a-model") is None
    assert price_of("a-model", {"a-model": Price(1, 2)}) == Price(1, 2)
