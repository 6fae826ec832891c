"""A text in front, as its own keys and values: exactly the text, on several architectures."""

from __future__ import annotations

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.errors import BackboneError, ConfigError, CuecardError, DataError
from cuecard.tasks import TaskSpec, collate
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.settings import CompileConfig
from cuecard.training.compiling.starts import injection_of_start, start_of
from cuecard.types import Encoded, Placement, Record
from support.tiny import shared_backbone, tiny_model, tiny_tokenizer

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it ."
PLAIN = TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:", max_new_tokens=12)
CHAT = TaskSpec(kind="text-to-text", template="Read: {prompt}\n{text}", chat=True, system="be true")
SYSTEM = TaskSpec(kind="text-to-text", template="{text}", chat=True, system="Read: {prompt}")
RECORDS = [Record({"text": text}, "bad") for text in ("a film", "quick brown foxes and one year")]
KINDS = ("llama", "gpt2", "qwen2", "qwen3", "opt", "mistral-sliding", "gemma2-softcap")


def with_bos(kind: str) -> CausalBackbone:
    return CausalBackbone(tiny_model(kind), tiny_tokenizer("<s> $A"), f"tiny-{kind}-bos")


def check_is_the_text(backbone: CausalBackbone, spec: TaskSpec) -> FullText:
    """As many positions as the text has, started from its own: logits and greedy answers."""
    text = FullText.of(backbone, spec, TEXT)
    start = start_of(text, text.length, CompileConfig(into=(text.length,)))
    prompt = injection_of_start(start, text)
    rows = [text.spec.encode(record, backbone.tokenizer, text.slot) for record in RECORDS]
    whole = [
        Encoded((*row.context[: row.slot], *text.ids, *row.context[row.slot :]), row.target)
        for row in rows
    ]
    with torch.inference_mode():
        found = backbone.forward(collate([(row, row.target) for row in rows]), prompt)
        wanted = backbone.forward(collate([(row, row.target) for row in whole]), None)
    torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-4 * float(wanted.abs().max()))
    answers = [
        backbone.generate([r.context for r in some], [r.placement for r in some], given, 12)
        for some, given in ((rows, prompt), (whole, None))
    ]
    assert answers[0] == answers[1] and any(answers[0])
    # It makes a difference.
    bare = backbone.forward(collate([(row, row.target) for row in rows]), None)
    assert float((bare - wanted).abs().max()) > 0.1
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_own_keys_and_values_are_the_text(kind: str) -> None:
    text = check_is_the_text(shared_backbone(kind), PLAIN)
    assert text.slot == "prefix" and not text.before


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("spec", [PLAIN, CHAT, SYSTEM], ids=["bos", "chat", "system"])
def test_so_they_are_after_what_opens_every_request(kind: str, spec: TaskSpec) -> None:
    backbone = with_bos(kind)
    text = check_is_the_text(backbone, spec)
    assert text.slot == "infix" and (text.before == (1,)) is (spec is PLAIN)
    said = backbone.tokenizer.decode(text.before)
    wanted = {CHAT: "<|system|>be true<|end|><|user|>Read: ", SYSTEM: "<|system|>Read: "}
    assert spec is PLAIN or said == wanted[spec]


@pytest.mark.parametrize(
    ("backbone", "spec", "text", "error", "said"),
    [
        (shared_backbone(), PLAIN, " \n", DataError, "nothing to compile"),
        (shared_backbone(), PLAIN, TEXT * 10, ConfigError, "longer than the backbone's context"),
        (shared_backbone("bloom-alibi"), CHAT, TEXT, ConfigError, "an attention of its own"),
        (with_bos("mistral-sliding"), PLAIN, TEXT, ConfigError, "a sliding window"),
        (shared_backbone("t5-relu"), PLAIN, TEXT, ConfigError, "not a causal language model"),
    ],
    ids=["empty", "long", "alibi", "sliding", "seq2seq"],
)
def test_what_cannot_be_compiled(
    backbone: CausalBackbone, spec: TaskSpec, text: str, error: type[CuecardError], said: str
) -> None:
    with pytest.raises(error, match=said):
        FullText.of(backbone, spec, text)


@pytest.mark.parametrize(
    "template", ["{text} {prompt}", "{prompt}{prompt}{text}", "{prompt:3}{text}"]
)
def test_the_text_has_one_place_before_the_fields(template: str) -> None:
    spec = TaskSpec(kind="text-to-text", template=template)
    with pytest.raises(ConfigError, match="differ from input to input"):
        FullText.of(shared_backbone(), spec, TEXT)


def test_a_window_that_loses_the_texts_beginning_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = CausalBackbone(tiny_model("mistral-sliding"), tiny_tokenizer(), "tiny")
    whole = backbone.states

    def run(vectors: torch.Tensor) -> object:
        found = whole(vectors)
        return type(found)(found.hidden, None) if len(vectors) > 16 else found

    monkeypatch.setattr(backbone, "states", run)
    with pytest.raises(BackboneError, match="within the sliding window"):
        FullText.of(backbone, PLAIN, TEXT)


def test_its_first_tokens_are_the_cut_text_and_its_last_ones_run_alone() -> None:
    backbone = with_bos("llama")
    text = FullText.of(backbone, PLAIN, TEXT)
    for some, found in ((text.ids[:5], text.first(5)), (text.ids[-5:], text.last(5))):
        ids = torch.tensor([*text.before, *some])
        kept = backbone.states(backbone.embeddings[ids]).keys_values
        assert kept is not None and found.late
        torch.testing.assert_close(found.keys_values, kept[..., 1:, :], rtol=1e-4, atol=1e-4)


def test_control_tokens_in_a_text_are_text() -> None:
    text = FullText.of(shared_backbone(), PLAIN, "one </s> two")
    assert 2 not in text.ids


def test_inputs_must_fit_after_the_text() -> None:
    backbone = shared_backbone()
    text = FullText.of(backbone, PLAIN, TEXT * 5)
    text.check_rows(RECORDS)
    with pytest.raises(ConfigError, match="no room for the text, the longest input") as refused:
        text.check_rows([Record({"text": "x y z " * 40}, None)])
    assert f"{text.length:,} of the text" in str(refused.value)
    assert Placement.at(0) == text.spec.encode(RECORDS[0], backbone.tokenizer).placement
