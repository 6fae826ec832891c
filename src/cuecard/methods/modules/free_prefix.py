"""The keys and values that P-tuning v2 trains. See `methods/p_tuning_v2.py`."""

from __future__ import annotations

from torch import Tensor, nn

from cuecard.types import ParameterGroup, PrefixKV


class FreePrefix(nn.Module):
    """Keys and values [L, 2, K, P, D] in float32."""

    def __init__(self, keys_values: Tensor, *, late: bool) -> None:
        super().__init__()
        self._late = late
        self.keys_values = nn.Parameter(keys_values.contiguous())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One rate, the run's."""
        return (ParameterGroup((self.keys_values,)),)

    def injection(self) -> PrefixKV:
        """The keys and values as they are."""
        return PrefixKV(self.keys_values, self._late)

    def penalty(self) -> Tensor | None:
        """None."""
        return None
