"""The self-teachers of FRSKD: pyramids on the feature maps of a network, with a head of their own.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
Distillation, CVPR 2021 (sections 3.1 and 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from torch import Tensor, nn

from ...core import Output
from ...core.options import Doc, Ge, Gt, checked
from .bifpn import BiFPN, Depth, Upsampling


class SelfTeacher(nn.Module):
    """A pyramid with a classifier on top: refines the feature maps and the prediction of a network.

    Args:
        channels: c_i of the network's stages that it reads, the deepest ones, shallow to deep.
        widths: d_i; see :class:`BiFPN`.
        classes: K.

    Shapes: the network's stages (B, c_i, H_i, W_i) -> Output with logits (B, K), pooled (B, d_n),
    stages T_i (B, d_i, H_i, W_i) after and preacts before their last ReLU.

    Raises:
        ValueError: see :class:`BiFPN`; when it runs, stages of other channels.
    """

    @checked
    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        classes: int,
        *,
        depth: Depth = 2,
        upsampling: Upsampling = "bilinear",
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.widths = tuple(widths)
        self.pyramid = BiFPN(channels, widths, depth=depth, upsampling=upsampling)
        self.fc = nn.Linear(widths[-1], classes)

    @classmethod
    @checked
    def of(
        cls,
        output: Output,
        classes: int,
        *,
        pyramid: Annotated[
            Literal["bifpnc", "bifpn"],
            Doc(
                "Channels of the pyramid: bifpnc, growing with depth; bifpn, those of the deepest (table 6)."
            ),
        ] = "bifpnc",
        width: Annotated[
            float, Gt(0), Doc("w, channels of the self-teacher for each channel of a stage.")
        ] = 2.0,
        levels: Annotated[
            int | None, Ge(2), Doc("Number of deepest stages that the self-teacher refines; none: all.")
        ] = None,
        **options: Any,
    ) -> Self:
        """On the stages of a network.

        Args:
            output: of the network.
            classes: K.
            **options: of the constructor.

        Raises:
            ValueError: an option is out of range, or the network has fewer than two stages, or than
                ``levels``.
        """
        channels = [stage.shape[1] for stage in output.stages]
        if len(channels) < (levels or 2):
            raise ValueError(
                f"the self-teacher refines {levels or '2 or more'} stages, the network shows "
                f"{len(channels)}; name its modules: cohobate.adapt(network, stages=[...])"
            )
        channels = channels if levels is None else channels[-levels:]
        source = channels if pyramid == "bifpnc" else channels[-1:] * len(channels)
        widths = [max(1, round(width * c)) for c in source]  # d_i = w c_i, or w c_n
        return cls(channels, widths, classes, **options)

    def forward(self, stages: Sequence[Tensor]) -> Output:
        maps = stages[-len(self.channels) :]
        channels = tuple(x.shape[1] for x in maps)
        if channels != self.channels:
            raise ValueError(f"the self-teacher refines stages of channels {self.channels}, got {channels}")
        refined, preacts = self.pyramid(maps)
        pooled = refined[-1].mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, refined, preacts)

    def last_norms(self) -> list[nn.BatchNorm2d]:
        """The batch norm that each T_i ends with, shallow to deep."""
        nodes = [self.pyramid.top_down[0], *self.pyramid.bottom_up]
        return [node.convs[-1] for node in nodes]
