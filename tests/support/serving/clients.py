"""Clients of a server whose registry is changed meanwhile; every answer is known beforehand."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psutil

from cuecard.registry import Registry
from support.serving.cases import QUESTIONS
from support.serving.changing_registry import Book, Mover
from support.serving.prompts import Known

EVERY = 25  # requests to a change of the registry
_TOLERANCE = 1e-4
# How many of each kind among so many requests.
_KINDS = {"classify": 6, "complete": 2, "chat": 2, "stream": 2, "cancel": 3, "unknown": 1}


@dataclass
class Tally:
    """What came of many requests.

    Attributes:
        asked: requests by kind.
        cancelled: of these, hung up on before the answer's end.
        answers: that were compared with the one got alone.
        crossed: answers of another prompt than the one they name.
        wrong: other answers than the one got alone, crossed ones left out.
        stale: by a version that the alias led to no more, or did not yet.
        gone: 404 for a version that was deleted meanwhile.
        errors: any other status than the right one.
        added, removed, moved: changes of the registry.
        rss: bytes of the server's processes, from time to time.
    """

    asked: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    answers: int = 0
    crossed: int = 0
    wrong: int = 0
    stale: int = 0
    gone: int = 0
    errors: list[str] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    moved: int = 0
    rss: list[int] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """All kinds together."""
        return self.asked.total()

    def report(self) -> str:
        """As JSON; memory in MB: after a tenth of the requests, at most, and at the end."""
        early = self.rss[len(self.rss) // 10]
        memory = [round(each / 1e6) for each in (early, max(self.rss), self.rss[-1])]
        told = {"requests": self.requests, **vars(self), "errors": len(self.errors), "rss": memory}
        return json.dumps(told)


async def churned(
    url: str, pid: int, registry: Registry, books: Sequence[Book], *, requests: int, clients: int
) -> Tally:
    """That many requests of so many clients at once, and a change of the registry every few.

    A client that is further than five changes ahead waits, so that both come to their numbers.
    """
    tally, left = Tally(), iter(range(requests))
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=2 * clients)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        asking = Asking(http, books, tally)
        mover = Mover(registry, books, asking.root)
        room = asyncio.Semaphore(5 * EVERY)

        async def client(number: int) -> None:
            rng = random.Random(f"client {number}")
            for _ in left:
                await room.acquire()
                await asking.one(rng)

        async def moving() -> None:
            rng = random.Random("mover")
            for number in range(requests // EVERY):
                await mover.move(number, rng)
                tally.rss.append(memory_of(pid))
                for _ in range(EVERY):
                    room.release()

        await asyncio.gather(moving(), *(client(number) for number in range(clients)))
    tally.added, tally.removed, tally.moved = mover.added, mover.removed, mover.moved
    return tally


def memory_of(pid: int) -> int:
    """Bytes in memory of a process and of those that it began."""
    server = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [server, *server.children(recursive=True)])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, and where its alias led when it began."""

    book: Book
    number: int | None
    first: int

    @property
    def model(self) -> str:
        """As the request calls it."""
        return self.book.alias if self.number is None else f"{self.book.name}@{self.number}"


class Asking:
    """Sends requests and judges their answers."""

    def __init__(self, http: httpx2.AsyncClient, books: Sequence[Book], tally: Tally) -> None:
        self._http, self._tally = http, tally
        self._labelling = [book for book in books if _kind_of(book) == "labels"]
        self._writing = [book for book in books if _kind_of(book) == "texts"]
        self._books = books
        self._asked = {
            "classify": self._classify,
            "complete": self._complete,
            "chat": self._chat,
            "stream": self._stream,
            "cancel": self._cancel,
            "unknown": self._unknown,
        }

    async def root(self, model: str) -> str | None:
        """The version that a model's name means now."""
        reply = await self._http.get(f"/v1/models/{model}")
        return reply.json()["root"] if reply.status_code == 200 else None

    async def one(self, rng: random.Random) -> None:
        """One request of any kind."""
        kind = rng.choices([*_KINDS], [*_KINDS.values()])[0]
        self._tally.asked[kind] += 1
        await self._asked[kind](rng)

    async def _classify(self, rng: random.Random) -> None:
        wanted = [self._wanted(rng, self._labelling) for _ in range(rng.randint(1, 2))]
        texts = [rng.choice(QUESTIONS) for _ in range(rng.randint(1, 3))]
        body = {"model": [each.model for each in wanted], "input": texts}
        reply = await self._http.post("/v1/classify", json=body)
        if not self._right_status(reply, wanted):
            return
        rows = reply.json()["data"]
        asked = [(text, each) for text in texts for each in wanted]
        for row, (text, each) in zip(rows, asked, strict=True):
            known = self._named(row["version"], row["digest"], each)
            if known is not None and text in known.scores:
                scores = row["scores"]
                self._judge(known, lambda k: k.scored(text, scores, _TOLERANCE))  # noqa: B023

    async def _complete(self, rng: random.Random) -> None:
        wanted, text = self._wanted(rng, self._writing), rng.choice(QUESTIONS)
        body = {"model": wanted.model, "prompt": text}
        reply = await self._http.post("/v1/completions", json=body)
        if self._right_status(reply, [wanted]):
            self._read(reply.json(), reply.json()["choices"][0]["text"], text, wanted)

    async def _chat(self, rng: random.Random) -> None:
        wanted, text = self._wanted(rng, self._writing), rng.choice(QUESTIONS)
        body = {"model": wanted.model, "messages": [{"role": "user", "content": text}]}
        reply = await self._http.post("/v1/chat/completions", json=body)
        if self._right_status(reply, [wanted]):
            content = reply.json()["choices"][0]["message"]["content"]
            self._read(reply.json(), content, text, wanted)

    async def _stream(self, rng: random.Random) -> None:
        await self._streamed(rng, None)

    async def _cancel(self, rng: random.Random) -> None:
        """Hang up on a stream, or on a request whose answer is still waited for."""
        if rng.random() < 0.6:
            await self._streamed(rng, rng.randint(0, 3))
            return
        kind = rng.choice((self._classify, self._complete))
        asked = asyncio.create_task(kind(rng))
        await asyncio.wait([asked], timeout=rng.random() * 0.1)
        self._tally.cancelled += asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked

    async def _unknown(self, rng: random.Random) -> None:
        model = rng.choice(("nobody", "name-0@99999", "name-1@nowhere"))
        body = {"model": model, "prompt": "good"}
        reply = await self._http.post("/v1/completions", json=body)
        if reply.status_code != 404 or reply.json()["error"]["code"] != "model_not_found":
            self._tally.errors.append(reply.text)

    async def _streamed(self, rng: random.Random, most: int | None) -> None:
        wanted, text = self._wanted(rng, self._writing), rng.choice(QUESTIONS)
        body = {"model": wanted.model, "prompt": text, "stream": True}
        said, head, ended = "", None, False
        async with self._http.stream("POST", "/v1/completions", json=body) as reply:
            if reply.status_code != 200:
                await reply.aread()
            if not self._right_status(reply, [wanted]):
                return
            lines = (line.removeprefix("data: ") async for line in reply.aiter_lines() if line)
            async for line in lines:
                if ended := line == "[DONE]":
                    break
                if most is not None and most == 0:
                    break
                head = json.loads(line)
                if "error" in head:
                    self._tally.errors.append(line)
                    return
                said += head["choices"][0]["text"]
                most = None if most is None else most - 1
        self._tally.cancelled += not ended
        if most is None and not ended:
            self._tally.errors.append("a stream without an end")
        if head is not None:
            self._read(head, said, text, wanted, whole=ended)

    def _wanted(self, rng: random.Random, books: Sequence[Book]) -> Wanted:
        book = rng.choice(books)
        number = rng.choice(sorted(book.live)) if rng.random() < 0.5 else None
        return Wanted(book, number, book.shown)

    def _right_status(self, reply: httpx2.Response, wanted: Sequence[Wanted]) -> bool:
        """Whether there is an answer; what may not be is an error."""
        if reply.status_code == 200:
            return True
        gone = any(each.number not in {None, *each.book.live} for each in wanted)
        if reply.status_code == 404 and gone:
            self._tally.gone += 1
        else:
            self._tally.errors.append(f"{reply.status_code} {reply.text}")
        return False

    def _read(
        self, reply: Any, said: str, text: str, wanted: Wanted, *, whole: bool = True
    ) -> None:
        known = self._named(reply["model"], reply["system_fingerprint"], wanted)
        if known is not None and text in known.texts:
            self._judge(known, lambda k: k.wrote(text, said, whole=whole))

    def _named(self, version: str, digest: str, wanted: Wanted) -> Known | None:
        """The prompt that an answer says it is of, if it may be."""
        name, _, number = version.partition("@")
        allowed = {wanted.number}
        if wanted.number is None:
            allowed = {*wanted.book.may_lead_to(wanted.first)}
        known = wanted.book.versions.get(int(number))
        if name != wanted.book.name or int(number) not in allowed or known is None:
            self._tally.stale += 1
            return None
        if known.digest != digest:
            self._tally.crossed += 1
            return None
        return known

    def _others(self, known: Known) -> list[Known]:
        every = {
            other.digest: other
            for book in self._books
            for other in [*book.versions.values(), *book.left]
        }
        return [other for other in every.values() if other.digest != known.digest]

    def _judge(self, known: Known, gave: Callable[[Known], bool]) -> None:
        """Count an answer; `gave` tells whether a prompt gives it."""
        self._tally.answers += 1
        if gave(known):
            return
        if any(gave(other) for other in self._others(known)):
            self._tally.crossed += 1
        else:
            self._tally.wrong += 1


def _kind_of(book: Book) -> str:
    known = next(iter(book.versions.values()))
    return "labels" if known.scores else "texts"
