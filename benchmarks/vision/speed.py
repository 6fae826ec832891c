"""Steps of VPT-Deep against a plain PyTorch loop: `python -m benchmarks.vision.speed`.

    python -m benchmarks.vision.speed [--rounds 3 --only "84 px" --grid-rows 16]

The plain loop is what the paper's code does: transformers' model, the prompt put in by a hook on
every layer, autograd through the frozen layers (Jia et al., ECCV 2022; its own code is timm's).
Both train the same numbers on the same random images, contestants taking turns; figures are medians
of CPU time. The grid is the protocol's 40 points, and the plain loop's validation after each epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import alternate, machine, versions
from benchmarks.places import RESULTS
from benchmarks.shares import shares
from benchmarks.vision.benchmark import MODEL, sized
from benchmarks.vision.cells import Plan
from cuecard import load_backbone
from cuecard.images import checked, from_array
from cuecard.tasks import TaskSpec
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.types import Backbone, Encoded, Head, LayerTokens, Record

OUT = RESULTS / "vision_speed.json"
POINTS = 40
"""Of the protocol's grid: ten rates, four weight decays."""
TOGETHER = 8
"""Points in a pass."""
LABELS = tuple("abcdefghij")
SPEC = TaskSpec(kind="image-classification", template="{image}", labels=LABELS)


@dataclass(frozen=True)
class Case:
    """A batch: pixels to a side, rows, prompt vectors in each layer."""

    side: int
    rows: int
    prompt: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.side} px, {self.rows} images, {self.prompt} vectors"


CASES = (Case(84, 64, 10), Case(84, 64, 50), Case(224, 8, 10), Case(224, 8, 50))


class Ours:
    """Prompts [L, P, H] with a head each, all of them in one pass."""

    def __init__(self, backbone: Backbone, prompts: Sequence[Tensor]) -> None:
        self._backbone = backbone
        self.prompts = [prompt.clone().requires_grad_() for prompt in prompts]
        self.heads = [nn.Linear(backbone.hidden_size, len(LABELS)) for _ in prompts]
        for head in self.heads:
            _start(head)
        trained = [*self.prompts, *(p for head in self.heads for p in head.parameters())]
        self._optimizer = _sgd(trained)

    def step(self, rows: Sequence[Encoded]) -> None:
        """Forward, backward and update."""
        self._optimizer.zero_grad()
        parts = [
            PromptBatch(
                SPEC, rows, LayerTokens(prompt), "head", head=Head(head.weight, head.bias, ())
            )
            for prompt, head in zip(self.prompts, self.heads, strict=True)
        ]
        losses = torch.stack(batch_losses(self._backbone, parts))
        (losses / len(rows)).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


class Plain:
    """The loop as it is usually written."""

    def __init__(self, model: Any, prompt: Tensor) -> None:
        self._model = model
        self.prompt = prompt.clone().requires_grad_()
        self.head = nn.Linear(prompt.shape[-1], len(LABELS))
        _start(self.head)
        self._optimizer = _sgd([self.prompt, *self.head.parameters()])

    def step(self, pixels: Tensor, labels: Tensor) -> None:
        """Forward, backward and update."""
        self._optimizer.zero_grad()
        functional.cross_entropy(self.logits(pixels), labels).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def logits(self, pixels: Tensor) -> Tensor:
        """[B, labels]"""
        handles = [
            layer.register_forward_pre_hook(self._putting(number), with_kwargs=True)
            for number, layer in enumerate(self._model.encoder.layer)
        ]
        states = self._model(pixel_values=pixels).last_hidden_state[:, 0]
        for handle in handles:
            handle.remove()
        return torch.as_tensor(self.head(states.float()))

    def _putting(self, number: int) -> Any:
        length = self.prompt.shape[1]

        def put(_: Any, args: Any, options: Any) -> Any:
            hidden = args[0] if args else options["hidden_states"]
            own = self.prompt[number].to(hidden.dtype).expand(len(hidden), -1, -1)
            rest = hidden[:, 1 + (length if number else 0) :]
            hidden = torch.cat([hidden[:, :1], own, rest], 1)
            return (hidden, *args[1:]), {k: v for k, v in options.items() if k != "hidden_states"}

        return put


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default=MODEL, help="DINOv2: a name, or a folder")
    parser.add_argument("--rounds", type=int, default=3, help="kept steps per case")
    parser.add_argument("--only", help="cases whose name contains this, and the grid")
    parser.add_argument("--grid-rows", type=int, default=16, help="of a point's step; 0: no grid")
    parser.add_argument("--no-bf16", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-vision-speed"))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = [case for case in CASES if options.only is None or options.only in case.name]
    found: dict[str, Any] = {"cases": []}
    for case in cases:
        found["cases"].append(measured := measure(case, options))
        print(_line(measured), flush=True)
    if options.grid_rows:
        found["grid"] = grid(options)
        print(f"grid: {found['grid']['ratio']:.2f}x", flush=True)
    found |= {"model": options.model, "machine": machine(), "versions": versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {options.out}; `python -m benchmarks.tables` puts it into the docs")
    return 0


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per step of every contestant, and how far apart the trained prompts then are."""
    work: dict[str, Callable[[], None]] = {}
    prompts: dict[str, Tensor] = {}
    for precision in ("fp32",) if options.no_bf16 else ("fp32", "bf16"):
        backbone = _backbone(case.side, precision, options)
        rows, pixels, labels = _batch(case, backbone)
        start = _prompts(case, backbone, 1)
        ours, plain = Ours(backbone, start), Plain(backbone.model, start[0])
        work[f"ours_{precision}"] = lambda ours=ours, rows=rows: ours.step(rows)  # type: ignore[misc]
        work[f"plain_{precision}"] = lambda plain=plain, given=(pixels, labels): plain.step(*given)  # type: ignore[misc]
        prompts |= {f"ours_{precision}": ours.prompts[0], f"plain_{precision}": plain.prompt}
    taken = alternate(work, options.rounds)
    moved = prompts["plain_fp32"].detach() - start[0]
    apart = (prompts["ours_fp32"].detach() - prompts["plain_fp32"].detach()).abs().max()
    plain_s = taken["plain_fp32"]["cpu_s"]
    return {
        "name": case.name,
        **asdict(case),
        **{f"{name}_cpu_s": seconds["cpu_s"] for name, seconds in taken.items()},
        **{
            f"ratio_{name}": plain_s / seconds["cpu_s"]
            for name, seconds in taken.items()
            if name != "plain_fp32"
        },
        "apart_of_moved": float(apart / moved.abs().max()),
        "ours_time_shares": shares(work["ours_fp32"], 1),
    }


def grid(options: argparse.Namespace) -> dict[str, Any]:
    """A step of all points, `TOGETHER` in a pass, and as many single runs of the plain loop.

    After an epoch the plain loop answers validation images, a quarter as many as it trained on;
    here that is done before the first and after the last epoch alone, a hundredth in all.
    """
    case = Case(84, options.grid_rows, 10)
    backbone = _backbone(case.side, "fp32", options)
    rows, pixels, labels = _batch(case, backbone)
    prompts = _prompts(case, backbone, POINTS)
    groups = [Ours(backbone, prompts[n : n + TOGETHER]) for n in range(0, POINTS, TOGETHER)]
    singles = [Plain(backbone.model, prompt) for prompt in prompts]
    checked_rows = max(1, case.rows // 4)

    def ours() -> None:
        for group in groups:
            group.step(rows)

    def plain() -> None:
        for single in singles:
            single.step(pixels, labels)
            with torch.no_grad():
                single.logits(pixels[:checked_rows])

    taken = alternate({"ours": ours, "plain": plain}, 1)
    seconds = {f"{name}_cpu_s": each["cpu_s"] for name, each in taken.items()}
    ratio = seconds["plain_cpu_s"] / seconds["ours_cpu_s"]
    return {**asdict(case), "points": POINTS, "together": TOGETHER, **seconds, "ratio": ratio}


def _backbone(side: int, precision: Any, options: argparse.Namespace) -> Any:
    plan = Plan(options.model, side)
    return load_backbone(sized(plan, options.folder), dtype=precision, device="cpu")


def _batch(case: Case, backbone: Any) -> tuple[list[Encoded], Tensor, Tensor]:
    """The same images as rows, and as pixels with their labels' numbers."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (case.rows, case.side, case.side, 3), dtype=np.uint8)
    images = [checked(from_array(each)) for each in values]
    numbers = torch.arange(case.rows) % len(LABELS)
    records = [
        Record({"image": image}, LABELS[int(number)])
        for image, number in zip(images, numbers, strict=True)
    ]
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    return rows, backbone.processor.pixels(images).to(backbone.dtype), numbers


def _prompts(case: Case, backbone: Any, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = backbone.num_layers, case.prompt, backbone.hidden_size
    return [0.02 * torch.randn(shape, generator=generator) for _ in range(count)]


def _start(head: nn.Linear) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        head.weight.copy_(0.02 * torch.randn(head.weight.shape, generator=generator))
        head.bias.zero_()


def _sgd(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def _line(found: dict[str, Any]) -> str:
    ratios = ", ".join(
        f"{name.removeprefix('ratio_')} {value:.2f}x"
        for name, value in found.items()
        if name.startswith("ratio_")
    )
    return f"{found['name']}: plain fp32 {found['plain_fp32_cpu_s']:.2f} CPU-s a step; {ratios}"


if __name__ == "__main__":
    sys.exit(main())
