"""The contract of prompts around labels' names, on tiny models of images and texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.export import export
from cuecard.artifacts.manifest import TensorEntry
from cuecard.artifacts.tensors import arrays_of
from cuecard.backbones import TwoTowerBackbone, VisionBackbone, load_frozen
from cuecard.comparison.prove import prove
from cuecard.engine.protocol import Held, Scoring
from cuecard.errors import ArtifactError, BackboneError, ConfigError, WrongBackboneError
from cuecard.evaluation.baselines.zero_shot import zero_shot
from cuecard.evaluation.evaluate import evaluate
from cuecard.methods import (
    CoCoOp,
    CoOp,
    DeepPrompts,
    MaPLe,
    PromptSRC,
    PromptTuning,
    method_settings,
)
from cuecard.tasks import Task
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.training import TrainConfig
from cuecard.training.race import contestants as racing
from cuecard.training.race.auto import auto
from cuecard.training.race.contestants import Candidate, Entrants
from cuecard.training.race.pace import measure
from cuecard.training.train import train
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import InputTokens, LabelTokens, Towers
from support.data.reviews import review_task
from support.serving.requests import serving
from support.tiny import shared_backbone
from support.tiny_clip import JOINT, TEXT_WIDTH, save_clip, shared_clip, tiny_clip, word_tokenizer
from support.tiny_vision import (
    LABELS,
    SEVERAL_SPEC,
    SPEC,
    drawn_task,
    pictures,
    several_pictures,
    shared_vision,
)

KINDS = ("clip", "siglip")
METHODS: dict[str, Callable[[], Any]] = {
    "coop": lambda: CoOp(length=4),
    "coop, words": lambda: CoOp(init="text", place="middle"),
    "coop, specific": lambda: CoOp(length=3, specific=True, place="front"),
    "cocoop": lambda: CoCoOp(reduction=4),
    "maple": lambda: MaPLe(depth=2),
    "promptsrc": lambda: PromptSRC(depth=2, length=2, parts=3, part_mean=2),
}
every = pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "clip") for name in METHODS),
        *((name, "siglip") for name in ("coop, specific", "cocoop")),
    ],
)
QUICK = TrainConfig(steps=4, batch_rows=4, eval_every=2, checkpoint_every=1, seed=3)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_shot_is_the_models_own_classifier(kind: str) -> None:
    backbone, records = shared_clip(kind), pictures(6)
    injection, head = zero_shot(backbone, SPEC)
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    with torch.no_grad():
        (states,) = read_for_heads(backbone, [HeadRows(rows, injection)])
        texts = word_tokenizer(kind)(
            [f"a photo of a {label}." for label in LABELS],
            padding="max_length",
            max_length=16,
            return_tensors="pt",
        )
        given = {k: texts[k] for k in word_tokenizer(kind).model_input_names if k in texts}
        given.pop("token_type_ids", None)
        pixels = backbone.processor.pixels([record.images[0] for record in records])
        whole = backbone.whole(pixel_values=pixels, **given).logits_per_image
    wanted = whole - getattr(backbone.whole, "logit_bias", 0)
    torch.testing.assert_close(head(states), wanted, atol=1e-4, rtol=1e-4)
    other = SPEC.model_validate({**SPEC.model_dump(), "label_template": "the {label}"})
    assert not torch.allclose(zero_shot(backbone, other)[1].weight, head.weight, atol=1e-2)
    named = SPEC.model_validate({**SPEC.model_dump(), "words": {"disc": "red disc"}})
    told = backbone.label_head(["red disc", "stripes"], "a photo of a {label}.")
    assert torch.equal(zero_shot(backbone, named)[1].weight, told.weight)
    with pytest.raises(ConfigError, match="no single place for a label's name"):
        SPEC.model_validate({**SPEC.model_dump(), "label_template": "a photo"})


@every
def test_training_saving_loading_and_going_on(name: str, kind: str, tmp_path: Path) -> None:
    backbone, task = tiny_clip(kind), drawn_task(40)
    digest, fingerprint = backbone.digest(), backbone.fingerprint

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise KeyError("died")

    with pytest.raises(KeyError, match="died"):
        train(backbone, task, METHODS[name](), QUICK, folder=tmp_path, observer=die)
    run = train(backbone, task, METHODS[name](), QUICK, folder=tmp_path)
    whole = train(tiny_clip(kind), task, METHODS[name](), QUICK)
    assert run.prompt.digest == whole.prompt.digest
    assert (backbone.digest(), backbone.fingerprint) == (digest, fingerprint)
    assert all(p.grad is None and not p.requires_grad for p in backbone.whole.parameters())
    other = train(tiny_clip(kind), task, METHODS[name](), QUICK.model_copy(update={"seed": 4}))
    assert other.prompt.digest != run.prompt.digest

    saved = Prompt.load(tmp_path / "prompt", backbone)
    assert saved.digest == run.prompt.digest and saved.nbytes < 8_000
    manifest = saved.manifest
    assert (manifest.injection, manifest.head) == ("label-tokens", "labels")
    assert manifest.backbone.fingerprint.labels == fingerprint.labels
    bound = saved.bind(backbone)
    assert run.test is not None
    answers = bound.predict(task.test)
    assert [a.answer for a in answers] == [p.answer for p in run.test.predictions]
    # What is kept of the labels' names is what the tower makes of them with the vectors kept.
    piece = saved.injection().pieces["labels"]  # type: ignore[union-attr]
    assert isinstance(piece, LabelTokens) and piece.place == getattr(
        METHODS[name](), "place", "end"
    )
    made = backbone.label_head(LABELS, piece)
    assert saved.manifest.tensors["head.weight"].shape == tuple(made.weight.shape)
    torch.testing.assert_close(saved.tensors["head.weight"], made.weight, atol=1e-5, rtol=1e-5)
    with pytest.raises(WrongBackboneError, match="another tower for labels' names"):
        saved.bind(_other_texts(kind))
    assert export(saved, tmp_path / "exported.safetensors", "safetensors").exists()
    with pytest.raises(ConfigError, match="no place for this prompt's head"):
        export(saved, tmp_path / "peft", "peft")


def _untrained(settings: Any) -> Prompt:
    method: Any = new_method(shared_clip(), SPEC, settings, 3)
    return Prompt.create(
        method.injection(),
        backbone=shared_clip(),
        spec=SPEC,
        method=settings.name,
        method_config={},
        slot="prefix",
        head=method.head(),
    )


def test_a_network_that_moves_vectors_is_kept_whole() -> None:
    prompt = _untrained(CoCoOp(reduction=4))
    arrays, manifest = arrays_of(prompt.tensors), prompt.manifest
    assert {"label_shift.down.bias", "label_shift.up.weight"} < arrays.keys()
    assert arrays["head.weight"].shape == (len(LABELS), 1)
    manifest.check_tensors(arrays, "here")
    for name in (name for name in arrays if name.startswith("label_shift")):
        fewer = {n: entry for n, entry in manifest.tensors.items() if n != name}
        with pytest.raises(ArtifactError, match="does not list exactly the prompt's tensors"):
            manifest.model_copy(update={"tensors": fewer}).check_tensors(arrays, "here")
        given = {**arrays, name: arrays[name][:1]}
        other = {**manifest.tensors, name: TensorEntry.of(given[name])}
        changed = manifest.model_copy(update={"tensors": other})
        with pytest.raises(ArtifactError, match="the tensor's shape is not the one"):
            changed.check_tensors(given, "here")


def _other_texts(kind: str) -> TwoTowerBackbone:
    """A model that sees as the others do, and reads otherwise."""
    found: TwoTowerBackbone = tiny_clip(kind)
    with torch.no_grad():
        next(iter(found.labels.layers[0].parameters())).add_(0.5)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_with_both_towers(kind: str, tmp_path: Path) -> None:
    loaded, fresh = load_frozen(save_clip(tmp_path, kind), dtype="fp32"), shared_clip(kind)
    assert isinstance(loaded, TwoTowerBackbone)
    assert (loaded.digest(), loaded.fingerprint) == (fresh.digest(), fresh.fingerprint)
    rounded = load_frozen(tmp_path, dtype="bf16")
    assert rounded.fingerprint == fresh.fingerprint
    run = train(rounded, drawn_task(40), CoOp(length=2), QUICK)
    assert Prompt.load(run.prompt.save(tmp_path / "prompt"), rounded).digest == run.prompt.digest
    (tmp_path / "tokenizer.json").unlink()
    seeing = load_frozen(tmp_path, dtype="fp32")
    assert type(seeing) is VisionBackbone and seeing.fingerprint.labels == "none"
    with pytest.raises(ConfigError, match=r"(?s)does not take label-tokens.*tokenizer\.json"):
        train(seeing, drawn_task(40), CoOp(length=2), QUICK)


def test_prompts_of_images_are_those_of_the_tower_that_sees_alone(tmp_path: Path) -> None:
    backbone, task = tiny_clip(), drawn_task(40)
    alone = VisionBackbone(tiny_clip().model, backbone.processor, "alone")
    assert alone.fingerprint.labels == "none"
    runs = [train(b, task, DeepPrompts(length=2), QUICK).prompt for b in (backbone, alone)]
    first, second = (prompt.manifest.model_dump() for prompt in runs)
    for each in (first, second):
        each["backbone"].pop("name")
    assert first["backbone"] == second["backbone"] and first["tensors"] == second["tensors"]
    folder = runs[1].save(tmp_path / "alone")
    assert Prompt.load(folder, backbone).digest == runs[1].digest


def test_an_image_is_seen_once() -> None:
    """The tower that sees runs once for each image of a whole training, its test and all."""
    backbone, task, seen = tiny_clip(), drawn_task(40), []
    assert backbone.tower.patches == 9  # what is seen from here on are no trials
    layers = backbone.tower.layers
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, out: seen.append(len(out)))
    run = train(backbone, task, CoOp(length=4), TrainConfig(steps=30, eval_every=5))
    images = {row.images[0] for rows in (task.train, task.validation, task.test) for row in rows}
    # Also the prompt's two test pictures, and three passes of one image that see whether the
    # backbone gives numbers, and the same before and after.
    assert sum(seen) == (len(images) + 2 + 3) * len(layers)
    assert run.tokens < 2 * len(images) * backbone.tower.positions
    proof = prove(backbone, task, run, progress=False)
    # What is compared beside it needs a state per image for the linear probe, and nothing else.
    assert sum(seen) == (2 * len(images) + 2 + 3) * len(layers)
    assert {"zero_shot", "start", "nearest_mean", "linear_probe"} <= proof.report.keys()
    assert proof.report["left_out"] == {}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("clip", CoOp(length=8, context_lr=0.02)),
        ("siglip", CoOp(length=8, context_lr=0.02)),
        ("clip", CoCoOp(length=8, init="random", reduction=2, context_lr=0.02)),
        ("siglip", CoCoOp(length=8, init="random", reduction=2, context_lr=0.02)),
        ("clip", MaPLe()),
        ("clip", PromptSRC(text_weight=1, image_weight=1, logits_weight=0.1, context_lr=0.01)),
    ],
    ids=[
        "coop-clip",
        "coop-siglip",
        "cocoop-clip",
        "cocoop-siglip",
        "maple-clip",
        "promptsrc-clip",
    ],
)
def test_a_drawn_task_is_learnt(kind: str, method: Any) -> None:
    backbone, task = tiny_clip(kind), drawn_task(120)
    injection, head = zero_shot(backbone, task.spec)
    before = evaluate(backbone, task.spec, task.test, injection, head=head).metrics["accuracy"]
    run = train(backbone, task, method, TrainConfig(steps=60))
    assert run.test is not None
    assert run.test.metrics["accuracy"] > max(0.75, before + 0.2)


@pytest.mark.parametrize("method", [CoOp(length=4), CoCoOp()], ids=["coop", "cocoop"])
def test_other_labels_than_those_of_the_training(method: Any) -> None:
    backbone, task = tiny_clip(), drawn_task(40)
    bound = train(backbone, task, method, QUICK).prompt.bind(backbone)
    plain = replace(bound, prior=None).predict(task.test)
    turned = bound.with_labels(["stripes", "disc"]).predict(task.test)
    for one, other in zip(plain, turned, strict=True):
        assert dict(other.scores) == pytest.approx(dict(one.scores), abs=1e-4)
        assert [*other.scores] == ["stripes", "disc"]
    wider = bound.with_labels(["disc", "red", "blue"])
    assert wider.spec.labels == ("disc", "red", "blue")
    for one, other in zip(plain, wider.predict(task.test), strict=True):
        assert other.scores["disc"] == pytest.approx(one.scores["disc"], abs=1e-4)
    words = wider.without_prompt
    assert words.head is not None
    assert torch.equal(words.head.weight, zero_shot(backbone, wider.spec)[1].weight)


def test_labels_of_vectors_that_are_not_shared() -> None:
    backbone, task = tiny_clip(), drawn_task(40)
    own = train(backbone, task, CoOp(length=2, specific=True), QUICK).prompt.bind(backbone)
    vision = train(backbone, task, PromptTuning(length=2), QUICK).prompt.bind(backbone)
    for each in (own, vision):
        with pytest.raises(ConfigError, match="the labels that it was trained for"):
            each.with_labels(["red", "blue"])


def test_served_beside_others_each_image_seen_once() -> None:
    backbone = tiny_clip()
    others = (PromptTuning(length=2, init="xavier"), DeepPrompts(length=2, init="xavier"))
    methods = [*(make() for make in METHODS.values()), *others]
    made: list[Any] = [new_method(backbone, SPEC, method, 3) for method in methods]
    held = [Held(f"prompt {n}", each.injection()) for n, each in enumerate(made)]
    rows = SPEC.encode_rows(pictures(2), backbone.tokenizer, "prefix")
    asked = [
        Scoring(prompt, row, head=each.head())
        for row in rows
        for prompt, each in zip(held, made, strict=True)
    ]
    alone = []
    for each in asked:
        assert each.prompt is not None and each.head is not None
        part = HeadRows([each.row], each.prompt.injection)
        alone.append(each.head(read_for_heads(shared_clip(), [part])[0])[0].tolist())
    assert backbone.apart() is None  # what is seen from here on is no trial
    pixels = []
    whole = backbone.whole.get_image_features

    def counted(pixel_values: Any) -> Any:
        pixels.append(len(pixel_values))
        return whole(pixel_values=pixel_values)

    backbone.whole.get_image_features = counted

    async def ask() -> Any:
        async with serving(backbone) as engine:
            found = await engine.score(asked)
            assert engine.stats()["passes"] == 1
            await engine.score(asked)
            return found

    for numbers, wanted in zip(asyncio.run(ask()), alone, strict=True):
        assert numbers == pytest.approx(wanted, abs=1e-4)
    assert pixels == [2]  # MaPLe and those in front of patches read states instead


def test_auto_races_them_where_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    task, config = drawn_task(40), TrainConfig(budget="96 steps")
    auto(tiny_clip(), task, config, observer=told.append)
    (race,) = (event for event in told if event["event"] == "race")
    assert race["contestants"] == ["p-tuning-v2, rate 0.1", "coop"] and race["steps"] == 16
    assert race["refused"] == {} and "maple" in race["left_out"]
    (chosen,) = (event for event in told if event["event"] == "chosen")
    raced = [event for event in told if event["event"] == "raced"]
    best = max(raced, key=lambda event: (event["accuracy"], -event["loss"]))
    assert chosen["contestant"] == best["contestant"]
    siglip = Entrants.of(shared_clip("siglip"), task, config)
    assert "coop" in siglip.setups and "another state" in siglip.refused["maple"]

    around = [Candidate(each.name, each) for each in (CoOp(init="text"), MaPLe())]
    monkeypatch.setattr(racing, "contestants", lambda *_, **__: around)
    backbone = tiny_clip()
    run = auto(backbone, task, config)
    assert run.method.name in ("coop", "maple") and run.test is not None
    assert run.prompt.manifest.head == "labels" and run.prompt.bind(backbone).head is not None
    cost = measure(Entrants.of(tiny_clip(), task, config).setups["coop"])
    again = measure(Entrants.of(backbone, task, config).setups["coop"])
    # Images that were seen are not seen again.
    assert cost.validation == cost.brief > 0 and cost.inputs >= 0 == again.inputs


def test_what_does_not_go_together_is_refused_before_any_work() -> None:
    task, events = drawn_task(40), []
    for backbone, on in ((shared_vision(), task), (shared_backbone(), review_task(40))):
        with pytest.raises(ConfigError, match="cannot be used with this method") as caught:
            train(backbone, on, CoOp(), observer=events.append)
        assert "does not take label-tokens" in str(caught.value.got)
        assert "a model of images and texts, such as CLIP" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="does not read texts"):
        train(shared_clip(), review_task(40), CoOp(), observer=events.append)
    several = Task.from_records(SEVERAL_SPEC, several_pictures(40))
    with pytest.raises(ConfigError, match="just one is right"):
        train(shared_clip(), several, CoOp(), observer=events.append)
    with pytest.raises(BackboneError, match="longer than the positions") as long:
        train(shared_clip(), task, CoOp(length=40), observer=events.append)
    assert "label 'disc'" in str(long.value.where)
    words = {"disc": "red", "stripes": "RED"}
    with pytest.raises(BackboneError, match="longer than the positions"):
        train(shared_clip(), task, CoCoOp(length=40, init="random"), observer=events.append)
    alike = replace(task, spec=task.spec.model_copy(update={"words": words}))
    with pytest.raises(BackboneError, match="two labels have the same text") as same:
        train(shared_clip(), alike, CoOp(length=4), observer=events.append)
    assert "'red' and 'RED'" in str(same.value.got)
    own = shared_clip().label_head(["red", "RED"], LabelTokens(torch.randn(2, 1, 4, TEXT_WIDTH)))
    assert not torch.equal(own.weight[0], own.weight[1])  # vectors of its own tell a label apart
    with pytest.raises(ConfigError, match="does not have a token for each vector"):
        train(shared_clip(), task, CoOp(init="text", length=7), observer=events.append)
    for both_towers in (MaPLe(), PromptSRC()):
        with pytest.raises(ConfigError, match="cannot be used with this method") as caught:
            train(shared_clip("siglip"), task, both_towers, observer=events.append)
        assert "another state" in str(caught.value.got)
    prompt = _untrained(CoCoOp())
    with pytest.raises(ConfigError, match="not trained beside a prompt around labels' names"):
        train_lora(shared_clip(), task, prompt=prompt, observer=events.append)
    with pytest.raises(ConfigError, match="no place for a label's name"):
        method_settings("promptsrc", {"templates": ["a photo"]})
    with pytest.raises(BackboneError, match="a vision encoder reads no texts"):
        train(shared_clip(), task, PromptTuning(text="a photo"), observer=events.append)
    with pytest.raises(ConfigError, match="more layers than the model has"):
        train(shared_clip(), task, MaPLe(depth=4), observer=events.append)
    with pytest.raises(ConfigError, match="does not start from a prompt"):
        CoOp(prompt=torch.zeros(4, TEXT_WIDTH))
    with pytest.raises(ConfigError, match="does not read labels' names"):
        zero_shot(shared_vision(), SPEC)
    assert not events
    both = Towers(
        {
            "labels": LabelTokens(torch.zeros(1, 1, 2, 32)),
            "vision": InputTokens(torch.zeros(2, 32)),
        }
    )
    siglip = shared_clip("siglip")
    rows = SPEC.encode_rows(pictures(1), siglip.tokenizer, "prefix")
    with pytest.raises(BackboneError, match="in both towers"):
        read_for_heads(siglip, [HeadRows(rows, both)])
    with pytest.raises(BackboneError, match="around labels do not fit"):
        shared_clip().label_head(["a"], LabelTokens(torch.zeros(2, 1, 2, TEXT_WIDTH)))
    moved = new_method(shared_clip("siglip"), SPEC, CoCoOp(), 3).injection().pieces["labels"]
    fits = replace(moved, vectors=torch.zeros(1, 1, 2, TEXT_WIDTH))
    with pytest.raises(BackboneError, match="what moves the prompt's vectors does not fit"):
        read_for_heads(shared_clip(), [HeadRows(rows, Towers({"labels": fits}))])
    assert shared_clip().label_width() == JOINT
    longer = deepcopy(word_tokenizer())
    longer.add_tokens(["otter"])
    clip = shared_clip()
    with pytest.raises(BackboneError, match="no embedding for"):
        TwoTowerBackbone(clip.whole, clip.processor, longer, "x").label_head(["otter"], "{label}")
