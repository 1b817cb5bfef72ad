"""What a cascade and the search for its threshold share: the readings of the energy, the threshold."""

from __future__ import annotations

import math
from numbers import Real
from typing import Annotated, Literal

from ..core.options import Doc

Reading = Annotated[
    Literal["sum", "added"],
    Doc(
        "Energy that is compared with the threshold: of the summed logits (eq. 11), or the energies of the "
        "networks added up, which may exceed 1 (algorithm 2 as printed)."
    ),
]


def check_threshold(threshold: float) -> float:
    """The threshold as a float.

    Raises:
        ValueError: not in [0, 1] and not math.inf.
    """
    if not isinstance(threshold, Real) or not (0 <= threshold <= 1 or threshold == math.inf):
        raise ValueError(
            "the threshold of a Cascade is an energy in [0, 1], or math.inf, with which no image leaves "
            f"early; got {threshold!r}"
        )
    return float(threshold)
