"""A beginning counts when three in a row have it; the latest of them are kept."""

from __future__ import annotations

from cuecard.engine.local.prefix_caching import PrefixDetector

TEMPLATE = (1, 2, 3, 4, 5)
OTHER = (9, 8, 7, 6, 5, 4)


def meet(known: PrefixDetector, *contexts: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [known.meet("a", ids) for ids in contexts]


def test_three_in_a_row() -> None:
    known = PrefixDetector()
    found = meet(known, (*TEMPLATE, 20), (*TEMPLATE, 21, 22), (*TEMPLATE, 23), (*TEMPLATE, 24))
    assert found == [(), (), TEMPLATE, TEMPLATE]
    assert known.meet("b", (*TEMPLATE, 20)) == ()
    known.forget("a")
    assert meet(known, (*TEMPLATE, 20)) == [()]


def test_too_short_a_beginning_is_none() -> None:
    assert meet(PrefixDetector(), *((1, last) for last in range(20, 25))) == [()] * 5
    assert meet(PrefixDetector(), *((1, 2, last) for last in range(20, 25)))[2:] == [(1, 2)] * 3


def test_one_stranger_does_not_end_it() -> None:
    known = PrefixDetector()
    meet(known, *((*TEMPLATE, last) for last in range(20, 24)))
    assert meet(known, (9, 9), (*TEMPLATE, 30)) == [(), TEMPLATE]


def test_several_beginnings_are_kept() -> None:
    """Prompts that begin alike and then differ, asked by turns, as a search for a prompt does."""
    known = PrefixDetector()
    longer = [(*TEMPLATE, 10 * number, 7, 7, 7) for number in range(1, 21)]
    for each in (TEMPLATE, *longer, *longer):
        found = meet(known, *((*each, last) for last in range(30, 34)))
        assert found[-1] == each
    assert meet(known, (*longer[-2], 40), (*longer[-1], 40), (*TEMPLATE, 40)) == [
        *longer[-2:],
        TEMPLATE,
    ]


def test_a_chance_likeness_is_not_kept() -> None:
    """Two neighbours share six tokens, three of them five."""
    known = PrefixDetector()
    found = meet(known, (*TEMPLATE, 6, 20), (*TEMPLATE, 6, 21), (*TEMPLATE, 7), (*TEMPLATE, 8))
    assert found[-1] == TEMPLATE


def test_many_prompts_are_not_remembered_for_ever() -> None:
    known = PrefixDetector()
    meet(known, *((*TEMPLATE, last) for last in range(20, 24)))
    for number in range(4096):
        known.meet(f"other-{number}", TEMPLATE)
    assert meet(known, (*TEMPLATE, 30)) == [()]
