"""A task's own head, and what it reads besides hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenTfidf:
    """TF-IDF of an input's tokens: (1 + log count) * idf, of unit length.

    As scikit-learn's `TfidfVectorizer(sublinear_tf=True)` has it, of tokens instead of words.

    Attributes:
        ids: [V] int64 the tokens that are counted, ascending.
        idf: [V] float32 their inverse document frequencies.
    """

    ids: Tensor
    idf: Tensor

    def __call__(self, inputs: Sequence[tuple[int, ...]]) -> Tensor:
        """[n, V] float32, on the CPU; zeros for an input with none of the tokens."""
        counts = torch.zeros(len(inputs), len(self.ids))
        size = int(self.ids[-1]) + 1
        for row, input_ids in zip(counts, inputs, strict=True):
            found = torch.bincount(torch.tensor(input_ids, dtype=torch.int64), minlength=size)
            row += found[self.ids]
        weighed = torch.where(counts > 0, (1 + counts.clamp(min=1).log()) * self.idf, 0.0)
        return torch.nn.functional.normalize(weighed)


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer of the task's own on the hidden states at the reads, beside the LM head.

    Attributes:
        weight: [K, H] float32; of a pooled head [K, H + F + V].
        bias: [K] float32.
        layers: the layers whose values a pooled head reads, F numbers of all of them, see
            `Backbone.value_means`; empty for another head.
        tfidf: of the V tokens that a pooled head counts; None for one that counts none.
        of_labels: whether it is what a model's tower makes of the labels' names, [K, D]; it reads
            the unit vectors that the model makes of images.
        each: whether each output reads a number of its own, with a weight [K, 1]: the cosine of an
            image and a label's name, which a prompt that the image moves leaves at the read.
    """

    weight: Tensor
    bias: Tensor
    layers: tuple[int, ...] = ()
    tfidf: TokenTfidf | None = None
    of_labels: bool = False
    each: bool = False

    def __call__(self, states: Tensor) -> Tensor:
        """[N, K] of states [N, H], or of states, means and TF-IDF [N, H + F + V]."""
        weight, bias = (tensor.to(states.device) for tensor in (self.weight, self.bias))
        if self.each:
            return states * weight[:, 0] + bias
        return torch.nn.functional.linear(states, weight, bias)
