"""Label smoothing: part of each label's probability is shared out among all classes.

Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna. Rethinking the Inception
Architecture for Computer Vision. CVPR 2016. arXiv 1512.00567, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch.nn.functional as F

from ...core import Batch, Loader


def smooth(batch: Batch, share: float, classes: int) -> Batch:
    """Integer labels (B,) become probabilities (B, K): 1 - share for the class, share / K for each."""
    certain = F.one_hot(batch.ids("label smoothing"), classes).float()
    return batch._replace(y=(1 - share) * certain + share / classes)


@final
class Smoothed:
    """A loader whose labels are smoothed.

    Args:
        loader: of batches with integer labels.
        share: of each label's probability that is shared out, 0 to 1.
        classes: K.
    """

    def __init__(self, loader: Loader, share: float, classes: int) -> None:
        self.loader, self.share, self.classes = loader, share, classes

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.epoch(epoch, start):
            yield smooth(batch, self.share, self.classes)
