"""The text made shorter: what a prompt of as many positions has to be better than.

* its first and its last tokens;
* the model's own summary of the text, greedily written and cut to the length;
* the text without its least informative tokens: of each token t the self-information
  -log p(t | the tokens before it) by the model itself, as in Li et al., "Compressing Context to
  Enhance Inference Efficiency of Large Language Models" (Selective Context, EMNLP 2023,
  arXiv:2310.06201), section 3; there whole phrases are dropped, here tokens, so that the length is
  met exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.lazy import torch
from cuecard.tasks import TaskSpec, collate
from cuecard.tasks.template import PROMPT
from cuecard.training.compiling.full_text import FullText
from cuecard.types import Encoded, PrefixKV, Record

_ASKED = "Summarize the text above. Keep every fact that questions about it may ask for."
_BEGUN = "Summary of the text above:"
_FIELD = "text"


def made_shorter(text: FullText, length: int, summary: Sequence[int]) -> dict[str, PrefixKV]:
    """The text in at most so many tokens, by what tables call it.

    Args:
        summary: its summary's tokens, of which the first are taken; none leaves it out.
    """
    ways = {"first tokens": text.first(length), "last tokens": text.last(length)}
    if summary:
        ways["own summary"] = text.in_its_place(summary[:length])
    return ways | {"informative tokens": text.in_its_place(informative_ids(text, length))}


def summary_ids(text: FullText, length: int) -> tuple[int, ...]:
    """The tokens of the model's own summary, so many at most; fewer where it ends before.

    The text stands where it always does, with a request for a summary after it: as a user's message
    in a chat, else as a heading to go on from. Empty where the backbone has no room for one.
    """
    backbone, spec = text.backbone, _asking(text)
    record = Record({_FIELD: _ASKED if spec.chat else _BEGUN}, None)
    row = spec.encode(record, backbone.tokenizer, text.slot)
    assert row.context[: len(text.before)] == text.before, "the text would stand elsewhere"
    room = backbone.max_positions - text.length - len(row.context)
    if room < 1:
        return ()
    end = backbone.tokenizer.eos_token_id
    stop = () if end is None else (int(end),)
    most = min(length, room)
    (found,) = backbone.generate([row.context], [row.placement], text.injection, most, stop)
    return tuple(token for token in found if token not in stop)[:length]


def informative_ids(text: FullText, length: int) -> tuple[int, ...]:
    """The text's so many most informative tokens, in their order.

    The first token is kept where nothing comes before it, by which its information would be known.
    """
    information = _information(text)
    kept = information.topk(length).indices.sort().values
    return tuple(text.ids[index] for index in kept.tolist())


def _asking(text: FullText) -> TaskSpec:
    """A task that asks about the text in its place, whatever the text's own task asks."""
    spec, gap = text.spec, f"{{{PROMPT}}}"
    head, placed, _ = spec.template.partition(gap)
    # Without a place in the template the text is in front of it, or in the system message.
    in_system = gap in (spec.system or "")
    template = f"{head}{placed}\n\n{{{_FIELD}}}" if placed else f"\n\n{{{_FIELD}}}"
    return TaskSpec(
        kind="text-to-text",
        template=f"{{{_FIELD}}}" if in_system else template,
        chat=spec.chat,
        system=spec.system,
    )


def _information(text: FullText) -> torch.Tensor:
    """[T] float32 nats of each of the text's tokens, after what comes before the text."""
    backbone, ids = text.backbone, text.ids
    known = () if text.before else ids[:1]
    row = Encoded((*text.before, *known), ids[len(known) :])
    found = torch.full((len(known),), torch.inf)
    if not row.target:
        return found
    with torch.inference_mode():
        batch = collate([(row, row.target)])
        nats = backbone.read(batch, None).nll(batch.target_ids).float().cpu()
    return torch.cat([found, nats])
