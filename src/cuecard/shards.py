"""Work that is dealt out among processes that need not know of each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from cuecard.errors import ConfigError

FLAG = "--shard"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several shares of the same work; together they are all of it, each item once.

    Attributes:
        index: from 0, as Slurm's arrays and Kubernetes' indexed jobs count.
        count: how many there are.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, where: str = FLAG) -> Self:
        """ "0/4" as the first of four shards.

        Raises:
            ConfigError: another form, or an index that is not below the count.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        index, count = map(int, found.groups()) if found else (0, 0)
        if index >= count:
            raise ConfigError(
                "not a shard",
                where=where,
                got=text,
                expected="INDEX/COUNT with the index below the count: 0/4, 1/4, 2/4 and 3/4",
            )
        return cls(index, count)

    def block(self, items: int) -> slice:
        """Its share of items whose order matters: neighbours, so that the shards can be joined.

        The sizes of any two shards differ by one at most.
        """
        return slice(
            self.index * items // self.count,
            (self.index + 1) * items // self.count,
        )

    def dealt(self, items: int) -> tuple[int, ...]:
        """The numbers of its share of items that cost unlike: dealt there and back.

        A plain deal would give one shard all the dear ones where cost goes by the place in a round.
        """
        return tuple(n for n in range(items) if self._takes(*divmod(n, self.count)))

    def _takes(self, deal: int, place: int) -> bool:
        return (self.count - 1 - place if deal % 2 else place) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
