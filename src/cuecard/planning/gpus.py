"""GPUs by name, with what their makers say of them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Self

from cuecard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its data sheet has it.

    Attributes:
        name: as it is asked for.
        flops: dense bf16 per second, accumulated in fp32; makers also print twice that, for sparse
            matrices.
        memory: bytes.
        link: bytes per second and direction to the other GPUs of its machine.
        source: where the numbers are from.
    """

    name: str
    flops: float
    memory: float
    link: float
    source: str


_MOST = 100_000
_PCIE4, _PCIE5 = 32e9, 64e9
_LISTED = (
    Gpu("A10", 125e12, 24e9, _PCIE4, "NVIDIA A10 data sheet"),
    Gpu("A100-40", 312e12, 40e9, 300e9, "NVIDIA A100 data sheet, SXM"),
    Gpu("A100", 312e12, 80e9, 300e9, "NVIDIA A100 80GB data sheet, SXM"),
    Gpu("B200", 2250e12, 180e9, 900e9, "NVIDIA DGX B200 data sheet, an eighth"),
    Gpu("H100", 989e12, 80e9, 450e9, "NVIDIA H100 data sheet, SXM"),
    Gpu("H100-PCIE", 756e12, 80e9, _PCIE5, "NVIDIA H100 data sheet, PCIe, no bridge"),
    Gpu("H200", 989e12, 141e9, 450e9, "NVIDIA H200 data sheet, SXM"),
    Gpu("L4", 121e12, 24e9, _PCIE4, "NVIDIA L4 data sheet"),
    Gpu("L40S", 362e12, 48e9, _PCIE4, "NVIDIA L40S data sheet"),
    Gpu("RTX4090", 165e12, 24e9, _PCIE4, "NVIDIA Ada architecture white paper"),
)
GPUS = {gpu.name: gpu for gpu in _LISTED}


@dataclass(frozen=True, slots=True)
class Machine:
    """So many GPUs of one kind."""

    count: int
    gpu: Gpu

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "8xH100", or "L4" for one of them.

        Raises:
            ConfigError: another form, or a GPU that is not listed, with the most similar one.
        """
        found = re.fullmatch(r"(?:(-?[0-9]+) ?x ?)?([a-z][\w-]+)", text.strip(), re.IGNORECASE)
        name = found.group(2).upper() if found else text
        if found is not None and not 1 <= int(found.group(1) or 1) <= _MOST:
            raise ConfigError(
                "not a number of GPUs",
                where="--gpus",
                got=text,
                expected=f"1 to {_MOST:,} of them, such as 8xH100",
            )
        if found is None or name not in GPUS:
            near = difflib.get_close_matches(name, GPUS, 1, 0.5)
            raise ConfigError(
                "no such GPUs are listed",
                where="--gpus",
                got=text,
                expected=f"COUNTxNAME, such as 8xH100; names are {', '.join(GPUS)}",
                hint=f"did you mean {near[0]}?" if near else None,
            )
        return cls(int(found.group(1) or 1), GPUS[name])
