"""Solved records chosen by their vectors: typical ones of each label, or ones that differ most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import short_records
from cuecard.lazy import functional, np, torch
from cuecard.search.searcher import SearchState
from cuecard.tasks.encoding.tokens import plain_ids
from cuecard.types import Backbone, Record

if TYPE_CHECKING:
    from torch import Tensor

# Records that are looked at, and the least of each label.
_POOL, _LEAST = 256, 16
# Records that a diverse choice begins at, from the most typical on.
_STARTS = 8


class ChosenRecords:
    """Records of all labels, in orders by their vectors: nothing is run, and nothing is paid.

    A record's vector is the mean of the backbone's input embeddings of its tokens, without what
    all records have in common (Arora et al. 2017, "A Simple but Tough-to-Beat Baseline for Sentence
    Embeddings").

    Args:
        state: of any round of the search.

    Raises:
        ConfigError: no backbone in this process.
    """

    def __init__(self, state: SearchState) -> None:
        if state.model is None:
            raise ConfigError(
                "demonstrations are chosen by vectors of a backbone in this process",
                where="--show",
                got="an LLM elsewhere answers",
                expected="--show random",
            )
        groups = short_records(state.train, state.spec)
        rng = np.random.default_rng((state.settings.seed, len(groups)))
        most = max(_LEAST, _POOL // len(groups))
        self._pools = [
            [group[int(n)] for n in rng.permutation(len(group))[:most]] for group in groups
        ]
        names = state.spec.field_names
        texts = ["\n".join(r.texts[name] for name in names) for p in self._pools for r in p]
        found = text_vectors(state.model.backbone, texts)
        self._vectors = torch.split(found, [len(pool) for pool in self._pools])
        self._typical = [_typical(each) for each in self._vectors]

    def typical(self, count: int, number: int) -> tuple[Record, ...]:
        """Those nearest to their label's mean, the labels in turn.

        As the demonstrations nearest to a cluster's centre in Zhang et al. 2022 (arXiv:2210.03493,
        section 4), with a cluster a label.

        Args:
            number: of the choice: later ones go on where those before them ended.
        """
        first = number * -(-count // len(self._pools))
        return self._in_turn([pile[first % len(pile) :] + pile for pile in self._typical], count)

    def diverse(self, count: int, number: int) -> tuple[Record, ...]:
        """Those that are each the farthest from all of their label before them (Gonzalez 1985).

        Args:
            number: of the choice: other ones begin at other records.
        """
        share = number % _STARTS / _STARTS
        pairs = zip(self._vectors, self._typical, strict=True)
        piles = [_spread(each, order[int(share * len(order))], count) for each, order in pairs]
        return self._in_turn(piles, count)

    def _in_turn(self, piles: list[list[int]], count: int) -> tuple[Record, ...]:
        chosen: dict[tuple[int, int], Record] = {}
        for place in range(max(map(len, piles))):
            for group, pile in enumerate(piles):
                if place < len(pile) and len(chosen) < count:
                    chosen[group, pile[place]] = self._pools[group][pile[place]]
        return tuple(chosen.values())


def text_vectors(backbone: Backbone, texts: list[str]) -> Tensor:
    """[n, H] float32 vectors of unit length: means of input embeddings, without their mean."""
    means = []
    for text in texts:
        ids = plain_ids(backbone.tokenizer, text) or (0,)
        means.append(backbone.embeddings[torch.tensor(ids, device=backbone.embeddings.device)])
    found = torch.stack([each.float().mean(0) for each in means]).cpu()
    return functional.normalize(found - found.mean(0), dim=1)


def _typical(vectors: Tensor) -> list[int]:
    """The nearest to the mean first."""
    near = vectors @ vectors.mean(0)
    return [int(at) for at in near.argsort(descending=True, stable=True)]


def _spread(vectors: Tensor, first: int, count: int) -> list[int]:
    """From one on, each the farthest from all before it."""
    order, near = [first], vectors @ vectors[first]
    while len(order) < min(count, len(vectors)):
        near[order] = torch.inf
        order.append(int(near.argmin()))
        near = torch.maximum(near, vectors @ vectors[order[-1]])
    return order
