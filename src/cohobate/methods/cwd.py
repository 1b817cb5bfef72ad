"""Channel-wise distillation: where in the image each channel is active, as a distribution over positions.

Shu, Liu, Gao, Yan, Shen: Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021.

    y^S, y^T    student, teacher    maps of C channels: logits of every pixel, or a stage
    phi         softmax             over the H W positions of one channel, at temperature T
    T           temperature
    alpha       weight              factor of the term

The loss is T^2 / C times the sum over channels of KL(phi(y^T) || phi(y^S)), the mean over the images.

Choices.
    From the paper (its text was not at hand; known from its authors' code and those who followed): T = 4, a
        weight of 3 for logits and 50 for features, and a 1x1 convolution on the student's map where the
        channels differ.
    Maps: the logits of a network that predicts every pixel; else, for they are no maps, the stages.
    Stages: the paper has one feature map. Here it is the mean over all pairs of stages, so that its weight
        stays, or ``stage`` alone. Maps of different sizes are pooled to the smaller size. The convolution has
        no bias: phi is the same whatever is added to a channel.
    Masks: of logits, pixels that are ignored have no share in phi, and an image without any other is left out
        of the mean. Stages are compared as whole maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Between, Output, Term, float32, only_kept
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, checked
from .matching import Pair, channels, require_channels, require_same, stage_pairs, to_common_size

OF_LOGITS, OF_STAGES = 3.0, 50.0
"""alpha of the paper."""

Maps = Literal["logits", "stages"]


@float32
def channel_kl(
    student: Tensor, teacher: Tensor, temperature: float | Tensor, kept: Tensor | None = None
) -> Tensor:
    """T^2 / C sum over channels of KL(phi(teacher) || phi(student)); the caller detaches the teacher.

    Args:
        student: (B, C, H, W).
        teacher: the same shape.
        temperature: T > 0.
        kept: (B, H, W), bool: the positions that count; None: all. The gradient at another is exactly 0.

    Returns:
        The mean over the images, of those that have a position which counts.

    Raises:
        ValueError: the shapes differ.
    """
    require_same(student, teacher, "CWD", "bring the student's map to the teacher's channels and size")
    log_q, log_p = (_log_shares(x, temperature, kept) for x in (student, teacher))
    divergence = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
    images = len(student) if kept is None else kept.flatten(1).any(dim=1).sum().clamp(min=1)
    return divergence * temperature**2 / (student.shape[1] * images)  # L of channel-wise distillation


def _log_shares(x: Tensor, temperature: float | Tensor, kept: Tensor | None) -> Tensor:
    """log phi, (B, C, H W); 0 where it is not kept, for student and teacher alike."""
    if kept is None:
        return F.log_softmax(x.flatten(2) / temperature, dim=2)
    there = kept.flatten(1).unsqueeze(1)
    # An image of which nothing is kept has equal shares everywhere, since a softmax of nothing is NaN.
    out = ~there & there.any(dim=2, keepdim=True)
    values = (only_kept(x, kept).flatten(2) / temperature).masked_fill(out, -torch.inf)
    return F.log_softmax(values, dim=2).masked_fill(out, 0)


class CWD(Term):
    """Channel-wise distillation: where each channel is active (Shu et al., 2021).

    KL between the softmax over positions of each channel, of the logits of every pixel or of the stages.

    Args:
        widths: channels of student and teacher in each pair of stages that is compared
            (:func:`cohobate.methods.matching.stage_pairs`), shallow to deep; None: the logits are compared.

    Raises:
        ValueError: an option is out of range.
    """

    reads_labels = False

    @checked
    def __init__(
        self,
        widths: Sequence[tuple[int, int]] | None,
        *,
        stage: Annotated[
            int | None,
            Doc(
                "Stage that is compared, counted from 0 (shallowest), or from the end if negative; by "
                "default all of them."
            ),
        ] = None,
        temperature: Temperature = 4.0,
        weight: Annotated[
            float | None, Ge(0), Doc("Factor of this term in the loss; none: 3 for logits, 50 for stages.")
        ] = None,
    ) -> None:
        super().__init__()
        default = OF_LOGITS if widths is None else OF_STAGES
        self.weight = default if weight is None else weight
        self.logits_only = widths is None
        self.widths = None if widths is None else tuple(widths)
        self.stage = stage
        self.temperature = Course.of(temperature)
        self.connectors = nn.ModuleList(
            nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1, bias=False)
            for ours, theirs in widths or ()
        )

    @classmethod
    def between(
        cls,
        networks: Between,
        *,
        maps: Annotated[
            Maps | None,
            Doc(
                "What is compared: logits, of networks that predict every pixel, or stages; none: logits "
                "of such networks, stages of others."
            ),
        ] = None,
        **options: Any,
    ) -> Self:
        """The term for two networks, on their logits or on their stages.

        Raises:
            ValueError: there are no such maps, or an option is out of range.
        """
        dense = networks.student.logits.dim() == 4
        maps = ("logits" if dense else "stages") if maps is None else maps
        if maps == "logits":
            return cls._of_logits(networks, **options)
        pairs = _chosen(stage_pairs(networks.student, networks.teacher, "CWD"), options.get("stage"))
        return cls(list(zip(*channels(pairs), strict=True)), **options)

    @classmethod
    def _of_logits(cls, networks: Between, **options: Any) -> Self:
        shape = tuple(networks.student.logits.shape)
        if len(shape) != 4:
            raise ValueError(
                f"maps logits needs networks that predict every pixel (--model dense:BACKBONE), got logits "
                f"{shape}; give maps stages"
            )
        if options.get("stage") is not None:
            raise ValueError(
                f"stage {options['stage']} has no effect with maps logits; leave it out, or give maps stages"
            )
        return cls(None, **options)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        temperature = now(self.temperature, batch, "the temperature of CWD")
        if self.widths is None:
            return channel_kl(student.logits, teacher.logits.detach(), temperature, batch.kept)
        pairs = _chosen(stage_pairs(student, teacher.detach(), "CWD"), self.stage)
        student_widths, teacher_widths = zip(*self.widths, strict=True)
        require_channels(pairs, student_widths, teacher_widths, "CWD")
        losses = []
        for pair, connect in zip(pairs, self.connectors, strict=True):
            ours, theirs = to_common_size(*pair)
            losses.append(channel_kl(connect(ours), theirs, temperature))
        return torch.stack(losses).mean()


def _chosen(pairs: Sequence[Pair], stage: int | None) -> Sequence[Pair]:
    """One pair, or all of them."""
    if stage is None:
        return pairs
    if not -len(pairs) <= stage < len(pairs):
        raise ValueError(
            f"CWD: the networks have {len(pairs)} pairs of stages, so stage goes from {-len(pairs)} to "
            f"{len(pairs) - 1}, got {stage}"
        )
    return [pairs[stage]]
