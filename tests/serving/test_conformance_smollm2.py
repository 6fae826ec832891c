"""The engines on the real backbone: what rounding does in fp32 and in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.names import load_backbone
from serving_cases import make_cases
from serving_conformance import churned, scored, wrongly_written
from serving_kinds import KINDS, at_work

pytestmark = [
    pytest.mark.slow,
    # vLLM imports distutils, and looking for pip then remarks on it.
    pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils:UserWarning"),
]

# In bf16 the engines round in other places than the backbone alone; answers whose best token leads
# by less than this may change.
BF16_MARGIN, BF16_TOLERANCE = 0.5, 0.5


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("engine_name", KINDS)
def test_answers_are_those_got_alone(
    engine_name: str,
    dtype: Any,
    catalogue_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Any,
) -> None:
    kind, exact = KINDS[engine_name], dtype == "fp32"
    kind.needed()
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))
    backbone = load_backbone("smollm2-135m-instruct", dtype=dtype, device="cpu")
    margin = 1e-2 if exact else BF16_MARGIN
    cases = make_cases(backbone, prompts=9, least_margin=margin, prefix_kv=kind.prefix_kv)
    assert len({case.digest for case in cases}) > (8 if exact else 1)
    tolerance = 1e-4 if exact else BF16_TOLERANCE
    with at_work(kind, backbone) as (engine, run):
        worst = run(scored(engine, cases))
        record_property("worst", worst)
        assert worst <= tolerance
        assert run(wrongly_written(engine, cases)) == []
        tally = run(churned(engine, cases, requests=100, clients=16, tolerance=tolerance))
        assert (tally.crossed, tally.wrong) == (0, 0), tally
