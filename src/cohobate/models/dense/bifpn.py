"""Feature pyramids that teach the network they sit on: BiFPN and BiFPNc.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
Distillation, CVPR 2021 (section 3.1). After the BiFPN of Tan, Pang, Le: EfficientDet: Scalable and
Efficient Object Detection, CVPR 2020.

    F_i         maps            feature map of stage i of the network, i = 1 the shallowest of n
    c_i, d_i    channels, widths    of F_i, and of level i of the pyramid
    L_i         lateral, skip   1x1 convolutions of F_i
    P_i         top_down        what the deeper levels add to it
    T_i         bottom_up       what the shallower levels add to that
    w^P, w^T    Fusion          shares in which a node adds its inputs

Choices.
    Ends of the paths: P_n is L_n, and T_1 is what the top-down path ends with (the diagonal connections
        of figure 2); T_n adds no top-down map. For any number of levels from two.
    Two laterals: each path has laterals of its own (T_1 needs none). Table 6's parameters say so.
    Stacked layers: on the maps of another pyramid, which are as wide as its levels already, a pyramid needs
        no laterals (EfficientDet): it is made with ``enter=between``.
    Below a dense head, which reads T_1 alone: without ``bottom_up`` the levels stay P_i. Nothing of that path
        acts on T_1, so it would never learn, and deeper levels would be noise.
    Nodes: ``depth`` depth-wise separable convolutions, each with one batch norm, ReLU between them. Two,
        as the authors' code and table 6's parameters have it.
    Resizing: where two levels differ in channels, a 1x1 convolution, batch norm and ReLU; where they do
        not (BiFPN), nothing. Levels of equal size pass as they are; those that are not halves are pooled
        adaptively. ``upsampling`` has three forms, of which the first is the default:
        ``bilinear``: a map is enlarged, then projected, in the order of eq. 2, to which the operations of
            table 6 belong.
        ``projected``: projected, then enlarged. The two could change places but for batch norm and ReLU,
            which see the smaller map: another function, with a quarter of the operations of these
            projections (0.17 and 0.55 of the network's for the whole self-teacher of table 6's last two
            rows, which has 0.21 and 0.68).
        ``nearest``: the authors' code. It projects after enlarging; where each pixel is copied equally
            often, the order makes no difference, and the cheaper one is computed.
    Fusion: shares are ReLU(w) / (sum + 1e-6), w begins as ones.
    Pooling: 3x3, stride 2, windows centred where a convolution's are. With ``nearest``, those of a side of
        even length begin at its first pixel, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...core.options import Doc, Ge, checked
from ..backbones.resnet import conv1x1, initialise

Depth = Annotated[int, Ge(1), Doc("Number of depth-wise separable convolutions at each node of the pyramid.")]
Upsampling = Annotated[
    Literal["bilinear", "projected", "nearest"],
    Doc(
        "How the pyramid enlarges its feature maps: bilinear, then projected, as printed; projected first, "
        "which saves about a fifth of the self-teacher's operations; nearest, the form of the authors' code."
    ),
]
EPSILON = 1e-6


def normalised(weight: Tensor) -> Tensor:
    """Shares of the inputs of a node, none below zero, from their weights, (m,) -> (m,)."""
    positive = weight.relu()
    return positive / (positive.sum() + EPSILON)


class Projection(nn.Module):
    """1x1 convolution, batch norm, ReLU, scaled by a share: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv1x1(inputs, outputs)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if share is None:
            return F.relu(self.bn(x), inplace=True)
        # No share is negative, so it passes through the ReLU: the norm's few numbers are scaled, not the map.
        scaled = {name: share * parameter for name, parameter in self.bn.named_parameters()}
        return F.relu(functional_call(self.bn, scaled, (x,)), inplace=True)


class Unchanged(nn.Module):
    """A map as it is, scaled by a share."""

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        return x if share is None else share * x


def between(inputs: int, outputs: int) -> Projection | Unchanged:
    """From one level's channels to another's."""
    return Unchanged() if inputs == outputs else Projection(inputs, outputs)


class Node(nn.Module):
    """Adds ``inputs`` maps in its shares; ``depth`` depth-wise separable convolutions; no ReLU at the end."""

    def __init__(self, inputs: int, channels: int, depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(inputs))
        layers: list[nn.Module] = []
        for _ in range(depth):
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            pointwise = conv1x1(channels, channels)
            layers += [depthwise, pointwise, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers[:-1])

    def shares(self) -> tuple[Tensor, ...]:
        """One a map, () each, for the maps to be scaled by."""
        return normalised(self.weight).unbind()

    def forward(self, *scaled: Tensor) -> Tensor:
        first, *others = scaled
        return self.convs(sum(others, start=first))  # type: ignore[no-any-return]


def enlarged(x: Tensor, like: Tensor, upsampling: Upsampling) -> Tensor:
    """A map at the size of a shallower one."""
    if x.shape[2:] == like.shape[2:]:
        return x
    if upsampling == "nearest":
        return F.interpolate(x, size=like.shape[2:], mode="nearest")
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def reduced(x: Tensor, like: Tensor, upsampling: Upsampling) -> Tensor:
    """The largest values of a map, at the size of a deeper one."""
    height, width = x.shape[2:]
    if x.shape[2:] == like.shape[2:]:
        return x
    if ((height + 1) // 2, (width + 1) // 2) != tuple(like.shape[2:]):
        return F.adaptive_max_pool2d(x, like.shape[2:])
    if upsampling == "nearest":
        # As the authors' "same" padding: nothing before a side of even length, one row or column behind it.
        return F.max_pool2d(x, 3, stride=2, padding=(height % 2, width % 2), ceil_mode=True)
    return F.max_pool2d(x, 3, stride=2, padding=1)


class BiFPN(nn.Module):
    """Top-down and bottom-up path over the stages of a network.

    Args:
        channels: c_i of the maps, shallow to deep, two or more.
        widths: d_i of the levels: one number for all (BiFPN) or each its own (BiFPNc).
        enter: makes what brings a map from c_i channels to d_i: :class:`Projection`, or :func:`between`,
            which leaves a map alone that has d_i already.

        bottom_up: whether there is the second path; without it T_i is P_i.

    Shapes: n maps (B, c_i, H_i, W_i), none larger than the one before -> T_i after their last ReLU, and those
    of the last path before it, (B, d_i, H_i, W_i) each.

    Raises:
        ValueError: fewer than two levels, other widths than levels, or an option out of range.
    """

    @checked
    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        enter: Callable[[int, int], nn.Module] = Projection,
        *,
        depth: Depth,
        upsampling: Upsampling,
        bottom_up: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) < 2 or len(widths) != len(channels):
            raise ValueError(
                f"a pyramid needs two levels or more and a width for each, got channels {list(channels)} "
                f"and widths {list(widths)}"
            )
        if min(widths) < 1:
            raise ValueError(f"widths must be 1 or more, got {list(widths)}")
        self.upsampling: Upsampling = upsampling
        levels = range(len(widths))
        steps = list(pairwise(widths))
        upwards = steps if bottom_up else []
        self.lateral = nn.ModuleList(map(enter, channels, widths))
        self.skip = nn.ModuleList(map(enter, channels[1:], widths[1 : len(upwards) + 1]))
        self.up = nn.ModuleList(between(deep, shallow) for shallow, deep in steps)
        self.down = nn.ModuleList(between(shallow, deep) for shallow, deep in upwards)
        self.top_down = nn.ModuleList(Node(2, width, depth) for width in widths[:-1])
        self.bottom_up = nn.ModuleList(
            Node(2 if level == levels[-1] else 3, widths[level], depth)
            for level in levels[1 : len(upwards) + 1]
        )
        initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        path, preact = self._top_down(maps)
        stages, preacts = [path[0]], [preact]  # T_1
        for i, node in enumerate(cast(Iterable[Node], self.bottom_up), 1):
            skip_share, *own_share, down_share = node.shares()
            skip = self.skip[i - 1](maps[i], skip_share)
            down = self.down[i - 1](reduced(stages[-1], skip, self.upsampling), down_share)
            own = [share * path[i] for share in own_share]
            preacts.append(node(skip, *own, down))  # Eq. 2, T_i
            stages.append(F.relu(preacts[-1]))
        return (*stages, *path[len(stages) :]), tuple(preacts)

    def _top_down(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """P_1, ..., P_n, and P_1 before its last ReLU."""
        path = [self.lateral[-1](maps[-1])]  # Eq. 1, L_n
        for i, node in reversed(list(enumerate(cast(Iterable[Node], self.top_down)))):
            lateral_share, up_share = node.shares()
            lateral = self.lateral[i](maps[i], lateral_share)  # Eq. 1
            up = self._up(self.up[i], path[0], up_share, lateral)
            preact = node(lateral, up)  # Eq. 2, P_i
            path.insert(0, F.relu(preact))
        return path, preact

    def _up(self, project: nn.Module, deeper: Tensor, share: Tensor, like: Tensor) -> Tensor:
        """A level in the channels and at the size of the next shallower one."""
        copied = self.upsampling == "nearest" and all(
            side % small == 0 for side, small in zip(like.shape[2:], deeper.shape[2:], strict=True)
        )
        if copied or self.upsampling == "projected" or isinstance(project, Unchanged):
            return enlarged(project(deeper, share), like, self.upsampling)
        return project(enlarged(deeper, like, self.upsampling), share)  # type: ignore[no-any-return]
