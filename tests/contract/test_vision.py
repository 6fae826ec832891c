"""The contract of vision encoders: prompts in front of the patches on every tiny encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.backbones import load_frozen
from cuecard.errors import BackboneError, ConfigError, WrongBackboneError
from cuecard.images import checked, from_array
from cuecard.methods import DeepPrompts, DePT, PrefixTuning, PromptTuning, PTuningV2
from cuecard.tasks import collate
from cuecard.training import TrainConfig
from cuecard.training.race.auto import auto
from cuecard.training.race.contestants import Entrants
from cuecard.training.race.plan import RacePlan
from cuecard.training.race.stages import cut
from cuecard.training.seeds import SeedTraining
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.initial_method import init_context, new_method, suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Batch, Encoded, Injection, InputTokens, LayerTokens, Method, PrefixKV
from support.data.reviews import review_task
from support.oracles.vit import embedded, weights_of
from support.tiny import shared_backbone
from support.tiny_vision import (
    SPEC,
    VISION,
    drawn_task,
    pictures,
    save_vision,
    shared_vision,
    tiny_vision,
)

METHODS: dict[str, Callable[[], Any]] = {
    "prompt-tuning": lambda: PromptTuning(length=4),
    "deep-prompts": lambda: DeepPrompts(length=4),
}
PREFIXES: dict[str, Callable[[], Any]] = {
    "p-tuning-v2": lambda: PTuningV2(length=4),
    "prefix-tuning": lambda: PrefixTuning(length=4, hidden=8),
}
every = pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in METHODS for kind in VISION]
)
every_kind_of_injection = pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in (*METHODS, "p-tuning-v2") for kind in VISION]
)


def rows_of(count: int = 6) -> list[Encoded]:
    return SPEC.encode_rows(pictures(count), shared_vision().tokenizer, "prefix")


def made(name: str, backbone: Any, seed: int = 3) -> Method:
    method = suited_to(backbone, {**METHODS, **PREFIXES}[name]())
    return new_method(backbone, SPEC, method, seed, records=pictures(8))


def batch_of(rows: list[Encoded]) -> Batch:
    return collate([(row, ()) for row in rows], read="states", inside=0)


def states(backbone: Any, rows: list[Encoded], injection: Injection | None) -> Tensor:
    with torch.no_grad():
        (reads,) = backbone.read_many([(batch_of(rows), injection)], keep="states")
    found: Tensor = reads.states()
    return found


@every
def test_same_as_the_models_own_forward(name: str, kind: str) -> None:
    """The model's own code, with vectors put in and replaced by hooks, and its own summary."""
    backbone = shared_vision(kind)
    rows, injection = rows_of(), made(name, backbone).inner.injection()  # type: ignore[attr-defined]
    ours = states(backbone, rows, injection)
    pixels = backbone.processor.pixels([row.images[0] for row in rows])
    at = 0 if kind == "siglip" else 1
    with torch.no_grad(), stamped(backbone.model, injection, at):
        output = backbone.model(pixel_values=pixels)
    if kind == "clip":
        plain = output.pooler_output
    elif kind == "siglip":
        plain = output.last_hidden_state[:, injection.length :].mean(1)
    else:
        plain = output.last_hidden_state[:, 0]
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, states(backbone, rows, None), atol=1e-3)


@contextmanager
def stamped(model: Any, injection: InputTokens | LayerTokens, at: int) -> Iterator[None]:
    """Vectors go into the first layer's input, and over what later layers find in their places."""
    deep = isinstance(injection, LayerTokens)
    each = injection.vectors if deep else injection.vectors[None]
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    layers = next(m for m in lists if len(m) == model.config.num_hidden_layers)

    def stamp(number: int) -> Any:
        def hook(_: Any, args: Any, options: Any) -> Any:
            hidden = args[0] if args else options["hidden_states"]
            behind = hidden[:, at if number == 0 else at + injection.length :]
            own = each[number].expand(len(hidden), -1, -1)
            hidden = torch.cat([hidden[:, :at], own, behind], 1)
            return (
                ((hidden, *args[1:]), options)
                if args
                else (args, {**options, "hidden_states": hidden})
            )

        return hook

    handles = [
        layer.register_forward_pre_hook(stamp(number), with_kwargs=True)
        for number, layer in enumerate(layers)
        if number == 0 or deep
    ]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kind", [*VISION, "deit", "dinov3"])
def test_keys_and_values_in_front_are_those_of_tokens_there(kind: str) -> None:
    """They are seen, in no order, and as often as they are there."""
    backbone, rows = shared_vision(kind), rows_of(2)
    heads, size = backbone.key_shape
    drawn = torch.randn(
        backbone.num_layers, 2, heads, 3, size, generator=torch.Generator().manual_seed(0)
    )
    plain, found = (states(backbone, rows, each) for each in (None, PrefixKV(drawn)))
    assert not torch.allclose(found, plain, atol=1e-3)
    again = PrefixKV(torch.cat([drawn, drawn], 3))
    assert not torch.allclose(states(backbone, rows, again), found, atol=1e-4)
    swapped = PrefixKV(drawn.flip(3))
    torch.testing.assert_close(states(backbone, rows, swapped), found, atol=1e-5, rtol=1e-5)


@every_kind_of_injection
def test_batch_mates_and_other_prompts_do_not_matter(name: str, kind: str) -> None:
    backbone, rows = shared_vision(kind), rows_of()
    first, second = (made(name, backbone, seed).injection() for seed in (3, 4))
    together = states(backbone, rows, first)
    for order in ([5, 0, 3], [2, 2], [4]):
        mixed = states(backbone, [rows[i] for i in order], first)
        torch.testing.assert_close(mixed, together[order], atol=1e-5, rtol=1e-5)
    calls = backbone.counts["calls"]
    with torch.no_grad():
        parts = [(batch_of(rows[:2]), first), (batch_of(rows[1:5]), second)]
        both = backbone.read_many(parts, keep="states")
    assert backbone.counts["calls"] == calls + 1
    torch.testing.assert_close(both[0].states(), together[:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[1].states(), states(backbone, rows, second)[1:5])


@every_kind_of_injection
def test_the_gradient_is_the_injections_and_the_heads_alone(name: str, kind: str) -> None:
    backbone = shared_vision(kind)
    method: Any = made(name, backbone)
    with torch.no_grad():
        method.head().weight.normal_(generator=torch.Generator().manual_seed(0))
    (reads,) = backbone.read_many([(batch_of(rows_of()), method.injection())], keep="states")
    loss = SPEC.task_kind.head_loss(SPEC, rows_of(), method.head()(reads.states()))
    loss.backward()
    for parameter in method.parameters():
        assert parameter.grad is not None and bool(parameter.grad.any())
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())


@every
def test_training_saving_and_loading(name: str, kind: str, tmp_path: Path) -> None:
    backbone, task = tiny_vision(kind), drawn_task(40)
    rows = rows_of()
    digest, before = backbone.digest(), states(backbone, rows, None)
    settings = TrainConfig(steps=3, batch_rows=4, eval_every=3, seed=3)

    def run(seed: int, on: Any, **options: Any) -> tuple[Prompt, list[float]]:
        events: list[Any] = []
        config = settings.model_copy(update={"seed": seed})
        found = train(on, task, METHODS[name](), config, observer=events.append, **options)
        return found.prompt, [event["loss"] for event in events if event["event"] == "step"]

    first, losses = run(3, backbone, folder=tmp_path)
    assert backbone.digest() == digest
    assert torch.equal(states(backbone, rows, None), before)
    assert first.manifest.method_config["init"] == "patches"

    loaded = Prompt.load(tmp_path / "prompt", backbone)
    assert loaded.digest == first.digest and loaded.manifest == first.manifest
    bound = loaded.bind(backbone)
    answers = bound.predict(task.test)
    assert answers == first.bind(backbone).predict(task.test)
    given = [{"image": record.fields["image"]} for record in task.test]
    assert [a.answer for a in bound.predict(given)] == [a.answer for a in answers]

    again, losses_again = run(3, tiny_vision(kind))
    assert again.digest == first.digest and losses_again == losses
    _, other_losses = run(4, backbone)
    assert len(losses) == 3 and other_losses != losses
    with pytest.raises(WrongBackboneError):
        loaded.bind(tiny_vision(kind, seed=1))


STARTS: tuple[dict[str, Any], ...] = (
    {"init": "patches"},
    {"init": "patches", "patches": "k-means"},
    {"init": "vipamin"},
)


@pytest.mark.parametrize("kind", VISION)
def test_starts_from_training_images(kind: str) -> None:
    """The same bits again, and others of another seed."""
    records = pictures(20)

    def vectors(on: Any, settings: Any, seed: int) -> Tensor:
        method = DeepPrompts(length=4, **settings)
        injection = new_method(on, SPEC, method, seed, records=records).injection()
        assert isinstance(injection, LayerTokens)
        return injection.vectors.detach()

    backbone = shared_vision(kind)
    for settings in STARTS:
        first = vectors(backbone, settings, 3)
        assert first.shape == (backbone.num_layers, 4, backbone.hidden_size)
        assert bool(first.isfinite().all())
        assert not torch.equal(first, vectors(backbone, settings, 4))
        assert torch.equal(first, vectors(tiny_vision(kind), settings, 3))


@pytest.mark.parametrize("settings", STARTS, ids=["patches", "k-means", "vipamin"])
def test_a_prompt_says_how_it_started(settings: Any, tmp_path: Path) -> None:
    backbone, task = tiny_vision(), drawn_task(40)
    method, config = DeepPrompts(length=4, **settings), TrainConfig(steps=1, calibrate=False)
    run = train(backbone, task, method, config, folder=tmp_path)
    saved = Prompt.load(tmp_path / "prompt", backbone)
    assert saved.digest == run.prompt.digest
    assert settings.items() <= saved.manifest.method_config.items()
    assert train(tiny_vision(), task, method, config).prompt.digest == saved.digest


@pytest.mark.parametrize("deep", [False, True])
def test_options_fold_into_plain_vectors_and_runs_go_on(deep: bool, tmp_path: Path) -> None:
    """A Fourier transform, dropout and a projection, in a run that dies and is resumed."""
    options: dict[str, Any] = {"fourier": 0.5, "dropout": 0.2, "projection": 6}
    method = (DeepPrompts if deep else PromptTuning)(length=4, **options)
    backbone, task = tiny_vision(), drawn_task(40)
    config = TrainConfig(steps=4, batch_rows=4, eval_every=2, checkpoint_every=1)

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise KeyError("died")

    whole = train(backbone, task, method, config, folder=tmp_path / "whole")
    with pytest.raises(KeyError, match="died"):
        train(backbone, task, method, config, folder=tmp_path / "cut", observer=die)
    cut = train(backbone, task, method, config, folder=tmp_path / "cut")
    assert cut.prompt.digest == whole.prompt.digest
    saved = Prompt.load(tmp_path / "cut" / "prompt", backbone)
    assert options.items() <= saved.manifest.method_config.items()
    shape = (backbone.num_layers, 4, backbone.hidden_size)
    assert saved.injection().vectors.shape == (shape if deep else shape[1:])
    answers = saved.bind(backbone).predict(task.test)
    assert whole.test is not None
    assert [a.answer for a in answers] == [p.answer for p in whole.test.predictions]
    with pytest.raises(ConfigError, match="option of prompts for images"):
        train(shared_backbone(), review_task(40), method, config)


def test_default_rates_follow_what_the_first_layer_takes_in() -> None:
    backbone, task = shared_vision(), drawn_task(40)
    blank = checked(from_array(np.zeros((24, 24, 3), np.uint8)))
    _, patches = embedded(weights_of(backbone), blank)
    standard = 0.07 * float(patches.pow(2).mean().sqrt())

    def rate(method: Any) -> float:
        return TrainSetup.of(backbone, task, TrainablePrompt(method), TrainConfig()).peak_lr

    shallow, deep = (method(length=4, init="xavier") for method in (PromptTuning, DeepPrompts))
    assert rate(shallow) == pytest.approx(standard, rel=0.01)
    assert rate(deep) == pytest.approx(0.1 * standard, rel=0.01)
    assert rate(deep.model_copy(update={"layers_lr": 0.02})) == 0.02
    assert rate(PTuningV2(length=4, init="zero")) == 0.1
    assert rate(PTuningV2(length=4, init="zero", values_lr=0.01)) == 0.01


def test_training_images_are_looked_at_once() -> None:
    backbone, records, ran = tiny_vision(), pictures(80), []
    assert backbone.tower.patches == 9  # what is seen from here on are no trials
    for layer in backbone.tower.layers:
        layer.register_forward_hook(lambda _, inputs, out: ran.append(len(inputs[0])))
    for method in (
        PromptTuning(length=4, init="patches"),
        DeepPrompts(length=4, init="patches"),
        DeepPrompts(length=9, init="patches", patches="k-means"),
        PromptTuning(length=4, init="patches"),
    ):
        new_method(backbone, SPEC, method, 3, records=records)
    # Of 80 images 64; not through the last layer, whose output no prompt starts from.
    assert sum(ran) == 64 * (backbone.num_layers - 1)
    assert backbone.counts["tokens"] == 0


def test_starts_that_there_are_not() -> None:
    backbone, task = shared_vision(), drawn_task(40)
    with pytest.raises(ConfigError, match="patches of training images"):
        train(shared_backbone(), review_task(40), PromptTuning(length=4, init="patches"))
    with pytest.raises(ConfigError, match="fewer patches than the init needs"):
        train(backbone, task, DeepPrompts(length=1000, init="patches"))
    with pytest.raises(ConfigError, match="fewer patches than the init needs"):
        train(backbone, task, DeepPrompts(length=4, init="vipamin", vipamin_k=10))
    for init in ("vocabulary", "labels"):
        with pytest.raises(ConfigError, match="made of words"):
            train(backbone, task, PromptTuning(length=4, init=init))
    for init in ("zero", "random"):
        with pytest.raises(ConfigError, match="do not go together"):
            train(backbone, task, PTuningV2(init=init, text="hello"))


def test_keys_and_values_may_be_more_than_there_are_patches() -> None:
    backbone, records = shared_vision(), pictures(2)
    with pytest.raises(ConfigError, match="fewer patches") as caught:
        new_method(backbone, SPEC, PTuningV2(length=1000, init="patches"), 0, records=records)
    assert caught.value.hint == "a smaller length, or init=random"
    for init in ("zero", "random"):
        method = PTuningV2(length=1000, init=init)
        injection = new_method(backbone, SPEC, method, 0, records=records).injection()
        assert isinstance(injection, PrefixKV) and injection.length == 1000
    found = injection.keys_values.detach().pow(2).mean((2, 3, 4)).sqrt()
    context = init_context(backbone, SPEC, 0, records)
    assert context.patches is not None
    wanted = context.patches.keys_values().pow(2).mean((2, 3, 4)).sqrt()
    torch.testing.assert_close(found, wanted, atol=0, rtol=0.05)


@pytest.mark.parametrize("name", PREFIXES)
def test_prefixes_are_trained_saved_and_loaded(name: str, tmp_path: Path) -> None:
    backbone, task = tiny_vision("dinov2-registers"), drawn_task(40)
    config = TrainConfig(steps=3, batch_rows=4, eval_every=3)
    run = train(backbone, task, PREFIXES[name](), config, folder=tmp_path)
    saved = Prompt.load(tmp_path / "prompt", backbone)
    assert saved.digest == run.prompt.digest
    assert saved.manifest.injection == "prefix-kv" and saved.manifest.key_heads == 4
    assert saved.manifest.method_config["init"] == "patches"
    answers = saved.bind(backbone).predict(task.test)
    assert run.test is not None
    assert [a.answer for a in answers] == [p.answer for p in run.test.predictions]
    again = train(tiny_vision("dinov2-registers"), task, PREFIXES[name](), config)
    assert again.prompt.digest == saved.digest


@pytest.mark.parametrize("kind", VISION)
def test_patches_are_embedded_once_for_each_image(kind: str) -> None:
    backbone, task, seen = tiny_vision(kind), drawn_task(40), []
    assert backbone.tower.patches == 9  # what is seen from here on are no trials
    patches = backbone._patches
    handle = patches.register_forward_hook(lambda _, inputs, out: seen.append(len(inputs[0])))
    settings = TrainConfig(steps=30, batch_rows=8, eval_every=10)
    train(backbone, task, DeepPrompts(length=4), settings, progress=False)
    handle.remove()
    images = {row.images[0] for rows in (task.train, task.validation, task.test) for row in rows}
    assert sum(seen) == len(images) + 2  # and the prompt's two test pictures
    assert backbone.counts["remembered"] > backbone.counts["tokens"] / 2


@pytest.mark.parametrize("kind", VISION)
def test_what_an_encoder_cannot_take_is_refused_before_any_work(kind: str) -> None:
    backbone, events = tiny_vision(kind), []
    for method in (DePT(length=4), PTuningV2(length=4, slot="infix")):
        with pytest.raises(ConfigError, match="cannot be used with this method"):
            train(backbone, drawn_task(40), method, observer=events.append)
    with pytest.raises(ConfigError, match="one place for a prompt"):
        train(backbone, drawn_task(40), PromptTuning(length=4, slot="suffix"))
    assert not events and backbone.counts["calls"] == 0
    assert "fingerprint" not in vars(backbone)


def test_texts_and_images_are_not_mixed_up() -> None:
    seeing, reading = shared_vision(), shared_backbone()
    with pytest.raises(ConfigError, match="does not read texts"):
        train(seeing, review_task(40), PromptTuning(length=4))
    with pytest.raises(ConfigError, match="does not see images"):
        train(reading, drawn_task(40), PromptTuning(length=4))
    text = Encoded((5, 6), (), images=rows_of()[0].images)
    for row in (text, Encoded((), (), images=rows_of()[0].images * 2)):
        with pytest.raises(BackboneError, match="one image, and no text"):
            states(seeing, [row], None)
    with pytest.raises(BackboneError, match="reads no texts"):
        seeing.tokenizer("a text")


def test_a_race_starts_from_a_linear_probe() -> None:
    told: list[dict[str, Any]] = []
    task = drawn_task(80)
    run = auto(tiny_vision(), task, TrainConfig(budget="12 steps"), observer=told.append)
    (race,) = (event for event in told if event["event"] == "race")
    assert race["contestants"] == ["p-tuning-v2, rate 0.1"]
    start = next(event for event in told if event["event"] == "validation")
    assert start["step"] == 0 and start["validation_loss"] < 0.9 * math.log(len(task.spec.labels))
    assert run.test is not None and run.prompt.spec.head == "none"


def test_a_race_of_fewer_images_starts_from_these() -> None:
    backbone, task = tiny_vision(), drawn_task(80)
    for setup in Entrants.of(backbone, task, TrainConfig()).setups.values():
        few = cut(setup, RacePlan(("",), 0, {"": 1}, 20, 4))
        for one, other in zip(few.start.parameters(), few.new_method().parameters(), strict=True):
            assert torch.equal(one, other)


def test_every_way_to_train_takes_images(tmp_path: Path) -> None:
    """Several seeds in one pass, a race of what an encoder takes, a LoRA adapter that is loaded."""
    backbone, task = tiny_vision(), drawn_task(40)
    config = TrainConfig(steps=4, batch_rows=8, eval_every=4)
    seeds = SeedTraining(backbone, task, PromptTuning(length=4), config, seeds=2).run()
    assert len(seeds.runs) == 2 and seeds.kept.prompt.manifest.method_config["init"] == "patches"
    racing = Entrants.of(backbone, task, config)
    kinds = {type(method) for method in racing.methods.values()}
    assert kinds == {DeepPrompts, PromptTuning, PTuningV2} and not racing.refused
    folder = save_vision(tmp_path / "vit")
    loaded = load_frozen(folder, dtype="fp32")
    run = train_lora(loaded, task, config=config, folder=tmp_path / "lora")
    again = load_frozen(folder, dtype="fp32", adapter=tmp_path / "lora" / "adapter")
    assert again.fingerprint != loaded.fingerprint
    bound = Prompt.load(tmp_path / "lora" / "prompt").bind(again)
    assert run.test is not None
    assert [a.answer for a in bound.predict(task.test)] == [p.answer for p in run.test.predictions]


def test_an_image_is_learnt(tmp_path: Path) -> None:
    backbone, task = tiny_vision("dinov2"), drawn_task(120)
    run = train(backbone, task, DeepPrompts(length=4), TrainConfig(steps=40), folder=tmp_path)
    assert run.test is not None and run.test.metrics["accuracy"] > 0.9
