"""The benchmark runs from end to end on a tiny backbone; its numbers are nobody's concern here."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from benchmarks.serving.benchmark import held, main
from benchmarks.serving.peft import PeftServer, grouped
from benchmarks.serving.tables import SERVED, serving_table
from cuecard.tasks import collate
from cuecard.types import Encoded, InputTokens, Placement
from support.data.reviews import reviews
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("benchmark")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    lines = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(200))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    out = folder / "results" / "serving.json"
    options = ["--backbone", str(folder / "model"), "--reviews", str(folder / "reviews.csv")]
    options += ["--dtype", "fp32", "--rounds", "1", "--out", str(out)]
    options += ["--vllm", str(folder / "absent")]
    sizes = ["--requests", "48", "--answers", "8", "--new-tokens", "8"]
    assert main([*options, *sizes]) == 0
    assert main([*options, "--churn", "0.05"]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_it_holds_its_numbers(results: dict[str, Any]) -> None:
    ways = {f"peft_{kind}_{way}" for kind in ("fp32", "bf16") for way in ("per_request", "grouped")}
    for name, _ in SERVED:
        assert all(rate > 0 for rate in results[name]["per_cpu_s"].values())
        assert set(results[name]["per_cpu_s"]) == {"many", "one", "bare", *ways}
        assert set(results[name]["over"]) == {"one", "bare", *ways}
    assert results["prompt_bytes"] == results["kv_bytes"] == 20 * 2 * 2 * 2 * 8 * 4
    assert results["vllm"] is None
    assert set(results["versions"]) == {"cuecard", "torch", "transformers", "peft"}
    churn = results["churn"]
    assert churn["requests"] > 64
    assert churn["errors"] == churn["crossed"] == churn["other"] == 0
    assert churn["dtype"] == "fp32" and churn["nearest_prompts"] > 1e-3
    assert "answers of another prompt" in serving_table(results)


def test_pefts_answers_are_ours() -> None:
    """Both sides do the same work; of PEFT's answers, those of rows that it does not pad."""
    backbone = tiny_backbone()
    prompts = [held(backbone, number) for number in range(2)]
    vectors = [p.injection.vectors for p in prompts if isinstance(p.injection, InputTokens)]
    peft = PeftServer(tiny_model(), vectors)
    rows = [Encoded(tuple(range(n, 10 + 2 * n)), ()) for n in (20, 24, 22, 23)]
    requests = list(zip((1, 0, 1, 0), rows, strict=True))
    found = {}
    for group in grouped(requests):
        scores = peft.classify(group, [40, 41])
        answers = peft.write(group, 6, 2)
        for (_, row), *both in zip(group, scores, answers, strict=True):
            found[row] = both
    longest = {0: 34, 1: 32}
    for number, row in requests:
        batch = collate([(row, ())], read="next")
        with torch.no_grad():
            logits = backbone.forward(batch, prompts[number].injection)[0]
        torch.testing.assert_close(
            found[row][0], logits.log_softmax(-1)[[40, 41]], atol=1e-4, rtol=1e-4
        )
        (answer,) = backbone.generate([row.context], [Placement()], prompts[number].injection, 6)
        if len(row.context) == longest[number]:
            assert found[row][1] == answer
