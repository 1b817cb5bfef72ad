"""How the threshold of a cascade is chosen: given, stored, or by a rule on D_v, never on the images measured.

ResKD (Li et al., 2021), section III-C. The rules themselves are in :mod:`cohobate.inference.thresholds`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ..config.grammar import flag
from ..config.words import count
from ..runs.adaptive import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..runs.deployed import StoredThreshold

ROUNDING = 1e-9
"""Percent that an accuracy may lack of a difference of two, which were rounded."""


class Wish(NamedTuple):
    """What the threshold shall be, or do; at most one of these. None of them: the stored one, else eq. 10.

    Attributes:
        threshold: this one, an energy in [0, 1].
        accuracy: the smallest cost with at least this accuracy on D_v, percent.
        accuracy_drop: the smallest cost within so many points of the full sum's accuracy on D_v.
        max_macs: the best accuracy on D_v within a mean cost, multiply-accumulates of an image.
        by_energy: the mean energy of the full sum over D_v (eq. 10).
    """

    threshold: float | None = None
    accuracy: float | None = None
    accuracy_drop: float | None = None
    max_macs: float | None = None
    by_energy: bool = False

    @property
    def given(self) -> list[str]:
        """Names of those that are given."""
        values = zip(self._fields, self, strict=True)
        return [name for name, value in values if value is not None and value is not False]

    def check(self) -> None:
        """Check that there is one at most, in its range.

        Raises:
            ValueError: there are several, or a number out of range.
        """
        if len(self.given) > 1:
            flags = ", ".join(map(flag, self._fields))
            raise ValueError(f"give at most one of {flags}; got {' and '.join(map(flag, self.given))}")
        for name, most in (("threshold", 1.0), ("accuracy", 100.0), ("accuracy_drop", 100.0)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"{flag(name)} is a number from 0 to {most:g}, got {value}")
        if self.accuracy is not None and 0 < self.accuracy <= 1:
            percent = 100 * self.accuracy
            raise ValueError(f"--accuracy is in percent: write {percent:g}, not {self.accuracy:g}")
        if self.max_macs is not None and not self.max_macs > 0:
            raise ValueError(f"--max-macs is a number above 0, got {self.max_macs}")


class Chosen(NamedTuple):
    """A threshold.

    Attributes:
        threshold: an energy, or math.inf.
        rule: by which it was chosen, in words; None: by the plan of the run.
        energy: the reading that it is for.
        anew: whether it is another than the stored one, so that it is to be stored.
    """

    threshold: float
    rule: str | None
    energy: Reading
    anew: bool


def check_choice(
    wish: Wish, energy: Reading | None, stored: StoredThreshold | None, *, images: bool, where: str
) -> None:
    """Check that the threshold can be chosen as wished, before anything is computed.

    Args:
        wish: what it shall be.
        energy: the reading asked for; None: none.
        stored: the stored threshold.
        images: whether D_v is there.
        where: the run's data, for messages.

    Raises:
        ValueError: two wishes, D_v is needed and not there, or the stored threshold is for another reading.
    """
    wish.check()
    if not wish.given and stored is not None and energy not in (None, stored.energy or energy):
        raise ValueError(
            f"the stored threshold, {stored}, is not for --energy {energy}: leave it out, or choose another "
            f"threshold by one of {', '.join(map(flag, wish._fields))}"
        )
    needs = wish.given != ["threshold"] if wish.given else stored is None
    if needs and not images:
        asked = flag(wish.given[0]) if wish.given else "no threshold is stored, and eq. 10"
        others = "give --threshold" + (", or none to take the stored one" if stored is not None else "")
        raise ValueError(
            f"{asked} chooses the threshold on D_v, images that the run was trained on, and {where} does not "
            f"hold them, or no longer: {others}"
        )


def choose(
    wish: Wish,
    energy: Reading | None,
    stored: StoredThreshold | None,
    seen: tuple[Tensor, Tensor] | None,
    macs: Sequence[float],
) -> Chosen:
    """The threshold.

    Args:
        wish, energy, stored: checked (:func:`check_choice`).
        seen: logits of S_0, S_1 ... S_n on D_v, (n + 1, N, K), and labels, (N,); None: D_v is not there.
        macs: of the networks S_0, R_1 ... R_n.

    Raises:
        ValueError: no threshold meets the wish; the message has the nearest.
    """
    reading: Reading = energy or "sum"
    if wish.threshold is not None:
        return Chosen(wish.threshold, "given by --threshold", reading, True)
    if not wish.given and stored is not None:
        kept: Reading = "added" if stored.energy == "added" else "sum"
        return Chosen(stored.threshold, stored.rule, energy or kept, energy not in (None, stored.energy))
    if seen is None:
        raise ValueError("a threshold is chosen on D_v, which is not there; give --threshold")
    threshold, rule = _by_rule(wish, reading, *seen, macs)
    return Chosen(threshold, rule, reading, True)


def _by_rule(
    wish: Wish, energy: Reading, logits: Tensor, y: Tensor, macs: Sequence[float]
) -> tuple[float, str]:
    """The threshold, and the rule in words."""
    from ..inference.thresholds import by_energy, cheapest, most_accurate, point

    try:
        if wish.accuracy is not None:
            found = cheapest(logits, y, macs, wish.accuracy, energy=energy)
            return (
                found.threshold,
                f"the smallest cost with an accuracy of {wish.accuracy:g} % or more on D_v",
            )
        if wish.accuracy_drop is not None:
            full = point(logits, y, macs, math.inf, energy=energy).accuracy
            found = cheapest(logits, y, macs, full - wish.accuracy_drop - ROUNDING, energy=energy)
            points = count(wish.accuracy_drop, "point")
            return found.threshold, f"the smallest cost within {points} of the full sum's accuracy on D_v"
        if wish.max_macs is not None:
            found = most_accurate(logits, y, macs, wish.max_macs, energy=energy)
            limit = f"{wish.max_macs:,.0f} multiply-accumulates an image"
            return found.threshold, f"the best accuracy on D_v within {limit}"
    except ValueError as error:
        raise ValueError(f"{flag(wish.given[0])} on D_v: {error}") from error
    return by_energy(logits), "the mean energy of the full sum over D_v, eq. 10"
