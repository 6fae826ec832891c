"""Convert an injection to named tensors for a file, and back.

The names and layouts are those that PEFT gives them where it has the kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from cuecard.artifacts.safetensors_file import TENSOR_NAME
from cuecard.errors import ArtifactError
from cuecard.lazy import torch
from cuecard.types import (
    Head,
    ImageShift,
    Injection,
    InputTokens,
    LabelTokens,
    LayerTokens,
    NamePlace,
    PrefixKV,
    PromptMix,
    TokenTfidf,
    Tower,
    TowerInjection,
    Towers,
    by_tower,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.artifacts.safetensors_file import Array

InjectionName = Literal[
    "input-tokens", "prefix-kv", "late-prefix-kv", "layer-tokens", "label-tokens", "none"
]

HeadName = Literal["linear", "pooled", "labels"]

WITH_HEADS: frozenset[InjectionName] = frozenset({"prefix-kv", "late-prefix-kv"})
"""Keys and values."""

# Shifts of tokens; vectors of every layer.
SHIFTS_NAME, LAYERS_NAME = "token_shifts", "layer_embeddings"

# Vectors of other towers than the text's: those in front of an encoder-decoder's decoder input,
# those beside an image's patches.
DECODER_NAME, VISION_NAME = "decoder_embeddings", "vision_embeddings"
TOWER_NAMES: Mapping[Tower, str] = MappingProxyType(
    {"decoder": DECODER_NAME, "vision": VISION_NAME}
)

# Vectors around labels' names [C, L', n, H], and beside them those of an image's patches, anew in
# some of the layers.
LABELS_NAME, VISION_LAYERS_NAME = "label_embeddings", "vision_layer_embeddings"

# Of vectors that each image moves: W1 [M, D], b1 [M], W2 [H, M] and b2 [H] of the meta-net.
SHIFT_DOWN, SHIFT_DOWN_BIAS = "label_shift.down.weight", "label_shift.down.bias"
SHIFT_UP, SHIFT_UP_BIAS = "label_shift.up.weight", "label_shift.up.bias"
SHIFT_NAMES = (SHIFT_DOWN, SHIFT_DOWN_BIAS, SHIFT_UP, SHIFT_UP_BIAS)

# Of a prompt that depends on the input: source prompts [S, P, H], projections [R, H] and [H, R],
# a layer norm's numbers [H], and the temperature [1].
MIX_SOURCES, MIX_TEMPERATURE = "mix.sources", "mix.temperature"
MIX_DOWN, MIX_UP = "mix.down.weight", "mix.up.weight"
MIX_NORM, MIX_NORM_BIAS = "mix.norm.weight", "mix.norm.bias"
MIX_NAMES = (MIX_SOURCES, MIX_DOWN, MIX_UP, MIX_NORM, MIX_NORM_BIAS, MIX_TEMPERATURE)

# PEFT's names of a multitask prompt's factors, [tasks, P, rank] and [tasks, rank, H].
TASK_COLUMNS, TASK_ROWS = "prefix_task_cols", "prefix_task_rows"

# A task's linear head; PEFT passes over tensors that it does not know.
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"
# Of a pooled head that counts V tokens: [2, V] their ids and inverse document frequencies.
HEAD_TFIDF = "head.tfidf"
HEAD_NAMES = frozenset({HEAD_WEIGHT, HEAD_BIAS, HEAD_TFIDF})

RANKS: Mapping[str, int] = MappingProxyType(
    {
        TENSOR_NAME: 2,
        SHIFTS_NAME: 2,
        **dict.fromkeys(TOWER_NAMES.values(), 2),
        LAYERS_NAME: 3,
        LABELS_NAME: 4,
        VISION_LAYERS_NAME: 3,
        SHIFT_DOWN: 2,
        SHIFT_DOWN_BIAS: 1,
        SHIFT_UP: 2,
        SHIFT_UP_BIAS: 1,
        MIX_SOURCES: 3,
        MIX_DOWN: 2,
        MIX_UP: 2,
        MIX_NORM: 1,
        MIX_NORM_BIAS: 1,
        MIX_TEMPERATURE: 1,
        HEAD_WEIGHT: 2,
        HEAD_BIAS: 1,
        HEAD_TFIDF: 2,
    }
)

# A kind's tensors: those of which it must have one, and those it may have besides.
NAMES: Mapping[InjectionName, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "input-tokens": (
            frozenset({TENSOR_NAME, *TOWER_NAMES.values()}),
            frozenset({SHIFTS_NAME, *MIX_NAMES}),
        ),
        "prefix-kv": (frozenset({TENSOR_NAME}), frozenset()),
        "late-prefix-kv": (frozenset({TENSOR_NAME}), frozenset()),
        "layer-tokens": (frozenset({LAYERS_NAME}), frozenset()),
        "label-tokens": (
            frozenset({LABELS_NAME}),
            frozenset({VISION_LAYERS_NAME, *SHIFT_NAMES}),
        ),
        # A task of a LoRA adapter that was trained without a prompt.
        "none": (frozenset(), frozenset()),
    }
)


class LazyTensors(Mapping[str, "Tensor"]):
    """Arrays that become tensors, of the same memory, when they are asked for."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def arrays_of(tensors: Mapping[str, Tensor]) -> Mapping[str, Array]:
    """The tensors' memory as numpy arrays."""
    if isinstance(tensors, LazyTensors):
        return tensors.arrays
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def injection_name(injection: Injection) -> InjectionName:
    """What a manifest calls this kind of injection."""
    if isinstance(injection, PrefixKV):
        return "late-prefix-kv" if injection.late else "prefix-kv"
    if isinstance(injection, LayerTokens):
        return "layer-tokens"
    if "labels" in by_tower(injection):
        return "label-tokens"
    bare = isinstance(injection, InputTokens) and injection.shifts is None
    return "none" if bare and not injection.length else "input-tokens"


def tensors_of(injection: Injection, head: Head | None = None) -> dict[str, Tensor]:
    """Float32 copies on the CPU, by name. Keys and values are [P, L * 2 * K * D], as PEFT's.

    Raises:
        ArtifactError: an injection into another tower than the text's that cannot be stored.
    """
    found: dict[str, Tensor] = {}
    for tower, piece in by_tower(injection).items():
        if tower == "text":
            found |= _tensors_of_text(piece)
        else:
            found |= _tensors_for(tower, piece)
    if head is not None:
        found |= {HEAD_WEIGHT: head.weight, HEAD_BIAS: head.bias}
        if head.tfidf is not None:  # ids below 2 ** 24, as those of every vocabulary are
            found[HEAD_TFIDF] = torch.stack([head.tfidf.ids.float(), head.tfidf.idf])
    return {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in found.items()
    }


def _tensors_of_text(piece: TowerInjection) -> dict[str, Tensor]:
    if isinstance(piece, PrefixKV):
        return {TENSOR_NAME: piece.matrix}
    if isinstance(piece, LayerTokens):
        return {LAYERS_NAME: piece.vectors}
    if isinstance(piece, LabelTokens):
        moved = piece.shift
        numbers = () if moved is None else (moved.down, moved.down_bias, moved.up, moved.up_bias)
        return {LABELS_NAME: piece.vectors} | dict(zip(SHIFT_NAMES, numbers, strict=False))
    tensors = {SHIFTS_NAME: piece.shifts} if piece.shifts is not None else {}
    if piece.mix is not None:
        tensors |= _tensors_of_mix(piece.mix)
    return {TENSOR_NAME: piece.vectors} | tensors if piece.length or tensors else tensors


def _tensors_of_mix(mix: PromptMix) -> dict[str, Tensor]:
    numbers = mix.sources, mix.down, mix.up, mix.norm, mix.norm_bias
    return {**dict(zip(MIX_NAMES, numbers, strict=False)), MIX_TEMPERATURE: _one(mix.temperature)}


def _one(number: float) -> Tensor:
    return torch.tensor([number], dtype=torch.float32)


def _tensors_for(tower: Tower, piece: TowerInjection) -> dict[str, Tensor]:
    if isinstance(piece, LabelTokens):
        return _tensors_of_text(piece)
    if isinstance(piece, LayerTokens) and tower == "vision":
        return {VISION_LAYERS_NAME: piece.vectors}
    plain = isinstance(piece, InputTokens) and piece.shifts is None and piece.mix is None
    if not isinstance(piece, InputTokens) or not plain:
        raise ArtifactError(
            "a prompt for this tower cannot be stored",
            where=f"{tower} tower",
            got=type(piece).__name__,
            expected="vectors among the tower's inputs alone",
        )
    return {TOWER_NAMES[tower]: piece.vectors}


def injection_of(
    tensors: Mapping[str, Tensor],
    kind: InjectionName,
    *,
    layers: int,
    hidden_size: int,
    key_heads: int | None,
    place: NamePlace = "end",
    names: Sequence[str] = (),
) -> Injection:
    """What a backbone takes.

    Args:
        layers: L.
        hidden_size: H.
        key_heads: K; None for a kind without keys.
        place: where a label's name stands, of vectors around names.
        names: the labels', of vectors that each image moves.
    """
    if kind == "label-tokens":
        shift = None
        if SHIFT_DOWN in tensors:
            down, down_bias, up, up_bias = (tensors[name] for name in SHIFT_NAMES)
            shift = ImageShift(down, down_bias, up, up_bias, tuple(names))
        tokens = LabelTokens(tensors[LABELS_NAME], place, shift)
        around: dict[Tower, TowerInjection] = {"labels": tokens}
        if VISION_LAYERS_NAME in tensors:
            around["vision"] = LayerTokens(tensors[VISION_LAYERS_NAME])
        return Towers(around)
    if kind == "layer-tokens":
        return LayerTokens(tensors[LAYERS_NAME])
    if kind in WITH_HEADS:
        late = kind == "late-prefix-kv"
        return PrefixKV.of_matrix(tensors[TENSOR_NAME], layers, key_heads or 1, late=late)
    mix = None
    if MIX_SOURCES in tensors:
        sources, down, up, norm, bias, temperature = (tensors[name] for name in MIX_NAMES)
        mix = PromptMix(sources, down, up, norm, bias, float(temperature))
    text = InputTokens(vectors_of(tensors, hidden_size), tensors.get(SHIFTS_NAME), mix)
    pieces: dict[Tower, TowerInjection] = {"text": text}
    for tower, name in TOWER_NAMES.items():
        if name in tensors:
            pieces[tower] = InputTokens(tensors[name])
    return Towers(pieces) if len(pieces) > 1 else text


def head_in(tensors: Mapping[str, Tensor], layers: tuple[int, ...] = ()) -> Head | None:
    """The head among a prompt's tensors; None without one.

    Args:
        layers: those that a pooled head reads.
    """
    if HEAD_WEIGHT not in tensors:
        return None
    tfidf = None
    if HEAD_TFIDF in tensors:
        ids, idf = tensors[HEAD_TFIDF]
        tfidf = TokenTfidf(ids.long(), idf)
    return Head(
        tensors[HEAD_WEIGHT],
        tensors[HEAD_BIAS],
        layers,
        tfidf,
        of_labels=LABELS_NAME in tensors,
        each=SHIFT_DOWN in tensors,
    )


def head_name(head: Head | None) -> HeadName | None:
    """What a manifest calls this kind of head."""
    if head is None:
        return None
    if head.of_labels:
        return "labels"
    return "pooled" if head.layers else "linear"


def without_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The injection's tensors alone."""
    return {name: tensor for name, tensor in tensors.items() if name not in HEAD_NAMES}


def vectors_of(tensors: Mapping[str, Tensor], hidden_size: int) -> Tensor:
    """[P, H] the vectors of the input, of deep prompts the first layer's.

    There are none in a prompt of the decoder alone, or of nothing. For keys and values: their
    matrix; around labels' names: all labels' vectors of the first layer.
    """
    if LABELS_NAME in tensors:
        return tensors[LABELS_NAME][:, 0].flatten(0, 1)
    if LAYERS_NAME in tensors:
        return tensors[LAYERS_NAME][0]
    return tensors[TENSOR_NAME] if TENSOR_NAME in tensors else torch.zeros(0, hidden_size)
