"""The engines on the real backbone in fp32."""

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


# Not in bf16: there no drawn prompt's answer leads by so much that rounding could not change it.
@pytest.mark.parametrize("dtype", ["fp32"])
@pytest.mark.parametrize("engine_name", KINDS)
def test_answers_are_those_got_alone(
    engine_name: str,
    dtype: Any,
    catalogue_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Any,
) -> None:
    kind = KINDS[engine_name]
    kind.needed()
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))
    backbone = load_backbone("smollm2-135m-instruct", dtype=dtype, device="cpu")
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
