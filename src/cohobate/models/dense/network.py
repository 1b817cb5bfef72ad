"""Networks that predict a class for every pixel: a backbone, a pyramid of several layers, a dense head.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
Distillation, CVPR 2021 (sections 4.2 and 6). After Tan, Pang, Le: EfficientDet: Scalable and Efficient Object
Detection, CVPR 2020.

Choices.
    Levels: the stages of the backbone, shallow to deep, and ``extra`` deeper ones, each the max pooling of
        the level before it (EfficientDet's p6 and p7); every level has laterals of its own. The authors' code
        makes the two deeper ones by strided 3x3 convolutions, and adds a top-down path of plain sums before
        the first layer, which a layer has anyway.
    Layers: those of :mod:`.bifpn`, as for classification; the first has laterals, the others work on maps of
        their own width. The last has a top-down path only, on which alone the head depends: what the head
        does not read would never learn, and deeper maps would be noise to whoever compares them. In the
        authors' code the self-teacher's last layer is like that, while the network's keeps a bottom-up path
        that acts on nothing but the self-teacher.
    Nodes: ``convs`` 1, a depth-wise separable convolution at each node, as in EfficientDet; the authors' code
        has a 1x1 depth-wise one, which mixes neither places nor channels.
    Head: on the shallowest level, 3x3 convolution, batch norm, ReLU, and a 3x3 convolution to the classes, as
        in the authors' code; the logits are enlarged bilinearly to the size of the image.
    Images: of any size. A level is half of the one before, rounded up.
    Backbone: without what only its classifier needs (:mod:`.trimmed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Output, Shape, as_output, keep_keys, resized
from ...core.options import Doc, Ge, checked
from ..backbones.resnet import conv3x3, initialise
from .bifpn import BiFPN, Projection, Upsampling, between
from .trimmed import trim

Layers = Annotated[int, Ge(1), Doc("Number of layers of the pyramid, on one another.")]
Convs = Annotated[int, Ge(1), Doc("Number of depth-wise separable convolutions at each node of the pyramid.")]
HeadWidth = Annotated[
    int | None,
    Ge(1),
    Doc("Channels inside of the dense head; none: those of the shallowest level."),
]


class Pyramid(nn.Module):
    """Layers of BiFPN on one another; the last is below a dense head, and has no bottom-up path.

    Args:
        channels: of the maps, shallow to deep, two or more.
        widths: of each level.
        enter: of the first layer (:class:`.bifpn.BiFPN`); the others have no laterals.
        layers: how many there are.
        depth: convolutions at each node.
        upsampling: how a map is enlarged.

    Shapes: n maps (B, c_i, H_i, W_i) -> those of the last layer, (B, d_i, H_i, W_i) each.
    """

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        enter: Callable[[int, int], nn.Module] = Projection,
        *,
        layers: int,
        depth: int,
        upsampling: Upsampling,
    ) -> None:
        super().__init__()
        entries = [(channels, enter), *[(widths, between)] * (layers - 1)]
        self.layers = nn.ModuleList(
            BiFPN(maps, widths, how, depth=depth, upsampling=upsampling, bottom_up=number < layers)
            for number, (maps, how) in enumerate(entries, 1)
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for layer in self.layers:
            maps, _ = layer(maps)
        return tuple(maps)


class DenseHead(nn.Module):
    """Two 3x3 convolutions, the second to the classes: (B, C, H, W) -> (B, K, H, W)."""

    def __init__(self, inputs: int, classes: int, width: int | None = None) -> None:
        super().__init__()
        self.width = inputs if width is None else width
        self.conv = conv3x3(inputs, self.width)
        self.bn = nn.BatchNorm2d(self.width)
        self.fc = nn.Conv2d(self.width, classes, 3, padding=1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.bn(self.conv(x))))  # type: ignore[no-any-return]


class FullSize(nn.Module):
    """A network whose logits, (B, K, h, w), are enlarged to the size of its images, under its own keys."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        keep_keys(self)

    def forward(self, x: Tensor) -> Output:
        output = as_output(self.network(x))
        return output._replace(logits=resized(output.logits, x.shape[2:]))

    def only_logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H, W); no feature is read or kept."""
        alone = getattr(self.network, "only_logits", self.network)
        return resized(as_output(alone(x)).logits, x.shape[2:])


class DenseNetwork(nn.Module):
    """A backbone, a pyramid on its stages, and a head that predicts a class for every pixel.

    Args:
        backbone: images -> Output with stages; what only its classifier needs is gone.
        channels: of the stages that the pyramid reads, the deepest ones, shallow to deep.
        classes: K.

    Shapes: (B, C, H, W) -> Output with logits (B, K, H, W), and as stages the maps of the pyramid's last
    layer, (B, width, H_i, W_i), shallow to deep.

    Raises:
        ValueError: fewer than two levels, or an option out of range.
    """

    @checked
    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        classes: int,
        *,
        width: Annotated[int, Ge(1), Doc("Channels of every level of the pyramid.")] = 64,
        layers: Layers = 3,
        extra: Annotated[int, Ge(0), Doc("Number of deeper levels, made by pooling.")] = 0,
        convs: Convs = 1,
        upsampling: Upsampling = "bilinear",
        head: HeadWidth = None,
    ) -> None:
        super().__init__()
        levels = [*channels, *[channels[-1]] * extra]
        if len(levels) < 2:
            raise ValueError(
                "a pyramid needs two levels or more, here there is one; give more of the backbone's stages "
                "(levels=2), or extra=1 for a deeper one by pooling"
            )
        self.backbone = backbone
        self.channels = tuple(channels)
        self.extra = extra
        widths = [width] * len(levels)
        self.pyramid = Pyramid(levels, widths, layers=layers, depth=convs, upsampling=upsampling)
        self.head = DenseHead(width, classes, head)

    @classmethod
    @checked
    def of(
        cls,
        backbone: nn.Module,
        classes: int,
        shape: Shape,
        *,
        levels: Annotated[
            int | None, Ge(1), Doc("Number of deepest stages of the backbone that are levels; none: all.")
        ] = None,
        **options: Any,
    ) -> Self:
        """On the stages of a network for classification, whose classifier is removed.

        Args:
            backbone: images -> Output with stages; it is taken over, not copied.
            classes: K.
            shape: (C, H, W) of the images.
            **options: of the constructor.

        Raises:
            ValueError: an option is out of range, or the backbone gives fewer stages than ``levels``.
        """
        stages = trim(backbone, shape).stages
        if levels is not None and len(stages) < levels:
            raise ValueError(f"the backbone gives {len(stages)} stages, levels is {levels}")
        return cls(backbone, [stage.shape[1] for stage in stages][-(levels or 0) :], classes, **options)

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(f"pyramid level {i}" for i in range(1, len(self.channels) + self.extra + 1))

    def forward(self, x: Tensor) -> Output:
        maps = list(as_output(self.backbone(x)).stages[-len(self.channels) :])
        for _ in range(self.extra):
            maps.append(F.max_pool2d(maps[-1], 3, stride=2, padding=1))
        refined = self.pyramid(maps)
        return Output(resized(self.head(refined[0]), x.shape[2:]), None, refined)
