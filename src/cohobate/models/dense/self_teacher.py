"""The self-teachers of FRSKD: pyramids on the feature maps of a network, with a head of their own.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
Distillation, CVPR 2021 (sections 3.1 and 6).

Choices. For classification one layer, whose deepest map is pooled for a linear layer. With masks more
layers on the pyramid of the network itself, two of them with w = 1 as printed, and a dense head like the
network's on the shallowest map; a level has no lateral where its channels do not change (:mod:`.network`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from torch import Tensor, nn

from ...core import Output
from ...core.options import Doc, Ge, Gt, checked
from .bifpn import BiFPN, Depth, Upsampling, between
from .network import DenseHead, HeadWidth, Layers, Pyramid

PyramidKind = Annotated[
    Literal["bifpnc", "bifpn"],
    Doc("Channels of the pyramid: bifpnc, growing with depth; bifpn, those of the deepest (table 6)."),
]
Width = Annotated[float, Gt(0), Doc("w, channels of the self-teacher for each channel of a stage.")]
Levels = Annotated[
    int | None, Ge(2), Doc("Number of deepest stages that the self-teacher refines; none: all.")
]


def chosen(
    output: Output, pyramid: PyramidKind, width: float, levels: int | None
) -> tuple[list[int], list[int]]:
    """Channels of the stages that a self-teacher refines, and d_i of its levels.

    Raises:
        ValueError: the network has fewer than two stages, or than ``levels``.
    """
    channels = [stage.shape[1] for stage in output.stages]
    if len(channels) < (levels or 2):
        raise ValueError(
            f"the self-teacher refines {levels or '2 or more'} stages, the network shows "
            f"{len(channels)}; name its modules: cohobate.adapt(network, stages=[...])"
        )
    channels = channels if levels is None else channels[-levels:]
    source = channels if pyramid == "bifpnc" else channels[-1:] * len(channels)
    return channels, [max(1, round(width * c)) for c in source]  # d_i = w c_i, or w c_n


def deepest(stages: Sequence[Tensor], channels: Sequence[int]) -> Sequence[Tensor]:
    """The stages that a self-teacher for these channels reads.

    Raises:
        ValueError: they have other channels.
    """
    maps = stages[-len(channels) :]
    found = tuple(x.shape[1] for x in maps)
    if found != tuple(channels):
        raise ValueError(f"the self-teacher refines stages of channels {tuple(channels)}, got {found}")
    return maps


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
        layers: Layers = 1,
        depth: Depth = 2,
        upsampling: Upsampling = "bilinear",
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.widths = tuple(widths)
        self.pyramid = BiFPN(channels, widths, depth=depth, upsampling=upsampling)
        self.fc = nn.Linear(widths[-1], classes)
        self.more = nn.ModuleList(
            BiFPN(widths, widths, between, depth=depth, upsampling=upsampling) for _ in range(layers - 1)
        )

    @classmethod
    @checked
    def of(
        cls,
        output: Output,
        classes: int,
        *,
        pyramid: PyramidKind = "bifpnc",
        width: Width = 2.0,
        levels: Levels = None,
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
        return cls(*chosen(output, pyramid, width, levels), classes, **options)

    def forward(self, stages: Sequence[Tensor]) -> Output:
        refined, preacts = self.pyramid(deepest(stages, self.channels))
        for layer in self.more:
            refined, preacts = layer(refined)
        pooled = refined[-1].mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, refined, preacts)

    def last_norms(self) -> list[nn.BatchNorm2d]:
        """The batch norm that each T_i ends with, shallow to deep."""
        last: Any = [self.pyramid, *self.more][-1]
        nodes = [last.top_down[0], *last.bottom_up]
        return [node.convs[-1] for node in nodes]


class DenseSelfTeacher(nn.Module):
    """More layers of pyramid on the maps of a network, with a head that predicts a class for every pixel.

    Args:
        channels: c_i of the network's maps that it reads, the deepest ones, shallow to deep.
        widths: d_i; see :class:`.bifpn.BiFPN`.
        classes: K.
        head: channels inside of the head; None: those of the shallowest level.

    Shapes: the network's maps (B, c_i, H_i, W_i) -> Output with logits (B, K, H_1, W_1) and stages
    (B, d_i, H_i, W_i).

    Raises:
        ValueError: see :class:`.bifpn.BiFPN`; when it runs, maps of other channels.
    """

    @checked
    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        classes: int,
        *,
        layers: Layers = 2,
        depth: Depth = 1,
        upsampling: Upsampling = "bilinear",
        head: HeadWidth = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.widths = tuple(widths)
        self.pyramid = Pyramid(channels, widths, between, layers=layers, depth=depth, upsampling=upsampling)
        self.head = DenseHead(widths[0], classes, head)

    @classmethod
    @checked
    def of(
        cls,
        output: Output,
        classes: int,
        *,
        pyramid: PyramidKind = "bifpnc",
        width: Width = 1.0,
        levels: Levels = None,
        **options: Any,
    ) -> Self:
        """On the maps of a network that predicts every pixel; as :meth:`SelfTeacher.of`."""
        return cls(*chosen(output, pyramid, width, levels), classes, **options)

    def forward(self, stages: Sequence[Tensor]) -> Output:
        refined = self.pyramid(deepest(stages, self.channels))
        return Output(self.head(refined[0]), None, refined)
