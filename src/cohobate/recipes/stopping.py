"""When ResKD ends: by energy (Li et al., 2021, algorithm 1), by a number of stages, or by a budget."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..analysis.cost import cost
from ..config.words import count
from .energy import Energies
from .job import Job


class Stop:
    """Whether a plan ends before all res-students are trained, and why it ended.

    Attributes:
        by: "stages", "energy" or "budget".
        reason: a sentence.
    """

    def __init__(self, energies: Energies, share: float | None, max_macs: float | None, stages: int) -> None:
        self.energies, self.share, self.max_macs = energies, share, max_macs
        self.by = "stages"
        self.reason = f"no stage is left after {count(stages, 'res-student')}"

    def say_if_close(self, job: Job) -> None:
        """Algorithm 1 looks at the energy after a res-student only: say so where S_0 would have done."""
        if self._close():
            job.say(f"note: {self._compared(0)} already; algorithm 1 trains one res-student at least")

    def close_enough(self, number: int) -> bool:
        """Whether S_i is as sure as the share of the teacher's energy demands (the end of algorithm 1)."""
        if self._close():
            self.by, self.reason = "energy", self._compared(number)
        return self.by == "energy"

    def over_budget(self, job: Job, name: str, networks: Sequence[nn.Module]) -> bool:
        """Whether the sum of these networks, the last one untrained, needs too many multiply-accumulates.

        Raises:
            ValueError: the first res-student does: there would be none.
        """
        if self.max_macs is None:
            return False
        macs, number = sum(cost(each, job.shape).macs for each in networks), len(networks) - 1
        if macs <= self.max_macs:
            return False
        said = (
            f"R_{number} ({name}) would bring S_{number} to {macs:,} multiply-accumulates, more than "
            f"--max-macs {self.max_macs:,.0f}"
        )
        if number == 1:
            raise ValueError(f"{said}; ResKD trains one res-student at least: give {macs:,} or more")
        self.by, self.reason = "budget", said
        return True

    def _close(self) -> bool:
        teacher, ours = self.energies.values.get("T"), self.energies.last
        if self.share is None or teacher is None or ours is None:
            return False
        return ours > self.share * teacher

    def _compared(self, number: int) -> str:
        ours, teacher = self.energies.last or 0.0, self.energies.values["T"]
        return (
            f"the energy of S_{number} on D_v, {ours:.4f}, is {100 * ours / teacher:.1f} % of the teacher's, "
            f"{teacher:.4f}, and the plan ends above {100 * (self.share or 0):g} %"
        )
