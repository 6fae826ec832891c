"""The contract: every method on every tiny backbone. A new method joins by one line in METHODS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from cuecard.backbones import FAMILIES
from cuecard.errors import ConfigError
from cuecard.methods import (
    ATTEMPT,
    MPT,
    DeepPrompts,
    DePT,
    PrefixTuning,
    PromptTuning,
    PTuning,
    PTuningV2,
    ResidualPromptTuning,
    Wayward,
)
from cuecard.tasks import TaskSpec, collate
from cuecard.testing import MethodCase
from cuecard.testing.methods import (
    check_batch_mates,
    check_gradients,
    check_other_prompts,
    check_padding,
    check_settings,
    check_training,
)
from cuecard.training.objective.loss import batch_loss
from cuecard.training.train import train
from cuecard.types import (
    Backbone,
    Encoded,
    Injection,
    InputTokens,
    LayerTokens,
    Method,
    PrefixKV,
    by_tower,
)
from support.data.reviews import LONG_SPEC, SPEC, review_task, reviews
from support.oracles.masked import behind_prefix as masked_behind_prefix
from support.oracles.masked import with_masks
from support.oracles.seq2seq import ENDS as SEQ2SEQ_ENDS
from support.oracles.seq2seq import plain_logits as plain_seq2seq
from support.tiny import CONFIGS, MASKED, SEQ2SEQ, shared_backbone, tiny_backbone

SOURCES = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(5)) * 0.1

METHODS: dict[str, Callable[[], Any]] = {
    "prompt-tuning, prefix": lambda: PromptTuning(length=5, init="random"),
    "prompt-tuning, suffix": lambda: PromptTuning(length=5, init="labels", slot="suffix"),
    "prompt-tuning, long prefix": lambda: PromptTuning(length=40, init="vocabulary"),
    "prompt-tuning, infix": lambda: PromptTuning(length=5, init="random", slot="infix"),
    "p-tuning, mlp": lambda: PTuning(length=5, init="random"),
    "p-tuning, lstm": lambda: PTuning(length=5, init="vocabulary", encoder="lstm", hidden=24),
    "residual": lambda: ResidualPromptTuning(length=5, init="random", bottleneck=16),
    "residual, separate": lambda: ResidualPromptTuning(
        length=5, init="random", bottleneck=8, separate=True, layer_norm=True, slot="suffix"
    ),
    "mpt": lambda: MPT(length=5, init="random"),
    "mpt, suffix": lambda: MPT(length=5, init="vocabulary", slot="suffix"),
    "attempt, prefix": lambda: ATTEMPT(
        length=5, init="random", sources=SOURCES, bottleneck=8, temperature=0.5
    ),
    "attempt, suffix": lambda: ATTEMPT(
        length=5, init="labels", sources=SOURCES, bottleneck=8, temperature=0.5, slot="suffix"
    ),
    "attempt, infix": lambda: ATTEMPT(
        length=5, init="random", sources=SOURCES, bottleneck=8, temperature=0.5, slot="infix"
    ),
    "dept, prefix": lambda: DePT(length=5, init="random", rank=4, tokens=6),
    "dept, suffix": lambda: DePT(length=5, init="random", rank=4, tokens=60, slot="suffix"),
    "prefix-tuning": lambda: PrefixTuning(length=5, init="zero", hidden=8),
    "prefix-tuning, text": lambda: PrefixTuning(length=40, text="good or bad", hidden=48),
    "p-tuning-v2, random": lambda: PTuningV2(length=5, init="random"),
    "p-tuning-v2, zero": lambda: PTuningV2(length=20, init="zero"),
    "p-tuning-v2, late": lambda: PTuningV2(length=5, init="random", slot="infix"),
    "prefix-tuning, late": lambda: PrefixTuning(length=5, init="zero", hidden=8, slot="infix"),
    "deep-prompts, prefix": lambda: DeepPrompts(length=5, init="random"),
    "deep-prompts, long prefix": lambda: DeepPrompts(length=40, init="vocabulary"),
    "deep-prompts, infix": lambda: DeepPrompts(length=5, init="labels", slot="infix"),
    "wayward": lambda: Wayward(length=5, text="good or bad"),
    "prompt-tuning, decoder": lambda: PromptTuning(length=0, decoder_length=4, init="vocabulary"),
    "prompt-tuning, both": lambda: PromptTuning(length=5, decoder_length=3, init="random"),
}
# The rest of the encoder-decoders are cousins of BART, and in tests/backbones/test_seq2seq.py.
KINDS = [*CONFIGS, "t5-relu", "t5-gated", "bart", "marian-scaled", *MASKED]
FAMILY = {k: "seq2seq" if k in SEQ2SEQ else "masked" if k in MASKED else "causal" for k in KINDS}
TAKES = {kind: dict(FAMILIES[FAMILY[kind]].takes) for kind in KINDS}
# It brings an attention of its own.
TAKES["deberta-v2"]["text"] -= {"prefix-kv"}
# Tokens that differ in what they see of a prefix: not where a window counts it, or alibi does.
for each in ("mistral-sliding", "gemma2-softcap", "bloom-alibi"):
    TAKES[each]["text"] -= {"late-prefix-kv"}


def supported(name: str, kind: str) -> bool:
    required = METHODS[name]().requires.items()
    return all(set(kinds) <= TAKES[kind].get(tower, set()) for tower, kinds in required)


PAIRS = {
    pass_: [(name, kind) for name in METHODS for kind in KINDS if supported(name, kind) is pass_]
    for pass_ in (True, False)
}
passing = pytest.mark.parametrize(("name", "kind"), PAIRS[True])
# Whole runs cost most, and what they add to the checks above lies in training, not in the backbone:
# a backbone of each way of running, packed, padded, sliding, with an encoder, and one alone.
TRAINED = ("llama", "bloom-alibi", "mistral-sliding", "t5-gated", "roberta")
training = pytest.mark.parametrize(
    ("name", "kind"), [pair for pair in PAIRS[True] if pair[1] in TRAINED]
)
generating = pytest.mark.parametrize(
    ("name", "kind"), [pair for pair in PAIRS[True] if pair[1] not in MASKED]
)
causal_only = pytest.mark.parametrize(
    ("name", "kind"), [pair for pair in PAIRS[True] if pair[1] in CONFIGS]
)


def spec_for(slot: str, kind: str, spec: TaskSpec = SPEC) -> TaskSpec:
    place = "{prompt}" if slot == "infix" else ""
    said = " {mask}." if kind in MASKED else ""
    return spec.model_copy(update={"template": f"Review: {{text}}\n{place}Sentiment:{said}"})


def rows_of(slot: str, kind: str, spec: TaskSpec = SPEC) -> list[Encoded]:
    spec, tokenizer = spec_for(slot, kind, spec), shared_backbone(kind).tokenizer
    return [spec.encode(record, tokenizer, slot) for record in reviews(6)]


def made(
    name: str, kind: str, make: Callable[[str], Any] = shared_backbone
) -> tuple[Any, Any, Method]:
    """A backbone, by default one that tests only read, a method's settings, and the method."""
    case = case_of(name, kind, make)
    return case.backbone, case.settings, case.method()


def case_of(name: str, kind: str, make: Callable[[str], Any] = shared_backbone) -> MethodCase:
    """By default on a backbone that tests only read."""
    config = METHODS[name]()
    return MethodCase(make(kind), config, spec_for(config.slot, kind))


def next_logits(backbone: Backbone, rows: list[Encoded], method: Method) -> Tensor:
    with torch.no_grad():
        batch = collate([(row, ()) for row in rows], read="next")
        return backbone.forward(batch, method.injection())


@passing
def test_shapes(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    injection = method.injection()
    assert injection.length == config.length + getattr(config, "decoder_length", 0)
    lengths = {"text": config.length, "decoder": getattr(config, "decoder_length", 0)}
    for tower, piece in by_tower(injection).items():
        if isinstance(piece, PrefixKV):
            assert piece.keys_values.dtype == torch.float32
            assert piece.keys_values.shape[:2] == (backbone.num_layers, 2)
        else:
            deep = (backbone.num_layers,) if isinstance(piece, LayerTokens) else ()
            assert piece.vectors.shape == (*deep, lengths[tower], backbone.hidden_size)
            assert piece.vectors.dtype == torch.float32
    logits = next_logits(backbone, rows_of(config.slot, kind), method)
    assert logits.shape == (6, backbone.vocab_size) and logits.dtype == torch.float32


@passing
def test_only_the_injection_gets_gradients(name: str, kind: str) -> None:
    check_gradients(case_of(name, kind))


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_kept(name: str) -> None:
    check_settings(case_of(name, "llama"))


@causal_only
def test_recomputed_activations_give_the_same_gradients(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind, tiny_backbone)
    spec, found = spec_for(config.slot, kind), []
    for recompute in (False, True):
        backbone.recompute = recompute
        rows = rows_of(config.slot, kind)
        loss, _ = batch_loss(backbone, spec, rows, method.injection(), "tokens")
        found.append(torch.autograd.grad(loss, list(method.parameters())))
    for kept, again in zip(*found, strict=True):
        assert torch.equal(kept, again)


@passing
def test_beside_another_prompt_in_one_pass(name: str, kind: str) -> None:
    check_other_prompts(case_of(name, kind))


@training
def test_training(name: str, kind: str) -> None:
    """The backbone is the same afterwards, what is saved is loaded, a seed has one prompt."""
    check_training(case_of(name, kind, tiny_backbone))


@passing
def test_padding_does_not_matter(name: str, kind: str) -> None:
    check_padding(case_of(name, kind))


@passing
def test_batch_mates_do_not_matter(name: str, kind: str) -> None:
    check_batch_mates(case_of(name, kind))


@passing
def test_same_as_the_plain_formula(name: str, kind: str) -> None:
    """Row by row: no cache, no mask, no hook, no sharing."""
    backbone, config, method = made(name, kind)
    rows = rows_of(config.slot, kind)
    ours = next_logits(backbone, rows, method)
    for row, logits in zip(rows, ours, strict=True):
        with torch.no_grad():
            plain = plain_logits(backbone, kind, row, (0,), method)[-1]
        torch.testing.assert_close(logits, plain, atol=1e-4, rtol=1e-4)


def plain_logits(
    backbone: Backbone, kind: str, row: Encoded, target: tuple[int, ...], method: Method
) -> Tensor:
    """[len(target), V] the logits of a target behind a row with the injection in place."""
    injection, model = method.injection(), backbone.model
    if isinstance(injection, InputTokens) and injection.mix is not None:
        injection = mixed(injection, context_embeds(model, kind, row, len(target)))
    if kind in SEQ2SEQ:
        return plain_seq2seq(model, kind, row, injection, target)
    if kind in MASKED:
        return plain_masked(model, kind, row, injection, len(target))
    embeds = model.get_input_embeddings()(torch.tensor([*row.context, *target[:-1]]))
    if isinstance(injection, PrefixKV):
        before = row.slot if injection.late else 0
        return behind_prefix(model, embeds, injection, before)[-len(target) :]
    return with_vectors(model, embeds, injection, row.slot)[-len(target) :]


def context_embeds(model: Any, kind: str, row: Encoded, count: int) -> Tensor:
    """[T, H] the embeddings of what a model reads before an answer, or with its masks."""
    ids = list(row.context)
    if kind in MASKED:
        ids, _ = with_masks(row, count)
    if kind in SEQ2SEQ:
        ids, model = [*ids, *SEQ2SEQ_ENDS], model.get_encoder()
    found: Tensor = model.get_input_embeddings()(torch.tensor(ids))
    return found


def mixed(injection: InputTokens, context: Tensor) -> InputTokens:
    """ATTEMPT's prompt of one context [T, H], prompt by prompt; Asai et al. 2022, section 3.2."""
    mix = injection.mix
    assert mix is not None
    middle = mix.down @ context.max(0).values
    query = mix.up @ (middle * torch.sigmoid(middle))
    query = (query - query.mean()) / (query.var(unbiased=False) + 1e-5).sqrt()
    query = query * mix.norm + mix.norm_bias
    prompts = [*mix.sources, injection.vectors]
    scores = [float(prompt.max(0).values @ query) / mix.temperature for prompt in prompts]
    shares = [math.exp(score - max(scores)) for score in scores]
    terms = (prompt * share for prompt, share in zip(prompts, shares, strict=True))
    return InputTokens(injection.vectors + sum(terms, torch.zeros(())) / sum(shares))


def plain_masked(model: Any, kind: str, row: Encoded, injection: Injection, count: int) -> Tensor:
    """[count, V] the logits at so many masks."""
    assert row.mask is not None
    ids, slot = with_masks(row, count)
    if isinstance(injection, PrefixKV):
        logits, at = masked_behind_prefix(model, ids, injection, int(kind == "roberta")), row.mask
    else:
        embeds = model.get_input_embeddings()(torch.tensor(ids))
        logits = with_vectors(model, embeds, injection, slot)
        at = row.mask + (len(logits) - len(ids) if slot <= row.mask else 0)
    return logits[at : at + count]


def with_vectors(
    model: Any, embeds: Tensor, injection: InputTokens | LayerTokens, slot: int
) -> Tensor:
    """[P + T, V] the logits of embeddings [T, H] with the injection's vectors at a place."""
    if isinstance(injection, LayerTokens):
        vectors = injection.vectors[0]
    else:
        vectors = injection.vectors
        if injection.shifts is not None:
            count = min(len(injection.shifts), len(embeds))
            embeds = torch.cat([embeds[:count] + injection.shifts[:count], embeds[count:]])
    embeds = torch.cat([embeds[:slot], vectors, embeds[slot:]])[None]
    deep = injection.vectors if isinstance(injection, LayerTokens) else None
    with stamped(model, deep, slice(slot, slot + len(vectors))):
        logits: Tensor = model(inputs_embeds=embeds).logits[0]
    return logits


def behind_prefix(model: Any, embeds: Tensor, injection: PrefixKV, before: int = 0) -> Tensor:
    """[T, V] the logits, of which the first `before` are run without the prefix."""
    cache, logits = DynamicCache(config=model.config), []
    if before:
        logits.append(model(inputs_embeds=embeds[None, :before], past_key_values=cache).logits[0])
    earlier = [(layer.keys[0], layer.values[0]) for layer in cache.layers] if before else []
    cache = DynamicCache(config=model.config)
    for layer, given in enumerate(injection.keys_values):
        pair = (
            given
            if not earlier
            else [torch.cat(two, 1) for two in zip(given, earlier[layer], strict=True)]
        )
        cache.update(pair[0][None], pair[1][None], layer)
    mask = torch.ones(1, injection.length + len(embeds), dtype=torch.long)
    logits.append(
        model(
            inputs_embeds=embeds[None, before:], past_key_values=cache, attention_mask=mask
        ).logits[0]
    )
    return torch.cat(logits)


@contextmanager
def stamped(model: Any, layers: Tensor | None, places: slice) -> Iterator[None]:
    """Let every layer but the first find given vectors at some places."""
    if layers is None:
        yield
        return
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    found = next(m for m in lists if len(m) == len(layers))

    def stamp(number: int) -> Any:
        def hook(_: Any, args: Any, options: Any) -> Any:
            hidden = (args[0] if args else options["hidden_states"]).clone()
            hidden[:, places] = layers[number]
            if args:
                return (hidden, *args[1:]), options
            return args, {**options, "hidden_states": hidden}

        return hook

    handles = [
        m.register_forward_pre_hook(stamp(number), with_kwargs=True)
        for number, m in enumerate(found)
        if number
    ]
    yield
    for handle in handles:
        handle.remove()


@causal_only
def test_nothing_runs_twice(name: str, kind: str) -> None:
    """The speed's counts: one pass, an early prompt once for all rows, logits at the reads."""
    backbone, config, method = made(name, kind, tiny_backbone)
    rows = rows_of(config.slot, kind)
    own = sum(len(row.context) for row in rows)
    length = method.injection().length
    packs = backbone.remember([(5, 6)]) is not None
    backbone.remember(())
    backbone.reset_counts()
    next_logits(backbone, rows, method)
    counts = backbone.counts
    assert counts["logits"] == len(rows)
    if packs:
        assert counts["calls"] == 1
        own_each = config.slot != "prefix" or "mixed-tokens" in config.injects
        times = len(rows) if own_each else 1
        if "prefix-kv" in config.injects:
            times = 0  # its positions are never run
        assert counts["tokens"] <= own + length * times


@passing
def test_loss_of_long_targets_is_the_plain_one(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    rows = rows_of(config.slot, kind, LONG_SPEC)
    spec = spec_for(config.slot, kind, LONG_SPEC)
    with torch.no_grad():
        loss, count = batch_loss(backbone, spec, rows, method.injection(), "tokens")
        plain = torch.zeros((), dtype=torch.float64)
        for row in rows:
            logs = plain_logits(backbone, kind, row, row.target, method).double().log_softmax(-1)
            plain -= logs.gather(1, torch.tensor([row.target]).T).sum()
    assert count == sum(len(row.target) for row in rows) > len(rows)
    torch.testing.assert_close(loss.double(), plain, atol=1e-4, rtol=1e-5)


@generating
def test_generation_goes_on_as_the_plain_formula(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    rows = rows_of(config.slot, kind)
    with torch.no_grad():
        texts = [row.context for row in rows]
        ours = backbone.generate(texts, [row.placement for row in rows], method.injection(), 4)
        for row, answer in zip(rows, ours, strict=True):
            said: tuple[int, ...] = ()
            for token in answer:
                logits = plain_logits(backbone, kind, row, (*said, 0), method)[-1]
                assert logits[token] >= logits.max() - 1e-3
                said += (token,)


@pytest.mark.parametrize(("name", "kind"), PAIRS[False])
def test_what_a_backbone_cannot_take_is_refused_before_any_work(name: str, kind: str) -> None:
    backbone, events = tiny_backbone(kind), []
    with pytest.raises(ConfigError, match="cannot be used with this method"):
        train(backbone, review_task(40), METHODS[name](), observer=events.append)
    assert not events and backbone.counts["calls"] == 0
    assert "fingerprint" not in vars(backbone) and "embeddings" not in vars(backbone)
