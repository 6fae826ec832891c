"""Saved prompts as words: those that a search found, and those nearest to a trained prompt."""

from __future__ import annotations

import warnings

from cuecard.artifacts import Prompt, check_backbone
from cuecard.errors import ConfigError, CuecardWarning
from cuecard.lazy import torch
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searchers.writing import with_instruction
from cuecard.search.words.nearest_tokens import NearestTokens, nearest_tokens, readable_tokens
from cuecard.tasks.template import Template
from cuecard.types import Backbone

# Vectors that a training has hardly moved are this near to their words.
_NEAR = 0.9


def words_in_front(prompt: Prompt) -> str:
    """What a prompt without vectors says once, before every record; "" where it says nothing."""
    template = prompt.spec.template
    parts = prompt.manifest.method_config.get("parts")
    own = parts.get("template") if isinstance(parts, dict) else None
    if isinstance(own, str) and own and template.endswith(own):
        return template.removesuffix(own).replace("{{", "{").replace("}}", "}")
    first = Template(template).pieces[0]
    return "" if first.is_field else first.text


def candidates_of(
    prompt: Prompt, base: PromptCandidate, backbone: Backbone | None, where: str
) -> list[PromptCandidate]:
    """A saved prompt as candidates of a search: its words, or those nearest to its vectors.

    Warns of how far these are: they need not do what the vectors do (Khashabi et al. 2022,
    arXiv:2112.08348).

    Args:
        base: what the words are the instruction of.
        backbone: that answers; None for an LLM elsewhere.
        where: the prompt's folder, for messages.

    Raises:
        WrongBackboneError: a prompt of another backbone.
        ConfigError: vectors where an LLM elsewhere answers, or others than among the inputs.
    """
    if not prompt.tensors:
        words = words_in_front(prompt).strip()
        return [with_instruction(base, words, f"the words of {where}")] if words else []
    if backbone is None:
        raise ConfigError(
            "vectors have words near to them only among their backbone's",
            where="--start",
            got=f"{where}, where an LLM elsewhere answers",
            expected="a search's folder, or a backbone that answers",
        )
    check_backbone(prompt.manifest.backbone, backbone, where)
    vectors = prompt.vectors
    if prompt.manifest.injection.endswith("prefix-kv") or not len(vectors):
        raise ConfigError(
            "only vectors among the input embeddings have words near to them",
            where=where,
            got=prompt.manifest.injection,
            expected="a prompt of input tokens, such as prompt tuning's",
        )
    allowed = readable_tokens(backbone.tokenizer, len(backbone.embeddings))
    table = backbone.embeddings
    by_cosine = nearest_tokens(vectors, table, allowed)
    by_distance = nearest_tokens(vectors, table, allowed, "l2")
    _warn(by_cosine, where)
    texts: dict[str, str] = {}
    for name, found in (("cosine", by_cosine), ("distance", by_distance)):
        text = str(backbone.tokenizer.decode(list(found.ids))).strip()
        texts.setdefault(text, f"nearest to {where} by {name}")
    return [with_instruction(base, text, origin) for text, origin in texts.items() if text]


def _warn(found: NearestTokens, where: str) -> None:
    cosines = torch.tensor(found.cosines)
    mean = float(cosines.mean())
    if mean < _NEAR:
        warnings.warn(
            CuecardWarning(
                f"{where}: the words nearest to its {len(cosines)} vectors are far from them, at a "
                f"mean cosine of {mean:.2f} (from {float(cosines.min()):.2f} to "
                f"{float(cosines.max()):.2f}); as text they need not do what the vectors do"
            ),
            stacklevel=3,
        )
