"""A registry that is changed under a server, and what may be answered under each of its names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cuecard.registry import Registry
from cuecard.registry.records.aliases import history
from support.serving.prompts import Known

ALIAS = "production"
_FEWEST = 2  # versions that a name keeps


@dataclass
class Book:
    """One name of the registry.

    Attributes:
        left: prompts that can be pushed.
        versions: every version that ever was.
        live: those that are served, and stay.
        led: where the alias led, the newest last.
        shown: the last of these that the server was seen to answer with.
    """

    name: str
    left: list[Known]
    versions: dict[int, Known] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)
    led: list[int] = field(default_factory=list)
    shown: int = 0

    @property
    def alias(self) -> str:
        """What the alias is called in a request."""
        return f"{self.name}@{ALIAS}"

    def may_lead_to(self, first: int) -> set[int]:
        """The versions that a request may meet which began when `shown` was `first`."""
        return set(self.led[first:])


class Mover:
    """Adds versions, moves aliases and deletes versions, in turn.

    Args:
        root: asks the server which version a model's name means; None for none.
    """

    def __init__(
        self,
        registry: Registry,
        books: Sequence[Book],
        root: Callable[[str], Awaitable[str | None]],
    ) -> None:
        self._registry, self._books, self._root = registry, books, root
        self.added = self.removed = self.moved = 0

    async def move(self, number: int, rng: random.Random) -> None:
        """One change, and wait until it is served."""
        book = rng.choice(self._books)
        full, bare = not book.left, len(book.live) <= _FEWEST
        if number % 2:
            await self._lead(book, rng)
        elif full or (number % 4 and not bare):
            await self._remove(book, rng)
        else:
            await self._add(book, rng)

    async def _add(self, book: Book, rng: random.Random) -> None:
        known = book.left.pop(rng.randrange(len(book.left)))
        pushed = await asyncio.to_thread(self._registry.push, known.folder, book.name)
        number = pushed.version.number
        await self._until(f"{book.name}@{number}", number, book)
        book.versions[number] = known
        book.live.add(number)
        self.added += 1

    async def _lead(self, book: Book, rng: random.Random) -> None:
        past = history(await asyncio.to_thread(self._registry.log, book.name, ALIAS))
        back = past[-2] if len(past) > 1 else None
        if back in book.live and rng.random() < 0.5:
            book.led.append(back)
            await asyncio.to_thread(self._registry.rollback, book.name, ALIAS, why="a try")
        else:
            book.led.append(rng.choice(sorted(book.live - {book.led[-1]})))
            reference = f"{book.name}@{book.led[-1]}"
            await asyncio.to_thread(self._registry.promote, reference, ALIAS)
        await self._until(book.alias, book.led[-1], book)
        book.shown = len(book.led) - 1
        self.moved += 1

    async def _remove(self, book: Book, rng: random.Random) -> None:
        number = rng.choice(sorted(book.live - {book.led[-1]}))
        book.live.remove(number)
        book.left.append(book.versions[number])
        await asyncio.to_thread(self._registry.delete, f"{book.name}@{number}", why="a try")
        self.removed += 1

    async def _until(self, model: str, number: int, book: Book) -> None:
        while await self._root(model) != f"{book.name}@{number}":
            await asyncio.sleep(0.02)


def make_books(registry: Registry, pool: Sequence[Known], names: int) -> list[Book]:
    """The pool dealt out to so many names, half of each pushed, an alias at each one's first.

    A name's prompts are of one kind.
    """
    books = [Book(f"name-{number}", []) for number in range(names)]
    labelling = [known for known in pool if known.scores]
    writing = [known for known in pool if known.texts]
    for kind, its in ((labelling, books[::2]), (writing, books[1::2])):
        for number, known in enumerate(kind):
            its[number % len(its)].left.append(known)
    for book in books:
        for _ in range(len(book.left) // 2):
            known = book.left.pop()
            version = registry.push(known.folder, book.name).version.number
            book.versions[version] = known
        book.live = set(book.versions)
        registry.promote(f"{book.name}@1", ALIAS)
        book.led = [1]
    return books
