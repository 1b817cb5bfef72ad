"""Sizes of pyramids and dense heads, counted from the architecture by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Size = tuple[int, int]


def area(size: Size) -> int:
    return size[0] * size[1]


def halves(size: Size, levels: int) -> list[Size]:
    """A size and its halves, rounded up."""
    sizes = [size]
    while len(sizes) < levels:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def node(inputs: int, width: int) -> int:
    """Parameters: a weight for each input, a 3x3 depth-wise and a 1x1 convolution, a batch norm."""
    return inputs + 9 * width + width * width + 2 * width


def pyramid_parameters(channels: Sequence[int], width: int, layers: int) -> int:
    levels = len(channels)
    into = [c * width + 2 * width for c in channels]  # a 1x1 convolution and a batch norm
    downwards = (levels - 1) * node(2, width)
    upwards = (levels - 2) * node(3, width) + node(2, width)
    entries = sum(into) + (sum(into[1:]) if layers > 1 else 0)
    # The last layer has no path upwards: only the shallowest level is read.
    return entries + layers * downwards + (layers - 1) * upwards


def pyramid_macs(channels: Sequence[int], sizes: Sequence[Size], width: int, layers: int) -> int:
    into = [c * width * area(size) for c, size in zip(channels, sizes, strict=True)]
    nodes = [(9 * width + width * width) * area(size) for size in sizes]
    entries = sum(into) + (sum(into[1:]) if layers > 1 else 0)
    return entries + layers * sum(nodes[:-1]) + (layers - 1) * sum(nodes[1:])


def head_parameters(width: int, inside: int, classes: int) -> int:
    return 9 * width * inside + 2 * inside + 9 * inside * classes + classes


def head_macs(width: int, inside: int, classes: int, size: Size) -> int:
    return (9 * width * inside + 9 * inside * classes) * area(size)


# ---------------------------------------------------------------- EfficientNet (Tan and Le, 2019, table 1)

Block = tuple[int, int, int, int, int]
"""Expansion, side of the kernel, channels, repeats, stride."""

B0: tuple[Block, ...] = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
B1 = tuple((e, k, c, repeats, s) for (e, k, c, _, s), repeats in zip(B0, (2, 3, 3, 4, 4, 5, 2), strict=True))
"""1.1 times as deep, rounded up."""
LAST = 320 * 1280 + 2 * 1280
"""The 1x1 convolution and the norm before the classifier."""


def efficientnet(blocks: Sequence[Block], size: Size) -> tuple[int, int]:
    """Parameters and multiply-accumulates up to the last block, for images of a size that 32 divides."""
    places = area(size) // 4
    parameters, macs = 27 * 32 + 2 * 32, 27 * 32 * places
    channels = 32
    for expansion, side, outputs, repeats, stride in blocks:
        for repeat in range(repeats):
            inner, squeezed = expansion * channels, max(1, channels // 4)
            after = places // stride**2 if repeat == 0 else places
            if expansion > 1:
                parameters += channels * inner + 2 * inner
                macs += channels * inner * places
            parameters += side**2 * inner + 2 * inner  # depth-wise
            parameters += inner * squeezed + squeezed + squeezed * inner + inner  # squeeze and excitation
            parameters += inner * outputs + 2 * outputs
            macs += side**2 * inner * after + 2 * inner * squeezed + inner * outputs * after
            channels, places = outputs, after
    return parameters, macs


# ---------------------------------------------------------------- CIFAR ResNets (He et al., CVPR 2016)


def resnet(blocks: int, size: Size) -> tuple[int, int]:
    """Parameters and multiply-accumulates of 3 stages of basic blocks with 1x1 shortcuts, no classifier."""
    widths = 16, 16, 32, 64
    parameters, macs = 27 * 16 + 32, 27 * 16 * area(size)
    for (inputs, width), place in zip(pairwise(widths), halves(size, 3), strict=True):
        for block in range(blocks):
            before = inputs if block == 0 else width
            convolutions = 9 * before * width + 9 * width * width
            norms = 2
            if before != width:
                convolutions, norms = convolutions + before * width, 3
            parameters += convolutions + norms * 2 * width
            macs += convolutions * area(place)
    return parameters, macs
