"""The engines on the real backbone in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.names import load_backbone
from support.serving.cases import gap_at_departure, make_cases
from support.serving.conformance import churned, other_texts, scored, wrongly_written
from support.serving.engines import KINDS, at_work

pytestmark = [
    pytest.mark.slow,
    # vLLM imports distutils, and looking for pip then remarks on it.
    pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils:UserWarning"),
]


@pytest.fixture(autouse=True)
def _cache(catalogue_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))


@pytest.mark.parametrize("engine_name", KINDS)
def test_answers_are_those_got_alone(engine_name: str, record_property: Any) -> None:
    kind = KINDS[engine_name]
    kind.needed()
    backbone = load_backbone("smollm2-135m-instruct", dtype="fp32", device="cpu")
    cases = make_cases(backbone, prompts=9, least_margin=1e-2, prefix_kv=kind.prefix_kv)
    assert len({case.digest for case in cases}) > 8
    tolerance = 1e-4
    with at_work(kind, backbone) as (engine, run):
        worst = run(scored(engine, cases))
        record_property("worst", worst)
        assert worst <= tolerance
        assert run(wrongly_written(engine, cases)) == []
        tally = run(churned(engine, cases, requests=100, clients=16, tolerance=tolerance))
        assert (tally.crossed, tally.wrong) == (0, 0), tally


# No drawn prompt's answer leads by so much that bfloat16's rounding could not change it.
@pytest.mark.parametrize("engine_name", KINDS)
def test_in_bfloat16_texts_part_where_two_tokens_are_nearly_as_likely(engine_name: str) -> None:
    kind = KINDS[engine_name]
    kind.needed()
    backbone = load_backbone("smollm2-135m-instruct", dtype="bf16", device="cpu")
    cases = make_cases(backbone, prompts=9, least_margin=0, prefix_kv=kind.prefix_kv)
    assert len(cases) > 40
    with at_work(kind, backbone) as (engine, run):
        worst = run(scored(engine, cases))
        others = run(other_texts(engine, cases))
    gaps = [gap_at_departure(backbone, case, tokens) for case, tokens in others]
    told = f"{len(cases)} cases, scores by {worst:.3f}, {len(gaps)} texts, gaps {sorted(gaps)}"
    print(told)  # noqa: T201 - for who asks with -rP
    assert worst < 1.0  # summed over a word's tokens
    assert max(gaps, default=0.0) < 0.5, told
