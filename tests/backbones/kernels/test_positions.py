from __future__ import annotations

import torch

from cuecard.backbones.kernels.positions import (
    NOTHING_SHARED,
    SplitPlacement,
    align_left,
    lay_out,
    plan_sharing,
    split_placement,
)
from cuecard.types import Batch


def test_align_left_drops_padding_on_either_side() -> None:
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 0], [1, 2, 3, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    none = torch.zeros(0, dtype=torch.long)
    aligned, lengths = align_left(Batch(ids, mask, none, none, none, none, none))
    assert lengths.tolist() == [2, 3, 4]
    assert [row[:n].tolist() for row, n in zip(aligned, lengths, strict=True)] == [
        [5, 6],
        [7, 8, 9],
        [1, 2, 3, 4],
    ]


def plan(rows: list[list[int]], slot: list[int], read: list[int], prompt: int) -> tuple[int, bool]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    found = plan_sharing(ids, lengths, torch.tensor(slot), torch.tensor(read), prompt)
    return found.tokens, found.prompt


def test_a_prefix_prompt_and_the_common_words_behind_it_are_shared() -> None:
    rows = [[1, 2, 3, 9], [1, 2, 3, 8, 7]]
    assert plan(rows, [0, 0], [4, 5], 100) == (3, True)


def test_a_suffix_prompt_leaves_the_common_words_shared() -> None:
    rows = [[*range(1, 81), 5], [*range(1, 81), 6, 7]]
    assert plan(rows, [81, 82], [81, 82], 20) == (80, False)


def test_an_infix_prompt_inside_the_common_words_is_shared() -> None:
    rows = [[1, 2, 3, 9], [1, 2, 3, 8]]
    assert plan(rows, [2, 2], [4, 4], 100) == (3, True)


def test_the_token_before_the_first_read_stays_with_its_row() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert plan(rows, [0, 0], [4, 4], 100) == (3, True)
    assert plan(rows, [0, 0], [2, 4], 100) == (1, True)


def test_nothing_is_shared_where_it_cannot_pay() -> None:
    same = torch.tensor([[1, 2, 3]])
    one = torch.tensor([3])
    assert plan_sharing(same, one, torch.tensor([0]), one, 500) is NOTHING_SHARED
    assert plan([[1, 2], [1, 3]], [0, 0], [2, 2], 4) == (0, False)


def test_a_read_right_behind_the_prompt_shares_nothing() -> None:
    assert plan([[1, 2], [1, 3]], [0, 0], [0, 2], 400) == (0, False)


def test_rows_open_places_at_the_slot() -> None:
    lengths, slot = torch.tensor([3, 1]), torch.tensor([1, 1])
    rows = lay_out(lengths, slot, 2, "right")
    assert rows.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert rows.is_prompt.tolist() == [
        [False, True, True, False, False],
        [False, True, True, False, False],
    ]
    assert rows.token_index[0].tolist()[0] == 0 and rows.token_index[0].tolist()[3:] == [1, 2]
    assert rows.prompt_index[0, 1:3].tolist() == [0, 1]
    left = lay_out(lengths, slot, 2, "left")
    assert left.mask.tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert left.is_prompt[1].tolist() == [False, False, False, True, True]


def test_rows_open_several_places() -> None:
    lengths, slots = torch.tensor([3, 2]), torch.tensor([[0, 2], [1, 2]])
    apart = SplitPlacement(slots, (1, 2))
    for side, first in (("right", 0), ("left", 1)):
        rows = lay_out(lengths, slots[:, 0], 3, side, apart)
        seen = [
            [
                ("p", int(rows.prompt_index[row, at]))
                if rows.is_prompt[row, at]
                else ("t", int(rows.token_index[row, at]))
                for at in rows.mask[row].nonzero().flatten().tolist()
            ]
            for row in range(2)
        ]
        assert seen[0] == [("p", 0), ("t", 0), ("t", 1), ("p", 1), ("p", 2), ("t", 2)]
        assert seen[1] == [("t", 0), ("p", 0), ("t", 1), ("p", 1), ("p", 2)]
        assert rows.mask[1].tolist() == ([0] * first + [1] * 5 + [0] * (1 - first))
    before = apart.before(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 0, 1]))
    assert before.tolist() == [1, 1, 3, 3]


def test_one_place_in_two_pieces_is_one_place() -> None:
    lengths, slot = torch.tensor([4, 2, 1]), torch.tensor([2, 0, 1])
    pieces = SplitPlacement(torch.stack([slot, slot], 1), (1, 2))
    one, two = lay_out(lengths, slot, 3, "left"), lay_out(lengths, slot, 3, "left", pieces)
    assert torch.equal(one.mask, two.mask) and torch.equal(one.is_prompt, two.is_prompt)
    token, real = ~one.is_prompt & one.mask.bool(), one.is_prompt
    assert torch.equal(one.token_index[token], two.token_index[token])
    assert torch.equal(one.prompt_index[real], two.prompt_index[real])


def test_only_several_places_are_apart() -> None:
    slots = torch.tensor([[0, 2], [1, 3]])
    assert (
        split_placement(slots[:, :1], (), 5) is None
        and split_placement(slots[:, :1], (5,), 5) is None
    )
    assert split_placement(slots, (), 0) is None
    found = split_placement(slots, (), 5)
    assert found is not None and found.sizes == (3, 2)
    assert found.slots.tolist() == [[0, 2], [1, 3]]
    assert found.behind(1).slots.tolist() == [[-1, 1], [0, 2]]
