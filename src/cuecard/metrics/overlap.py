"""How much of a mask another one covers.

IoU = |A and B| / |A or B| and dice = 2 |A and B| / (|A| + |B|); both are 1 of two empty masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuecard.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def overlap(true: NDArray[np.bool_], given: NDArray[np.bool_]) -> tuple[float, float]:
    """IoU and dice of two masks of one shape."""
    both, sizes = int((true & given).sum()), int(true.sum()) + int(given.sum())
    if not sizes:
        return 1.0, 1.0
    return both / (sizes - both), 2 * both / sizes
