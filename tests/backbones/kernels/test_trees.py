"""Words run as a tree behind their context give what each gives as a row of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.encoding.word_reads import LabelTrie, collate_words, layout_for
from cuecard.types import Encoded, InputTokens, LayerTokens, Placement, PrefixKV
from support.tiny import CONFIGS, MASKED, SEQ2SEQ, tiny_backbone

WORDS = [(7, 8, 9), (7, 8), (7, 10, 11, 12), (13,), (7, 8, 14, 15), (16, 17)]
CONTEXTS = [(5, 6, 30, 31, 32), (5, 6, 40), (5, 6, 50, 51, 52, 53, 54, 55)]


def rows_of(slot: str, mask: bool = False) -> list[Encoded]:
    return [
        Encoded(
            ids, (), Placement.at(len(ids) if slot == "suffix" else 0), mask=2 if mask else None
        )
        for ids in CONTEXTS
    ]


def drawn(*shape: int) -> torch.Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.4
    return found.requires_grad_(True)


def injection_of(kind: str) -> tuple[Any, torch.Tensor]:
    if kind == "tokens":
        given = drawn(3, 32)
        return InputTokens(given), given
    if kind == "shifts":
        given = drawn(9, 32)
        return InputTokens(drawn(2, 32).detach(), shifts=given), given
    if kind == "layers":
        given = drawn(2, 3, 32)
        return LayerTokens(given), given
    given = drawn(2, 2, 2, 3, 8)
    return PrefixKV(given), given


def apart(backbone: Any, rows: list[Encoded], injection: Any) -> torch.Tensor:
    """One row for each record and word."""
    sums = []
    for row in rows:
        batch = collate([(row, word) for word in WORDS])
        (reads,) = backbone.read_many([(batch, injection)])
        logs = -reads.nll(batch.target_ids)
        sums.append(logs.new_zeros(len(WORDS)).index_add(0, batch.read_rows, logs))
    return torch.cat(sums).double()


def together(backbone: Any, rows: list[Encoded], injection: Any) -> torch.Tensor:
    pairs = [(row, WORDS) for row in rows]
    made = collate_words(pairs, layout_for(backbone, pairs, injection))
    (reads,) = backbone.read_many([(made.batch, injection)])
    return made.sums(reads)


CASES = [
    *((kind, slot, "tokens") for kind in CONFIGS for slot in ("prefix", "suffix")),
    *(("llama", "prefix", form) for form in ("shifts", "layers", "keys-values")),
    ("mistral-sliding", "suffix", "layers"),
    *((kind, "prefix", "tokens") for kind in (*MASKED, *SEQ2SEQ)),
]


@pytest.mark.parametrize(("kind", "slot", "form"), CASES)
def test_scores_and_gradients_are_those_of_single_rows(kind: str, slot: str, form: str) -> None:
    backbone = tiny_backbone(kind)
    rows = rows_of(slot, mask=kind in MASKED)
    weights = torch.linspace(-1, 1, len(WORDS) * len(rows)).double()
    grads = []
    for run in (apart, together):
        injection, given = injection_of(form)
        found = run(backbone, rows, injection)
        (found * weights).sum().backward()
        grads.append(given.grad)
        if run is apart:
            expected = found.detach()
    torch.testing.assert_close(found.detach(), expected, atol=2e-5, rtol=1e-5)
    assert float((grads[1] - grads[0]).norm() / grads[0].norm()) < 1e-5


def test_a_tree_behind_remembered_inputs() -> None:
    backbone = tiny_backbone()
    rows = rows_of("suffix")
    injection, _ = injection_of("tokens")
    expected = apart(backbone, rows, injection)
    backbone.remember([row.context for row in rows])
    try:
        backbone.reset_counts()
        found = together(backbone, rows, injection)
        tokens = len(LabelTrie.of(WORDS).tokens)
        assert backbone.counts["remembered"] == sum(map(len, CONTEXTS))
        assert backbone.counts["tokens"] <= sum(map(len, CONTEXTS)) + 3 * (3 + tokens)
    finally:
        backbone.remember(())
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_a_front_runs_once_for_all_passes() -> None:
    backbone = tiny_backbone("mistral-sliding")
    head = tuple(range(20, 32))
    rows = [Encoded((*head, *ids), ()) for ids in CONTEXTS]
    for form in ("tokens", "layers", "keys-values"):
        injection, _ = injection_of(form)
        with torch.inference_mode():
            plain = [together(backbone, [row], injection) for row in rows]
            backbone.reset_counts()
            with backbone.sharing(rows, injection):
                found = [together(backbone, [row], injection) for row in rows]
        vectors = 0 if form == "keys-values" else 3
        front = len(head) + 2 + vectors  # the contexts have two more tokens in common
        own = sum(len(ids) - 2 + len(LabelTrie.of(WORDS).tokens) for ids in CONTEXTS)
        assert backbone.counts["tokens"] == front + own
        for ours, theirs in zip(found, plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_a_front_is_not_for_other_rows_or_other_prompts() -> None:
    backbone = tiny_backbone()
    rows = rows_of("prefix")
    mine, other = injection_of("tokens")[0], InputTokens(drawn(3, 32) * 2)
    strange = [Encoded((9, 9, 9, 9), ())]
    with torch.inference_mode():
        expected = together(backbone, rows, other), together(backbone, strange, mine)
        with backbone.sharing(rows, mine):
            found = together(backbone, rows, other), together(backbone, strange, mine)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_front_is_not_trained_through() -> None:
    backbone, rows = tiny_backbone(), rows_of("prefix")
    injection, given = injection_of("tokens")
    with backbone.sharing(rows, injection):
        together(backbone, rows, injection).sum().backward()
    assert given.grad is not None and float(given.grad.norm()) > 0


def test_words_as_a_tree() -> None:
    tree = LabelTrie.of([(1, 2, 3), (1, 2), (1, 4), (5,)])
    assert tree.tokens == (1, 2) and tree.follows == (-1, 0)
    assert tree.edges == ((-1, 1), (0, 2), (1, 3), (0, 4), (-1, 5))
    assert tree.paths == ((0, 1, 2), (0, 1), (0, 3), (4,))
    assert tree.lines() == [[0, 1]]
    assert LabelTrie.of([(1,), (2,)]).lines() == [[]]


@pytest.mark.parametrize("form", ["tokens", "layers", "keys-values", "shifts"])
@pytest.mark.parametrize("kind", ["llama", "mistral-sliding"])
def test_contexts_run_once_and_are_kept(kind: str, form: str) -> None:
    backbone = tiny_backbone(kind)
    head = tuple(range(20, 32))
    rows = [Encoded((*head, *ids), ()) for ids in [*CONTEXTS, (60,)]]
    injection, _ = injection_of(form)
    with torch.inference_mode():
        plain = together(backbone, rows, injection)
        backbone.reset_counts()
        with backbone.sharing(rows, injection), backbone.sharing(rows, injection, contexts=True):
            once = backbone.counts["tokens"]
            found = [together(backbone, rows, injection) for _ in range(2)]
    vectors = {"tokens": 3, "layers": 3, "keys-values": 0, "shifts": 2}[form]
    tree, kept = len(LabelTrie.of(WORDS).tokens), form != "shifts"
    own = sum(len(row.context) - len(head) for row in rows)
    assert once == vectors + len(head) + kept * (own - len(rows))
    each = len(rows) * (1 + tree) if kept else own + len(rows) * tree
    assert backbone.counts["tokens"] == once + 2 * each
    for ours in found:
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-5)
