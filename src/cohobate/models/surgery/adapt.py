"""Makes any network return an Output: stages come from hooks, or from timm's feature interface.

Choices. Stages that are not named are the last four resolutions of the network's body, or, where the
resolution never changes (transformers), four blocks spread evenly. The dry pass runs on two images,
in evaluation and in training mode; a stage, head or gate that fails its checks is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core import Classifier, Output, Shape, keep_keys
from .gating import add_gates
from .probe import Pass, WrongImagesError, look
from .stages import Levels, check_head, check_maps, check_stages, find_head, find_stages, timm_levels

IMAGENET: Shape = (3, 224, 224)


class Tap:
    """A hook that holds its module's output, or as a pre-hook its first input, until :meth:`read`.

    An object, not a closure, so that a copy of the network gets a copy of it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.value: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor | None = None) -> None:
        self.value = inputs[0] if output is None else output

    def __getstate__(self) -> dict[str, Any]:
        # After a failed pass, or one of the network without its adapter, the value was not read: a tensor of
        # the autograd graph, which cannot be copied.
        return {**vars(self), "value": None}

    def read(self) -> Tensor:
        value, self.value = self.value, None
        if value is None:
            raise ValueError(f"the module {self.path} did not run in this pass, so it has no features")
        return value


class Hooked:
    """Stages of any network: the outputs of named modules."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.taps = [Tap(name) for name in names]
        for tap in self.taps:
            network.get_submodule(tap.path).register_forward_hook(tap)

    def __call__(self, network: nn.Module, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        logits: Tensor = network(x)
        return logits, tuple(tap.read() for tap in self.taps)


class TimmFeatures:
    """Stages of a timm network by its own interface; token sequences become maps."""

    def __init__(self, levels: Levels, chosen: Sequence[Any] | None) -> None:
        self.indices = levels.usual() if chosen is None else levels.checked(chosen)
        self.names = tuple(levels.names[index] for index in self.indices)

    def __call__(self, network: Any, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, stages = network.forward_intermediates(x, indices=self.indices, output_fmt="NCHW")
        return network.forward_head(x), tuple(stages)


class Adapted(nn.Module):
    """A network of any library that returns an Output, under its own state-dict keys.

    Attributes:
        network: the network itself.
        stage_names: where its stages come from.
        head: path of the classifier; None if there is no such linear layer, and so no ``pooled``.
        gateless: why its residual branches have no gates; None if they have gates.
        preacts: a tap for each stage on what it was before its last ReLU, None where it has no ReLU;
            None if these are not returned (:func:`.preacts.give_preacts`).
    """

    preacts: tuple[Tap | None, ...] | None

    def __init__(
        self,
        network: nn.Module,
        features: Hooked | TimmFeatures,
        head: str | None,
        gateless: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.stage_names = features.names
        self.head = head
        self.gateless = gateless
        self.preacts = None
        self._features = features
        self._pooled = None if head is None else Tap(head)
        if head is not None:
            network.get_submodule(head).register_forward_pre_hook(self._pooled)  # type: ignore[arg-type]
        keep_keys(self)

    def forward(self, x: Tensor) -> Output:
        logits, stages = self._features(self.network, x)
        pooled = None if self._pooled is None else self._pooled.read()
        if self.preacts is None:
            return Output(logits, pooled, stages)
        pairs = zip(self.preacts, stages, strict=True)
        return Output(logits, pooled, stages, tuple(s if tap is None else tap.read() for tap, s in pairs))

    def forget_head(self) -> None:
        """Return no pooled features from now on: the layer that read them is about to be removed."""
        self.head = self._pooled = None

    def only_logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K), by the network's own forward; no feature is read or kept."""
        logits: Tensor = self.network(x)
        taps = [*getattr(self._features, "taps", ()), self._pooled]
        for tap in taps:
            if tap is not None:
                tap.value = None
        return logits


def adapt(
    network: nn.Module,
    stages: Sequence[str] | Sequence[int] | None = None,
    head: str | None = None,
    gates: Sequence[str] | None = None,
    shape: Shape | None = None,
) -> nn.Module:
    """Make any network return an :class:`Output`; its parameters and keys stay as they are.

    The network is taken over, not copied: it gets hooks, and its in-place activations are switched
    off if one of them would overwrite a stage.

    Args:
        network: images -> logits. One that returns an Output already is returned as it is, and so is what
            a :class:`cohobate.Classifier` holds (:func:`cohobate.load`).
        stages: paths of the modules whose outputs are the stages, shallow to deep; or, for timm,
            numbers of its feature levels. Found automatically for timm, torchvision, numbered
            ``layer1 ...`` and sequential bodies.
        head: path of the classifier, whose input is ``pooled``; by default the linear layer whose output
            is the logits.
        gates: paths of the modules that end a residual branch (its last norm or convolution), input
            to output. Found automatically for torchvision's and timm's residual networks.
        shape: (C, H, W) of the images on which it is run; by default the input size of a timm network,
            else 3 x 224 x 224.

    Raises:
        ValueError: a path that does not exist (with the nearest), runs never or more than once in a
            pass, or gives no feature map; stages whose resolution grows; images that the network
            cannot take; a network that returns a tuple; gates that cannot be folded.
    """
    network = network.network if isinstance(network, Classifier) else network
    guessed, shape = shape is None, shape or made_for(network)
    try:
        seen, trained = look(network, shape), look(network, shape, training=True)
    except WrongImagesError as error:
        hint = "; say which it takes: shape=(channels, height, width)" if guessed else ""
        raise WrongImagesError(f"{error}{hint}") from error
    if any(isinstance(call.output, Output) for call in seen.of("")):
        if stages is not None or head is not None:
            raise ValueError(f"{type(network).__name__} returns an Output already; adapt a plain network")
        return network
    head = find_head(seen) if head is None else head
    by_number = stages is None or all(isinstance(stage, int) for stage in stages)
    levels = timm_levels(network) if by_number else None
    features = None if levels is None else TimmFeatures(levels, stages)
    tapped: list[str] = []
    if features is None:
        tapped = find_stages(network, seen) if stages is None else [str(stage) for stage in stages]
    for each in (seen, trained):
        check_stages(network, tapped, each)
        check_head(network, head, each)
    _stop_overwriting(network, tapped, shape, (seen, trained))
    gateless = add_gates(network, gates, shape)
    adapted = Adapted(network, features or Hooked(network, tapped), head, gateless)
    _verify(adapted, seen, shape)
    return adapted


def made_for(network: nn.Module) -> Shape:
    """(C, H, W) of the images that a network was made for, by its ``pretrained_cfg`` or else ImageNet's."""
    size = getattr(network, "pretrained_cfg", {}).get("input_size", IMAGENET)
    return size[0], size[1], size[2]


def _stop_overwriting(network: nn.Module, names: Sequence[str], shape: Shape, passes: Sequence[Pass]) -> None:
    """Switch in-place activations off if a stage would be overwritten after it was read."""
    if not _overwritten(network, names, passes):
        return
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    passes = [look(network, shape, training=training) for training in (False, True)]
    if still := _overwritten(network, names, passes):
        raise ValueError(
            f"stage {still!r} is overwritten in place by the code after it; name the module that "
            "follows it, or change that operation"
        )


def _overwritten(network: nn.Module, names: Sequence[str], passes: Sequence[Pass]) -> str | None:
    """Name of a stage that later code changes in place; in-place dropout does so in training mode only."""
    stages = {network.get_submodule(name): name for name in names}
    calls = [call for seen in passes for call in seen.calls if call.overwritten]
    return next((stages[call.module] for call in calls if call.module in stages), None)


def _verify(adapted: Adapted, seen: Pass, shape: Shape) -> None:
    """The adapted network must give the network's own logits, and stages that are feature maps."""
    output = look(adapted, shape).output
    if not torch.allclose(output.logits, seen.output.logits, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"{type(adapted.network).__name__}'s feature interface gives other logits than the network; "
            "name the stages by module path"
        )
    check_maps(adapted.stage_names, output.stages)
