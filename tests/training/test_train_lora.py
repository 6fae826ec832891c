"""A LoRA adapter trained as a prompt is: alone, behind a prompt, and under one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from cuecard import LoraSettings, Prompt, PromptTuning, TrainConfig, train, train_lora
from cuecard.backbones import load_frozen
from cuecard.backbones.adapters.peft_folder import read_adapter
from cuecard.errors import ConfigError, DataError, Interrupted, TrainingError, WrongBackboneError
from cuecard.evaluation.evaluate import evaluate
from cuecard.tasks import Task, collate
from cuecard.training import read_log
from cuecard.training.objective.validation import validate
from cuecard.types import InputTokens
from support.data.reviews import SPEC, review_task
from support.oracles.seq2seq import ENDS, OPENINGS
from support.peft_adapters import save_adapter, save_kind
from support.tiny import SEQ2SEQ, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

CONFIG = TrainConfig(steps=12, batch_rows=8, lr=0.01, eval_every=3, checkpoint_every=2)
NOTHING = InputTokens(torch.zeros(0, 32))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save_kind(root / kind, kind) for kind in ("llama", "gpt2", "t5-gated")}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5-gated"])
def test_it_learns_and_both_readers_load_it(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    backbone, task = load_frozen(folders[kind], dtype="fp32"), review_task(80)
    digest = backbone.digest()
    start = validate(backbone, task.spec, task.validation, NOTHING, "prefix")
    run = train_lora(backbone, task, config=CONFIG, folder=tmp_path / "run")
    assert run.validation.loss < 0.7 * start.loss
    assert backbone.digest() == digest
    adapted = load_frozen(folders[kind], dtype="fp32", adapter=tmp_path / "run" / "adapter")
    assert adapted.fingerprint.adapter == run.adapter.digest
    again = validate(adapted, task.spec, task.validation, NOTHING, "prefix")
    assert again.loss == pytest.approx(run.validation.loss, rel=1e-3)
    assert run.test is not None
    tested = evaluate(adapted, task.spec, task.test, NOTHING)
    assert tested.score == run.test.score
    rows = [SPEC.encode(record, adapted.tokenizer) for record in task.test[:3]]
    with torch.no_grad():
        ours = adapted.forward(collate([(row, ()) for row in rows], read="next"), None)
    theirs: Any = PeftModel.from_pretrained(
        tiny_model(kind), str(tmp_path / "run" / "adapter")
    ).eval()
    for row, logits in zip(rows, ours, strict=True):
        options = {"input_ids": torch.tensor([row.context])}
        if kind in SEQ2SEQ:
            options = {"input_ids": torch.tensor([[*row.context, *ENDS]])}
            options["decoder_input_ids"] = torch.tensor([OPENINGS[kind]])
        with torch.no_grad():
            expected = theirs(**options).logits[0, -1]
        assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_best_step_is_kept(folders: dict[str, Path]) -> None:
    """A rate that ends in ruin: what is kept is what validation chose."""
    backbone, task = load_frozen(folders["llama"], dtype="fp32"), review_task(80)
    seen: list[dict[str, Any]] = []
    wild = CONFIG.model_copy(update={"lr": 0.3, "steps": 9, "schedule": "constant", "clip": 0.0})
    run = train_lora(backbone, task, config=wild, observer=seen.append)
    looks = [event for event in seen if event["event"] == "validation"]
    best = min(looks, key=lambda event: float(event["validation_loss"]))
    assert (run.best_step, run.validation.loss) == (best["step"], best["validation_loss"])
    assert run.best_step < 9


def test_killed_and_gone_on_with(folders: dict[str, Path], tmp_path: Path) -> None:
    task = review_task(80)

    def sit(folder: Path, stop: int | None) -> Any:
        def watch(event: dict[str, Any]) -> None:
            if event["event"] == "step" and event["step"] == stop:
                raise RuntimeError("killed")

        backbone = load_frozen(folders["llama"], dtype="fp32")
        try:
            return train_lora(backbone, task, config=CONFIG, folder=folder, observer=watch)
        finally:
            hooks = sum(len(m._forward_hooks) for m in backbone.model.modules())
            assert hooks == 0

    whole = sit(tmp_path / "whole", None)
    for stop in (5, 9):
        with pytest.raises(RuntimeError, match="killed"):
            sit(tmp_path / "cut", stop)
    again = sit(tmp_path / "cut", None)
    assert again.adapter.digest == whole.adapter.digest
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def told(folder: Path) -> list[dict[str, Any]]:
        clocks = ("seconds", "cpu_seconds")
        rows = read_log(tmp_path / folder)
        return [{k: v for k, v in row.items() if k not in clocks} for row in rows]

    assert told(tmp_path / "cut") == told(tmp_path / "whole")


def test_another_run_in_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    backbone, task = load_frozen(folders["llama"], dtype="fp32"), review_task(80)
    short = CONFIG.model_copy(update={"steps": 2})
    train_lora(backbone, task, config=short, folder=tmp_path)
    with pytest.raises(TrainingError, match="other settings"):
        train_lora(backbone, task, LoraSettings(rank=2), short, folder=tmp_path)


def test_trained_in_turn(folders: dict[str, Path], tmp_path: Path) -> None:
    """A prompt, then an adapter behind it, then another prompt on top of both's backbone."""
    base, task = load_frozen(folders["llama"], dtype="fp32"), review_task(80)
    short = TrainConfig(steps=4, batch_rows=8)
    first = train(base, task, PromptTuning(length=4, init="vocabulary"), short).prompt
    run = train_lora(base, task, config=CONFIG, prompt=first, folder=tmp_path / "lora")
    assert run.prompt is not None and run.test is not None
    assert torch.equal(run.prompt.vectors, first.vectors)
    adapter = tmp_path / "lora" / "adapter"
    adapted = load_frozen(folders["llama"], dtype="fp32", adapter=adapter)
    served = Prompt.load(tmp_path / "lora" / "prompt", adapted)
    assert served.digest == run.prompt.digest
    found = evaluate(adapted, task.spec, task.test, served.injection(), prior=served.manifest.prior)
    assert found.score == run.test.score
    alone = validate(adapted, task.spec, task.validation, NOTHING, "prefix")
    behind = validate(adapted, task.spec, task.validation, served.injection(), "prefix")
    assert behind.loss == pytest.approx(run.validation.loss, rel=1e-3) != alone.loss
    with pytest.raises(WrongBackboneError, match="another LoRA adapter"):
        Prompt.load(tmp_path / "lora" / "prompt", base)
    first.save(tmp_path / "first")
    with pytest.raises(WrongBackboneError, match="another LoRA adapter"):
        Prompt.load(tmp_path / "first", adapted)
    on_top = train(adapted, task, PromptTuning(length=4, init="vocabulary"), short).prompt
    assert on_top.manifest.backbone.fingerprint.adapter == read_adapter(adapter).digest


def test_what_cannot_be_trained(folders: dict[str, Path], tmp_path: Path) -> None:
    base, task = load_frozen(folders["llama"], dtype="fp32"), review_task(80)
    lora = save_adapter(tmp_path / "lora")
    adapted = load_frozen(folders["llama"], dtype="fp32", adapter=lora)
    with pytest.raises(ConfigError, match="plain weights"):
        train_lora(adapted, task, config=CONFIG)
    with pytest.raises(ConfigError, match="tries no learning rates"):
        train_lora(base, task, config=CONFIG.model_copy(update={"lr": "auto"}))
    with pytest.raises(DataError, match="no validation rows"):
        train_lora(base, Task.from_records(SPEC, task.train, split=(1.0, 0.0, 0.0)), config=CONFIG)
    prompt = train(base, task, PromptTuning(length=2), TrainConfig(steps=1)).prompt
    other = review_task(80, SPEC.model_copy(update={"template": "Text: {text}\nSentiment:"}))
    with pytest.raises(ConfigError, match="another task") as caught:
        train_lora(base, other, config=CONFIG, prompt=prompt)
    assert "template" in str(caught.value.got)
    place = SPEC.model_copy(update={"template": "Review: {text}\n{prompt}Sentiment:"})
    with pytest.raises(ConfigError, match="place for a prompt"):
        train_lora(base, review_task(80, place), config=CONFIG)
    with pytest.raises(WrongBackboneError):
        train_lora(load_frozen(folders["gpt2"]), task, config=CONFIG, prompt=prompt)


def test_stopped_by_ctrl_c(folders: dict[str, Path], tmp_path: Path) -> None:
    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    base, task = load_frozen(folders["llama"], dtype="fp32"), review_task(80)
    with pytest.raises(Interrupted) as caught:
        train_lora(base, task, config=CONFIG, folder=tmp_path, observer=watch)
    assert f"cuecard lora --resume {tmp_path}" in str(caught.value.hint)
    assert (tmp_path / "checkpoint.pt").is_file() and not (tmp_path / "adapter").exists()
