"""The whole architecture on one page.

A **task** turns records into encoded rows and knows nothing of models. A **method** owns trainable
parameters and yields an **injection**. A **backbone** is a frozen model that takes a batch and an
injection and returns logits where there is something to read. Only training, evaluation and the
command line join the three.

    records -> encoded rows -> batch -> backbone(batch, injection) -> logits at the reads -> loss
                                              ^                                              |
                                      method.injection()  <------- gradient, only here ------+

`data` is what flows, `injections` what a method yields, `heads` what answers beside it;
`protocols`, `towers` and `methods` say what backbones and methods are.
"""

from cuecard.types.data import (
    Answer,
    Batch,
    Encoded,
    Frame,
    Image,
    Interval,
    KeptReads,
    Placement,
    Prediction,
    ReadKind,
    Record,
    Region,
    Split,
    Value,
    common_beginning,
    value_text,
)
from cuecard.types.heads import (
    Head,
    TokenTfidf,
)
from cuecard.types.injections import (
    LABEL,
    ZERO_SHOT,
    ImageShift,
    Injection,
    InjectionKind,
    InputTokens,
    LabelTokens,
    LayerTokens,
    NamePlace,
    PrefixKV,
    PromptMix,
    Slot,
    Tower,
    TowerInjection,
    Towers,
    by_tower,
)
from cuecard.types.methods import (
    Anchor,
    Anchored,
    Averaged,
    InitContext,
    Method,
    MethodConfig,
    NamesContext,
    Noisy,
    ParameterGroup,
)
from cuecard.types.protocols import (
    Backbone,
    Differentiable,
    Fingerprint,
    HasDecoder,
    KeptInputs,
    LayerAttention,
    PeftTask,
    Pick,
    Reads,
    Recomputes,
    ShowsQueries,
    States,
    StopsEarly,
    Tokenizer,
)
from cuecard.types.towers import (
    HasLabelTower,
    HasPatches,
    Patches,
    PlacesImages,
    ShowsAttention,
)

__all__ = [
    "LABEL",
    "ZERO_SHOT",
    "Anchor",
    "Anchored",
    "Answer",
    "Averaged",
    "Backbone",
    "Batch",
    "Differentiable",
    "Encoded",
    "Fingerprint",
    "Frame",
    "HasDecoder",
    "HasLabelTower",
    "HasPatches",
    "Head",
    "Image",
    "ImageShift",
    "InitContext",
    "Injection",
    "InjectionKind",
    "InputTokens",
    "Interval",
    "KeptInputs",
    "KeptReads",
    "LabelTokens",
    "LayerAttention",
    "LayerTokens",
    "Method",
    "MethodConfig",
    "NamePlace",
    "NamesContext",
    "Noisy",
    "ParameterGroup",
    "Patches",
    "PeftTask",
    "Pick",
    "Placement",
    "PlacesImages",
    "Prediction",
    "PrefixKV",
    "PromptMix",
    "ReadKind",
    "Reads",
    "Recomputes",
    "Record",
    "Region",
    "ShowsAttention",
    "ShowsQueries",
    "Slot",
    "Split",
    "States",
    "StopsEarly",
    "TokenTfidf",
    "Tokenizer",
    "Tower",
    "TowerInjection",
    "Towers",
    "Value",
    "by_tower",
    "common_beginning",
    "value_text",
]
