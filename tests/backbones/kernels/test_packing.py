from __future__ import annotations

import torch

from cuecard.backbones.kernels.packing import Packing


def packing(shared: int = 2) -> Packing:
    return Packing.of(shared, torch.tensor([3, 1, 2]))


def test_positions_count_the_shared_part_in() -> None:
    assert packing().positions().tolist() == [[0, 1, 2, 3, 4, 2, 2, 3]]
    assert packing().starts.tolist() == [2, 5, 6]


def test_every_row_of_the_stream_is_found_again() -> None:
    heads, keys = 4, 2
    gathers = packing().heads(heads, keys)
    stream = torch.arange(6 * heads)
    assert torch.equal(stream[gathers.queries][gathers.queries_back], stream)
    stream = torch.arange(6 * keys)
    assert torch.equal(stream[gathers.keys][gathers.keys_back], stream)


def test_queries_stand_by_key_head_then_row_then_group() -> None:
    gathers = packing().heads(4, 2)
    queries = gathers.queries.view(2, 3, 2, 3)  # [K, B, G, W]
    tokens, heads = queries // 4, queries % 4
    assert tokens[0, 0, 0].tolist() == [0, 1, 2]
    assert tokens[1, 2, 1, :2].tolist() == [4, 5]
    assert heads[1, 0, 1].tolist() == [3, 3, 3]
    assert len(gathers.padding) == 3 * 4


def test_a_row_sees_what_is_shared_and_itself_up_to_a_token() -> None:
    seen = packing().causal(0, torch.float32).rows == 0
    assert seen.tolist() == [
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]


def test_a_window_hides_what_is_far_behind() -> None:
    causal = packing().causal(2, torch.float32)
    assert (causal.rows == 0).sum(1).tolist() == [2, 2, 2]
    assert (causal.first == 0).tolist() == [[True, False], [True, True]]
