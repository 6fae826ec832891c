"""Which solved rows are shown."""

from __future__ import annotations

from collections import Counter

from cuecard.evaluation.baselines.text_vectors import text_vectors
from cuecard.training.few_shot.demonstrations import draw_sets, typical_rows
from support.data.reviews import SPEC, reviews
from support.tiny import tiny_backbone


def test_the_half_that_is_most_like_the_others_is_shown() -> None:
    backbone, rows = tiny_backbone(), reviews(21)
    found = typical_rows(backbone, SPEC, rows)
    vectors = text_vectors(backbone, [record.texts["text"] for record in rows])
    like = (vectors @ vectors.T).mean(1)
    for label in SPEC.labels:
        own = [n for n, record in enumerate(rows) if record.target == label]
        kept = [n for n in own if rows[n] in found]
        assert len(kept) == (len(own) + 1) // 2
        assert min(like[kept]) >= max(like[n] for n in own if n not in kept)
    assert found == [record for record in rows if record in found]  # in their order
    # An encoder-decoder has no vectors of texts.
    assert typical_rows(tiny_backbone("t5-relu"), SPEC, rows) == rows


def test_a_set_has_a_row_of_each_label_and_rows_take_turns() -> None:
    rows = reviews(12)
    sets = draw_sets(SPEC, rows, 6, 13)
    assert all({record.target for record in shown} == {*SPEC.labels} for shown in sets)
    counts = Counter(record.texts["text"] for shown in sets for record in shown)
    each = Counter(str(record.target) for record in rows)
    for record in rows:
        turns = 6 / each[str(record.target)]
        assert int(turns) <= counts[record.texts["text"]] <= int(turns) + 1
    assert sets == draw_sets(SPEC, rows, 6, 13) != draw_sets(SPEC, rows, 6, 21)
    assert {tuple(record.target for record in shown) for shown in sets} == {
        SPEC.labels,
        SPEC.labels[::-1],
    }
    alone = [record for record in rows if record.target == "positive"]
    assert all(len(shown) == 1 for shown in draw_sets(SPEC, alone, 3, 0))
