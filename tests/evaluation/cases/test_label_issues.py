"""Confident learning against a count by hand, and on labels that are known to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.evaluation.cases.label_issues import find_label_issues

LABELS = ("a", "b", "c")


def test_a_count_by_hand() -> None:
    own = ["a", "a", "a", "b", "b", "c"]
    shares = [
        {"a": 0.9, "b": 0.1},
        {"a": 0.7, "b": 0.3},
        {"a": 0.2, "b": 0.8},  # t_a = 0.6, t_b = 0.55: it counts as b
        {"a": 0.4, "b": 0.6},
        {"a": 0.5, "b": 0.5},  # reaches neither
        {"a": 0.65, "b": 0.15, "c": 0.2},  # t_c = 0.2 is reached, but a is likelier
    ]
    found = find_label_issues(LABELS, own, shares)
    assert [(issue.row, issue.suggested) for issue in found.found] == [(2, "b"), (5, "a")]
    assert [issue.margin for issue in found.found] == pytest.approx([0.6, 0.45])
    # Joint: a 2 of 3 on the diagonal, b 1 of 1, c 0 of 1; calibrated to 3, 2 and 1 rows.
    assert found.noise == pytest.approx(1 - (2 + 2 + 0) / 6)


def test_no_rows_and_labels_without_rows() -> None:
    assert find_label_issues(LABELS, [], []).found == ()
    found = find_label_issues(LABELS, ["a", "b"], [{"a": 0.1, "c": 0.9}, {"b": 0.2, "c": 0.8}])
    assert found.found == () and found.noise == 0.0  # nothing says how likely a c has to be


def test_flipped_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=600)
    logits = rng.normal(size=(600, 3)) + 4.0 * np.eye(3)[truth]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.random(600) < 0.1
    given_labels = np.where(flipped, (truth + 1) % 3, truth)
    found = find_label_issues(
        LABELS,
        [LABELS[n] for n in given_labels],
        [dict(zip(LABELS, map(float, row), strict=True)) for row in shares],
    )
    named = {issue.row for issue in found.found}
    wrong = set(np.flatnonzero(flipped).tolist())
    right = len(named & wrong)
    assert right / len(wrong) > 0.85 and right / len(named) > 0.85
    assert abs(found.noise - flipped.mean()) < 0.03
    suggested = {issue.row: issue.suggested for issue in found.found}
    assert all(suggested[n] == LABELS[truth[n]] for n in named & wrong)


rows = st.lists(
    st.tuples(st.sampled_from(LABELS), st.tuples(*[st.integers(1, 20)] * 3)), min_size=1, max_size=8
)


@settings(max_examples=60)
@given(rows)
def test_it_is_the_definition(drawn: list[tuple[str, tuple[int, ...]]]) -> None:
    own = [label for label, _ in drawn]
    shares = [{n: x / sum(w) for n, x in zip(LABELS, w, strict=True)} for _, w in drawn]
    least = {
        label: float(np.mean([s[label] for s, o in zip(shares, own, strict=True) if o == label]))
        for label in set(own)
    }
    expected = []
    for number, share in enumerate(shares):
        reached = [n for n in LABELS if n in least and share[n] >= least[n] - 1e-12]
        best = max(reached, key=lambda n: share[n], default=own[number])
        if best != own[number]:
            expected.append((number, best))
    found = find_label_issues(LABELS, own, shares).found
    assert sorted((issue.row, issue.suggested) for issue in found) == expected
    margins = [issue.margin for issue in found]
    assert margins == sorted(margins, reverse=True)
