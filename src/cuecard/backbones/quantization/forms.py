"""The names of the precisions and quantised forms that a backbone can be loaded in."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["auto", "fp32", "bf16"]
Quantize = Literal["none", "int8", "int4", "nf4", "llm-int8"]


def loadable_form(name: str) -> Quantize:
    """The form of this name; "none" where we quantise nothing, as for a folder of AWQ weights."""
    return next((form for form in get_args(Quantize) if form == name), "none")
