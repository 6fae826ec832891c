"""Unsupported parameters that are accepted at values without effect.

Clients send many parameters at their defaults, even ones a server lacks. Such values are dropped
here; any other value stays, and is rejected by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

Neutral = Mapping[str, tuple[Any, ...]]
"""Parameter -> the values without effect; a type means all values of that type."""

PARAMETERS: Neutral = MappingProxyType(
    {
        # Accounting, caching and routing of other providers: no effect at any value.
        "user": (str,),
        "safety_identifier": (str,),
        "metadata": (dict,),
        "store": (bool,),  # nothing is ever stored
        "prompt_cache_key": (str,),
        "prompt_cache_options": (dict,),
        "prompt_cache_retention": (str,),
        "cache_prompt": (bool,),
        "parallel_tool_calls": (bool,),
        "service_tier": ("auto", "default"),
        # A single plain text answer, without tools.
        "stream": (False,),
        "stream_options": ({}, {"include_usage": False}),
        "n": (1,),
        "best_of": (1,),
        "use_beam_search": (False,),
        "echo": (False,),
        "suffix": ("",),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "n_probs": (0,),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "reasoning_effort": ("none",),
        "verbosity": ("medium",),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "documents": ([],),
        "think": (False,),
        "enable_thinking": (False,),
        "thinking": ({"type": "disabled"},),
        "safe_prompt": (False,),
        "grammar": ("",),
        "extra_body": ({},),
        "extra_headers": ({},),
        "provider": ({},),
        # Sampling defaults.
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "repetition_penalty": (1,),
        "repeat_penalty": (1,),
        "length_penalty": (1,),
        "top_k": (-1, 0),
        "top_a": (0,),
        "min_p": (0,),
        "typical_p": (1,),
        "tfs_z": (1,),
        "mirostat": (0,),
        "num_beams": (1,),
        "no_repeat_ngram_size": (0,),
        "dry_multiplier": (0,),
        "xtc_probability": (0,),
        "dynatemp_range": (0,),
        "detokenize": (True,),
        "min_tokens": (0,),
        "ignore_eos": (False,),
        "bad_words": ([],),
        "logit_bias": ({}, []),
        "logits_processors": ([],),
        "stop": ("", []),
        "stop_token_ids": ([],),
        "include_stop_str_in_output": (False,),
        "skip_special_tokens": (True,),
        "spaces_between_special_tokens": (True,),
        "return_token_ids": (False,),
        "return_tokens_as_token_ids": (False,),
        # The backbone's own chat template.
        "chat_template_kwargs": ({},),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        # Embedding defaults.
        "encoding_format": ("float",),
        "normalize": (True,),
        "priority": (0,),
    }
)
"""Of a request, unless its route has the parameter."""

MESSAGE: Neutral = MappingProxyType(
    {
        "annotations": (list,),
        "cache_control": (dict,),
        "parsed": (dict, list, str, int, float),  # by openai's client, after a schema
        "refusal": ("",),
        "reasoning": ("",),
        "reasoning_content": ("",),
        "tool_calls": ([],),
    }
)
"""Of a message, as servers return them."""

PART: Neutral = MappingProxyType(
    {"annotations": (list,), "cache_control": (dict,), "logprobs": ([],)}
)
"""Of a part of a message."""

STREAM_OPTIONS: Neutral = MappingProxyType(
    {"include_obfuscation": (False,), "continuous_usage_stats": (False,)}
)

_TYPES = {
    str: "a string",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def without_neutral(
    given: Mapping[str, Any], own: Iterable[str], neutral: Neutral
) -> dict[str, Any]:
    """The parameters to validate.

    Args:
        given: the object sent; null is the same as a missing parameter.
        own: the supported parameters, which keep every value but null.
    """
    known = set(own)
    return {
        name: value
        for name, value in given.items()
        if value is not None and (name in known or not _among(value, neutral.get(name, ())))
    }


def why_rejected(param: str, name: str, neutral: Neutral) -> str:
    """The message about an unknown parameter, or one that must have a value without effect.

    Args:
        param: its path, such as "messages.0.tool_calls".
        name: its name, such as "tool_calls".
    """
    if name not in neutral:
        return f"Unknown parameter: '{param}'."
    values = neutral[name]
    listed = " or ".join(
        _TYPES[each] if isinstance(each, type) else json.dumps(each) for each in values
    )
    if all(isinstance(each, type) for each in values):
        return f"'{param}' must be {listed}."
    return f"'{param}' is not supported: leave it out or send {listed}."


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    for each in values:
        if isinstance(each, type):
            if isinstance(value, each):
                return True
        # True == 1, but `"n": true` is a mistake.
        elif isinstance(value, bool) is isinstance(each, bool) and value == each:
            return True
    return False
