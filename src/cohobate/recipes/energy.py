"""D_v of ResKD: the images on which the energy of networks is measured (Li et al., 2021, algorithm 1)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from typing_extensions import Doc

from ..core import mean_energy, running_sums
from ..data.dataset import Dataset, Split
from .job import Job

EnergySplit = Literal["train", "val"]
SplitOption = Annotated[
    EnergySplit,
    Doc(
        "D_v, the images on which the energy is measured: drawn from the training images, which are learned "
        "from too (as printed), or the validation split, which is held out."
    ),
]
ShareOption = Annotated[
    float, Gt(0), Le(1), Doc("Share of the training images that is drawn for D_v, if it is from them.")
]
SHARE = 0.1
"""Share of the training images that D_v is by default; the paper does not say."""

Network = TypeVar("Network", bound=nn.Module)


def energy_images(dataset: Dataset, split: EnergySplit, share: float, seed: int) -> Split:
    """D_v: images drawn uniformly and without replacement from the training split, or the validation split.

    Args:
        dataset: of the run.
        split: from which of its splits they are.
        share: of the training images, 0 < share <= 1.
        seed: of the draw.

    Raises:
        ValueError: no image is drawn, or there is no validation split.
    """
    if split == "val":
        if dataset.val is None:
            raise ValueError(
                f"D_v is empty: --energy-split val takes the validation split, and {dataset.name} has none; "
                "give --val-fraction a share above 0, or --energy-split train"
            )
        return dataset.val
    images = len(dataset.train)
    wanted = round(share * images)
    if wanted < 1:
        raise ValueError(
            f"D_v is empty: --energy-share {share:g} of {images} training images is none; give at least "
            f"{1 / images:.2g}"
        )
    # RandomState, because its stream is frozen for good: the same images are drawn again for a threshold.
    rows = np.random.RandomState(seed).permutation(images)[:wanted]
    return dataset.train.subset(torch.from_numpy(np.sort(rows)))


class Energies:
    """The energies of a teacher, if there is one, and of networks that add up, on D_v (eq. 9).

    Where nothing is measured, as in the check before a run, every energy is None.

    Args:
        job: of the run.
        split, share: of D_v.

    Attributes:
        images: D_v.
        values: name -> energy: "T", "S_0", "S_1" ...

    Raises:
        ValueError: D_v is empty.
    """

    def __init__(self, job: Job, split: EnergySplit, share: float) -> None:
        self.job = job
        self.split: EnergySplit = split
        self.images = energy_images(job.dataset, split, share, job.training.seed)
        self.values: dict[str, float] = {}
        self._logits: list[Tensor] = []

    def measure_teacher(self, teacher: nn.Module) -> None:
        """Measure the teacher, as "T"."""
        logits = self.job.logits(teacher, self.images)
        if logits is not None:
            self.values["T"] = self._agreed(logits)

    def add(self, network: Network) -> Network:
        """Measure the sum of the networks so far and this one, which is returned."""
        logits = self.job.logits(network, self.images)
        if logits is not None:
            self._logits = [*self._logits, logits]
            name = f"S_{len(self._logits) - 1}"
            self.values[name] = self._agreed(running_sums(self._logits)[-1])
            self.job.say(f"energy on D_v: {name} {self.values[name]:.4f}{self._beside_teacher()}")
        return network

    @property
    def last(self) -> float | None:
        """That of the sum of all networks so far."""
        return self.values.get(f"S_{len(self._logits) - 1}")

    def _beside_teacher(self) -> str:
        return f", T {self.values['T']:.4f}" if "T" in self.values else ""

    def found(self) -> dict[str, object]:
        """The energies, D_v, and the threshold of eq. 10, for the records of the run."""
        return {
            "energy": dict(self.values),
            "energy_images": len(self.images),
            "energy_split": self.split,
            "threshold": self.last,  # Eq. 10
        }

    def _agreed(self, logits: Tensor) -> float:
        """The energy as the first process has it, so that all of them decide alike."""
        return self.job.first(mean_energy(logits))
