"""A server whose backbone has a LoRA adapter: it serves what was made on both, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import cuecard
from cuecard.comparison.contest.contender import Contest
from cuecard.comparison.contest.contenders import chosen_contenders
from cuecard.comparison.contest.runner import ContestRunner
from cuecard.errors import WrongBackboneError
from cuecard.methods import PromptTuning
from cuecard.names import load_backbone
from cuecard.registry import Registry
from cuecard.training import TrainConfig
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.lora import LoraSettings
from cuecard.types import Record
from support.data.reviews import review_task
from support.peft_adapters import save_adapter, save_kind
from support.serving.app import MakePrompt
from support.serving.process import serving

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]
TEXT = "a warm and funny film"


def test_prompts_of_base_and_adapter(tmp_path: Path, make_prompt: MakePrompt) -> None:
    base, lora = save_kind(tmp_path / "tiny", "llama"), save_adapter(tmp_path / "lora")
    plain = load_backbone(base, dtype="fp32")
    adapted = load_backbone(base, dtype="fp32", adapter=lora)
    registry = Registry(tmp_path / "registry", who="ann@desk")
    registry.push(make_prompt(1, backbone=adapted), "both")
    registry.push(make_prompt(2, backbone=plain), "bare")
    right = cuecard.answer(adapted, registry.read("both@1").prompt, [Record({"text": TEXT}, None)])
    with serving(tmp_path / "registry", base, tmp_path / "room", "--adapter", str(lora)) as server:
        status, found = server.call("/v1/classify", {"model": "both@1", "input": TEXT})
        assert status == 200
        wanted = pytest.approx(dict(right[0].probabilities), abs=1e-4)
        assert found["data"][0]["probabilities"] == wanted
        status, found = server.call("/v1/classify", {"model": "bare@1", "input": TEXT})
        assert status == 404 and "adapter" in str(found)


def test_the_task_of_a_lora_run(tmp_path: Path) -> None:
    """A prompt without vectors: the server answers as `predict` does."""
    base, out = save_kind(tmp_path / "tiny", "llama"), tmp_path / "run"
    config = TrainConfig(steps=1, batch_rows=4)
    backbone = load_backbone(base, dtype="fp32")
    run = train_lora(backbone, review_task(40), config=config, folder=out)
    assert run.prompt.vectors.shape == (0, 32) and run.prompt.nbytes == 0
    registry = Registry(tmp_path / "registry", who="ann@desk")
    registry.push(out / "prompt", "reviews")
    adapted = load_backbone(base, dtype="fp32", adapter=out / "adapter")
    (right,) = cuecard.answer(adapted, run.prompt, [Record({"text": TEXT}, None)])
    options = ["--adapter", str(out / "adapter")]
    with serving(tmp_path / "registry", base, tmp_path / "room", *options) as server:
        status, found = server.call("/v1/classify", {"model": "reviews@1", "input": TEXT})
        assert status == 200, found
        wanted = pytest.approx(dict(right.probabilities), abs=1e-4)
        assert found["data"][0]["probabilities"] == wanted


def test_a_contestant_with_a_prompt_on_a_lora_backbone(tmp_path: Path) -> None:
    """The prompt on top and the adapter's own task, served together as `predict` answers them."""
    base, folder = save_kind(tmp_path / "tiny", "llama"), tmp_path / "contest"
    prompt, config = PromptTuning(length=2, init="random"), TrainConfig(steps=2, batch_rows=4)
    backbone = load_backbone(base, dtype="fp32")
    given = (backbone, review_task(40), config, 1, prompt, LoraSettings(rank=2))
    names = ["lora", "lora+prompt-tuning"]
    runner = ContestRunner(chosen_contenders(names), Contest(*given, folder=folder), None)
    below, top = (Path(one.standing.facts["folder"]) for one in runner.run())
    adapter = below / "adapter"
    registry = Registry(tmp_path / "registry", who="ann@desk")
    registry.push(below / "prompt", "alone")
    registry.push(top / "prompt", "on-top")
    adapted = load_backbone(base, dtype="fp32", adapter=adapter)
    room, wanted = tmp_path / "room", dict[str, dict[str, float]]()
    with serving(tmp_path / "registry", base, room, "--adapter", str(adapter)) as server:
        for name in ("alone", "on-top"):
            held = registry.read(f"{name}@1").prompt
            (right,) = cuecard.answer(adapted, held, [Record({"text": TEXT}, None)])
            wanted[name] = dict(right.probabilities)
            status, found = server.call("/v1/classify", {"model": f"{name}@1", "input": TEXT})
            assert status == 200, found
            said = found["data"][0]["probabilities"]
            assert said == pytest.approx(wanted[name], abs=1e-4)
    assert wanted["alone"] != pytest.approx(wanted["on-top"], abs=1e-3)
    with pytest.raises(WrongBackboneError, match="adapter"):
        cuecard.answer(backbone, registry.read("on-top@1").prompt, [Record({"text": TEXT}, None)])
