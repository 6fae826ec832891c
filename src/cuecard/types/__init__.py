"""The whole architecture on one page.

A **task** turns records into encoded rows and knows nothing of models. A **method** owns trainable
parameters and yields an **injection**. A **backbone** is a frozen model that takes a batch and an
injection and returns logits where there is something to read. Only training, evaluation and the
command line join the three.

    records -> encoded rows -> batch -> backbone(batch, injection) -> logits at the reads -> loss
                                              ^                                              |
                                      method.injection()  <------- gradient, only here ------+

`data` is what flows, `injections` what a method yields, `protocols` what methods and backbones are.
"""

from cuecard.types.data import (
    Answer,
    Batch,
    Encoded,
    Image,
    Interval,
    KeptReads,
    Placement,
    Prediction,
    ReadKind,
    Record,
    Split,
    Value,
    common_beginning,
    value_text,
)
from cuecard.types.injections import (
    Injection,
    InjectionKind,
    InputTokens,
    LayerTokens,
    PrefixKV,
    Slot,
    Tower,
    TowerInjection,
    Towers,
    by_tower,
)
from cuecard.types.protocols import (
    Backbone,
    Differentiable,
    Fingerprint,
    HasDecoder,
    HasPatches,
    Head,
    InitContext,
    KeptInputs,
    Method,
    MethodConfig,
    Noisy,
    ParameterGroup,
    Patches,
    PeftTask,
    Pick,
    Reads,
    Recomputes,
    ShowsAttention,
    States,
    StopsEarly,
    Tokenizer,
    TokenTfidf,
)

__all__ = [
    "Answer",
    "Backbone",
    "Batch",
    "Differentiable",
    "Encoded",
    "Fingerprint",
    "HasDecoder",
    "HasPatches",
    "Head",
    "Image",
    "InitContext",
    "Injection",
    "InjectionKind",
    "InputTokens",
    "Interval",
    "KeptInputs",
    "KeptReads",
    "LayerTokens",
    "Method",
    "MethodConfig",
    "Noisy",
    "ParameterGroup",
    "Patches",
    "PeftTask",
    "Pick",
    "Placement",
    "Prediction",
    "PrefixKV",
    "ReadKind",
    "Reads",
    "Recomputes",
    "Record",
    "ShowsAttention",
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
