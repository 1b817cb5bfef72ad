"""SAD: each stage imitates the attention map of the next deeper stage.

Hou, Ma, Liu, Loy: Learning Lightweight Lane Detection CNNs by Self Attention Distillation, ICCV 2019.

    A_m         stages[m]               feature map of stage m
    G           energy(A)               squares of the channels as one map
    B           F.interpolate           bilinear resizing
    Psi         attention(A, size)      spatial softmax of B(G(A)), sums to 1
    gamma       weight                  of the sum over stages

Choices.
    From the paper (its text was not at hand; known from its authors' replies and a re-implementation):
        squares, bilinear resizing, spatial softmax; the squared difference of neighbouring stages with the
        deeper one as a constant target; the term begins late, after 40,000 of 60,000 steps (``start``; 0:
        from the first step). The paper is about lane detection, and its authors have published no code for
        classification, so the following choices are ours.
    G: the paper sums the squares. The softmax of a sum over 32 to 512 channels that are batch-normalised is
        nearly 1 at a single position (its largest value is 0.78 to 1.00 on average, at each stage of an
        untrained wrn_16_2 or resnet18_cifar on CIFAR-100), so it hardly describes a map; with the mean the
        largest value is 0.01 to 0.14. So the default is the mean. ``pool="sum"``: as printed.
    Weight: 1000 with the mean, as in the one public re-implementation for classification; the gradient of
        the term is then between a quarter of that of the cross-entropy (the same wrn_16_2) and equally large
        (resnet18_cifar). With the sum, whose gradient is 200 times larger there, the paper has 0.1.
    Scale: squared differences are averaged over batch and positions, then summed over stages.
    Size: the deeper map is resized to the size of the shallower one, so no gradient passes the resizing.
    Stages: every stage except the deepest learns; ``skip`` leaves out the first ones.
    Masks: the paper's own task. The stages of a network that predicts every pixel are its pyramid's maps;
        whole maps are compared, ignored pixels too.
    Public re-implementations: that for classification (Self-KD-Lib) has ``start=0`` and resizes features
        instead of G. One for lanes has the sum, 0.1 and the late beginning, and the gradient also flows into
        the deeper stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Classifier, Given, Method, as_output, cross_entropy, float32
from ..core.options import Doc, Ge, Lt, checked

START = 40 / 60
"""Share of the run after which the term begins."""

Pool = Literal["sum", "mean"]


@float32
def energy(x: Tensor, pool: Pool = "mean") -> Tensor:
    """Squares of the channels as one map: (B, C, H, W) -> (B, 1, H, W)."""
    # The squared norm over the channels: unlike the squared map, it needs no tensor of the map's size.
    squares: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True).square()
    return squares if pool == "sum" else squares / x.shape[1]  # G


@float32
def attention(x: Tensor, size: tuple[int, int], pool: Pool = "mean") -> Tensor:
    """The attention map of a stage: a probability for each position.

    Args:
        x: (B, C, H, W).
        size: (h, w) of the result.
        pool: how the squares of the channels become one map.

    Returns:
        (B, h w), summing to 1.
    """
    squares = energy(x, pool=pool)
    if squares.shape[2:] != size:
        squares = F.interpolate(squares, size=size, mode="bilinear", align_corners=False)  # B
    return torch.softmax(squares.flatten(1), dim=1)  # Psi


@float32
def sad_loss(stage: Tensor, deeper: Tensor, pool: Pool = "mean") -> Tensor:
    """Mean squared difference of the attention of two stages; the caller detaches the deeper one.

    Args:
        stage: (B, C, H, W).
        deeper: (B, D, h, w), resized to H x W.
        pool: see :func:`attention`.
    """
    size = (stage.shape[2], stage.shape[3])
    return F.mse_loss(attention(stage, size, pool=pool), attention(deeper, size, pool=pool))


def learners(stages: Sequence[Tensor], skip: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Each stage with the next deeper one, without the first ``skip`` stages.

    Raises:
        ValueError: fewer than two stages are left.
    """
    if len(stages) - skip < 2:
        raise ValueError(
            f"SAD needs two stages or more, got {len(stages)}, of which {skip} are skipped; name more "
            "modules to cohobate.adapt(network, stages=[...]), or skip fewer"
        )
    return list(zip(stages[skip:-1], stages[skip + 1 :], strict=True))


class SAD(Method):
    """The attention map of each stage follows that of the next deeper one (Hou et al., 2019).

    CE + gamma sum_m |Psi(A_m) - Psi(A_(m+1))|^2, where Psi(A_(m+1)) is a constant.
    Terms: ``ce`` and ``sad``, which is 0 before ``start``.

    Args:
        network: images -> Output of two stages or more.

    Unless ``start`` is 0, batches need ``progress``.

    Raises:
        ValueError: an option is out of range; when it runs, too few stages, or no progress.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        *,
        weight: Annotated[
            float,
            Ge(0),
            Doc("gamma, weight of the squared difference of the attention maps; give 0.1 with --pool sum."),
        ] = 1000.0,
        start: Annotated[
            float,
            Ge(0),
            Lt(1),
            Doc("Share of the run before the attention term begins."),
        ] = START,
        pool: Annotated[
            Pool,
            Doc(
                "How the squared channels become one map: their mean, or their sum as printed, which leaves "
                "one bright position a map."
            ),
        ] = "mean",
        skip: Annotated[int, Ge(0), Doc("Number of shallow stages that the attention term leaves out.")] = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.weight = weight
        self.start = start
        self.pool = pool
        self.skip = skip

    @classmethod
    def of(cls, given: Given, **options: Any) -> Self:
        """Made from a run's network, which must have enough stages."""
        method = super().of(given, **options)
        learners(given.look(method.network).stages, method.skip)
        return method

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        output = as_output(self.network(batch.x))
        losses = [
            sad_loss(stage, deeper.detach(), pool=self.pool)
            for stage, deeper in learners(output.stages, self.skip)
        ]
        return {
            "ce": cross_entropy(output.logits, batch.y),
            "sad": self.weight * self._begun(batch) * torch.stack(losses).sum(),
        }

    def _begun(self, batch: Batch) -> Tensor | float:
        """Factor of the term: 0 before ``start``, then 1."""
        ramp = batch.ramp(self.start, "SAD")
        return ramp.floor() if isinstance(ramp, Tensor) else ramp

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": as_output(self.network(x)).logits}
