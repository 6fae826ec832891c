"""What every method promises: https://github.com/cuecard/cuecard/blob/main/docs/plugins.md."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError
from cuecard.methods.settings import MethodSettings
from cuecard.tasks import TaskSpec, collate
from cuecard.testing.holds import holds, refuses, run_checks, same, within
from cuecard.testing.rows import SPEC, review_task, reviews
from cuecard.testing.tiny import TINY, tiny_backbone
from cuecard.training import TrainConfig
from cuecard.training.objective.loss import batch_loss
from cuecard.training.train import train
from cuecard.training.trainables.capabilities import check_supported
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Backbone, Batch, Encoded, InputTokens, Method, Record


@dataclass(frozen=True)
class MethodCase:
    """A method on a backbone.

    Attributes:
        backbone: one that takes it.
        settings: the method's.
        spec: a classification whose template suits both.
    """

    backbone: Any
    settings: MethodSettings
    spec: TaskSpec

    def rows(self, count: int = 6) -> list[Encoded]:
        """Film reviews as token ids."""
        slot, tokenizer = self.settings.slot, self.backbone.tokenizer
        return [self.spec.encode(record, tokenizer, slot) for record in reviews(count)]

    def method(self) -> Method:
        """Its parameters away from where they start: some of a start's are zero."""
        method = new_method(self.backbone, self.spec, self.settings, seed=1)
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return method

    def logits(self, rows: list[Encoded], method: Method) -> Tensor:
        """[n, V] what follows each row."""
        return forward(self.backbone, _batch(rows), method)


def method_cases(settings: MethodSettings) -> Iterator[MethodCase]:
    """A case for each family of backbones that takes a method.

    Raises:
        ConfigError: none takes it.
    """
    taken = False
    for family in TINY:
        backbone = tiny_backbone(family)
        try:
            check_supported(backbone, settings)
        except ConfigError as error:
            refused = error
            continue
        taken = True
        place = "{prompt}" if settings.slot == "infix" else ""
        said = " {mask}." if family == "masked" else ""
        template = f"Review: {{text}}\n{place}Sentiment:{said}"
        yield MethodCase(backbone, settings, SPEC.model_copy(update={"template": template}))
    if not taken:
        raise refused


def check_method(settings: MethodSettings) -> None:
    """Every check on every family that takes the method.

    Raises:
        AssertionError: what does not hold, and where.
        ConfigError: no backbone takes it.
    """
    for case in method_cases(settings):
        run_checks(METHOD_CHECKS, case, f" ({case.backbone.name})")


def check_settings(case: MethodCase) -> None:
    """Settings refuse unknown keys, and come back from what recipes and prompts keep."""
    kind = type(case.settings)
    again = kind.model_validate(case.settings.model_dump(mode="json"))
    same(again.model_dump(), case.settings.model_dump(), "settings that were written and read")
    unknown = {"no such setting": 1}
    refuses(lambda: kind.model_validate(unknown), ValueError, "an unknown setting is taken")
    holds(bool(kind.about), "`about` says nothing")


def check_shapes(case: MethodCase) -> None:
    """The injection is read, and changes what is answered."""
    method, rows = case.method(), case.rows()
    logits = case.logits(rows, method)
    same(tuple(logits.shape), (len(rows), case.backbone.vocab_size), "the logits' shape")
    holds(bool(logits.isfinite().all()), "logits are not finite")
    plain = forward(case.backbone, _batch(rows), None)
    holds(not torch.allclose(logits, plain, atol=1e-4), "the prompt changes no answer")


def check_gradients(case: MethodCase) -> None:
    """Every parameter gets a gradient and is in one group; the backbone's get none."""
    method, backbone = case.method(), case.backbone
    # A short row: behind a long one the last layer's sliding window does not reach the prompt.
    short = Record({"text": "a"}, "positive")
    rows = [case.spec.encode(short, backbone.tokenizer, case.settings.slot), *case.rows()]
    loss, count = batch_loss(backbone, case.spec, rows, method.injection(), "tokens")
    torch.autograd.backward(loss)
    same(count, len(rows), "the number of targets")
    for parameter in method.parameters():
        holds(
            parameter.grad is not None and bool((parameter.grad != 0).any()),
            f"a parameter of shape {tuple(parameter.shape)} gets no gradient",
        )
    grouped = [parameter for group in method.groups() for parameter in group.parameters]
    own = {id(parameter) for parameter in method.parameters()}
    same({id(parameter) for parameter in grouped}, own, "the parameters in groups")
    same(len(grouped), len(own), "the number of parameters in groups")
    for parameter in backbone.model.parameters():
        holds(parameter.grad is None and not parameter.requires_grad, "the backbone is not frozen")


def check_padding(case: MethodCase) -> None:
    """Padding on either side changes nothing."""
    method, rows = case.method(), case.rows()
    alone = torch.cat([case.logits([row], method) for row in rows])
    for side in ("left", "right"):
        padded = forward(case.backbone, pad(_batch(rows), side, 3), method)
        within(padded, alone, f"logits with padding on the {side}")


def check_batch_mates(case: MethodCase) -> None:
    """A row's answer does not depend on the rows beside it."""
    method, rows = case.method(), case.rows()
    together = case.logits(rows, method)
    for order in ([5, 0, 3], [2, 2], [4]):
        mixed = case.logits([rows[i] for i in order], method)
        within(mixed, together[order], f"logits of rows {order}")


def check_other_prompts(case: MethodCase) -> None:
    """Rows of other prompts in the same pass change nothing."""
    backbone, method, batch = case.backbone, case.method(), _batch(case.rows())
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(3))
    template = case.spec.template.replace("{prompt}", "")
    plain = case.spec.model_copy(update={"template": template})
    other = _batch([plain.encode(record, backbone.tokenizer) for record in reviews(3)])
    parts = [
        (other, InputTokens(vectors)),
        (batch, method.injection()),
        (other, None),
        (batch, method.injection()),
    ]
    with torch.no_grad():
        alone = [backbone.forward(*part) for part in parts]
        for found, expected in zip(backbone.forward_many(parts), alone, strict=True):
            within(found, expected, "logits beside another prompt")


def check_training(case: MethodCase) -> None:
    """The backbone is the same afterwards, what is saved is loaded, a seed has one prompt."""
    backbone = case.backbone
    digest = backbone.digest()
    with tempfile.TemporaryDirectory() as folder:
        first, losses = trained(case, 3, folder=Path(folder))
        same(backbone.digest(), digest, "the backbone's digest after training")
        loaded = Prompt.load(Path(folder) / "prompt", backbone)
        same(loaded.digest, first.digest, "the digest of a prompt that was saved and loaded")
        same(loaded.manifest, first.manifest, "the manifest of a prompt that was saved and loaded")
        same(loaded.tensors.keys(), first.tensors.keys(), "the names of loaded tensors")
        for name, value in first.tensors.items():
            holds(torch.equal(loaded.tensors[name], value), f"{name} is loaded otherwise")
    again, losses_again = trained(case, 3)
    same(again.digest, first.digest, "the digest by the same seed")
    same(losses_again, losses, "the losses by the same seed")
    _, other_losses = trained(case, 4)
    holds(len(losses) == 3 and other_losses != losses, "another seed makes no difference")


METHOD_CHECKS: Mapping[str, Callable[[MethodCase], None]] = MappingProxyType(
    {
        "settings": check_settings,
        "shapes": check_shapes,
        "gradients": check_gradients,
        "padding": check_padding,
        "batch mates": check_batch_mates,
        "other prompts": check_other_prompts,
        "training": check_training,
    }
)
"""Name -> check, for tests that have one case for each."""


def trained(case: MethodCase, seed: int, **options: Any) -> tuple[Prompt, list[float]]:
    """A prompt of three steps, and their losses."""
    events: list[Any] = []
    config = TrainConfig(steps=3, batch_rows=4, eval_every=3, seed=seed)
    task = review_task(40, case.spec)
    run = train(case.backbone, task, case.settings, config, observer=events.append, **options)
    return run.prompt, [event["loss"] for event in events if event["event"] == "step"]


def forward(backbone: Backbone, batch: Batch, method: Method | None) -> Tensor:
    """[n, V] float32 logits of what follows."""
    with torch.no_grad():
        return backbone.forward(batch, None if method is None else method.injection())


def pad(batch: Batch, side: str, extra: int) -> Batch:
    """The same rows with all padding on one side, and more of it."""
    rows, width = batch.input_ids.shape
    ids = torch.full((rows, width + extra), 9)
    mask = torch.zeros_like(ids)
    for row in range(rows):
        real = batch.input_ids[row][batch.attention_mask[row].bool()]
        place = slice(width + extra - len(real), None) if side == "left" else slice(len(real))
        ids[row, place], mask[row, place] = real, 1
    return replace(batch, input_ids=ids, attention_mask=mask)


def _batch(rows: list[Encoded]) -> Batch:
    return collate([(row, ()) for row in rows], read="next")
