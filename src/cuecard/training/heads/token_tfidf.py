"""Which tokens a pooled head counts.

Some tasks are told by single words that a backbone makes little of (names of products, rooms or
forms): there a linear model of words beats everything that reads hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.lazy import torch
from cuecard.types import TokenTfidf

# A token of fewer rows tells of those rows alone.
_LEAST_ROWS = 2
# The most common ones: a head has K weights for each.
_MOST_TOKENS = 2_048


def fit_tfidf(inputs: Sequence[tuple[int, ...]]) -> TokenTfidf | None:
    """TF-IDF of the tokens of some inputs, but those that are in all, such as a template's.

    idf is log((1 + n) / (1 + rows)) + 1, as scikit-learn's `smooth_idf` has it.

    Returns:
        None where there is nothing to count.
    """
    found = [token for ids in inputs for token in {*ids}]
    rows = torch.bincount(torch.tensor(found, dtype=torch.int64))
    telling = rows * ((rows >= _LEAST_ROWS) & (rows < len(inputs)))
    common = torch.argsort(telling, descending=True, stable=True)[:_MOST_TOKENS]
    ids = common[telling[common] > 0].sort().values
    if not len(ids):
        return None
    idf = ((1 + len(inputs)) / (1 + rows[ids])).log() + 1
    return TokenTfidf(ids, idf.float())
