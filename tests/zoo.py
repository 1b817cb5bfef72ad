"""Every method on toy networks, and a toy data set: what the contract test runs over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cohobate.commands.feeds import make_feeds
from cohobate.config.groups import Settings
from cohobate.core import (
    Batch,
    Classifier,
    Frozen,
    Mean,
    Method,
    Phase,
    Separate,
    Sum,
    Term,
    as_output,
    cross_entropy,
)
from cohobate.data.arrays import arrays
from cohobate.data.order import classmates
from cohobate.engine.checkpoint import Store
from cohobate.engine.loop import Trainer
from cohobate.engine.progress import Display
from cohobate.engine.randomness import seed_all
from cohobate.engine.signals import Stopper
from cohobate.methods.at import AT
from cohobate.methods.byot import BYOT
from cohobate.methods.byot_exits import exits_of
from cohobate.methods.cl_ilr import CLILR
from cohobate.methods.crd import CRD
from cohobate.methods.cs_kd import CSKD
from cohobate.methods.cwd import CWD
from cohobate.methods.ddgsd import DDGSD
from cohobate.methods.deit import DeiT
from cohobate.methods.dgkd import DGKD
from cohobate.methods.dist import DIST
from cohobate.methods.distillation import Distillation
from cohobate.methods.dkd import DKD
from cohobate.methods.dml import DML
from cohobate.methods.ffm_cd import Diversified, FeatureFusion
from cohobate.methods.fitnet import FitNet, Hints, HintTraining
from cohobate.methods.frskd import FRSKD, AttentionNorm
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.methods.hard_label import HardLabel
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.ofd import OFD
from cohobate.methods.okddip import SelfAttention, TwoLevel
from cohobate.methods.one import ONE, BranchGate
from cohobate.methods.reskd import EnsembleMember, MutualResKD, OfLogits, ResKD
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.rkd import RKD
from cohobate.methods.sad import SAD
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.methods.sla import SLASD
from cohobate.methods.slkd import SLKD
from cohobate.methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns
from cohobate.methods.sp import SP
from cohobate.methods.stochastic_depth import StochasticDepth
from cohobate.methods.supervised import Supervised
from cohobate.models.backbones.resnet import Basic, Bottleneck, ResNet
from cohobate.models.backbones.wrn import WideResNet
from cohobate.models.dense.self_teacher import SelfTeacher
from cohobate.models.surgery.adapt import adapt
from cohobate.models.surgery.branch import Branched, branch
from cohobate.models.surgery.probe import look

CLASSES = 5
SIZE = 8


def toy() -> nn.Module:
    """At least 8 channels everywhere: with fewer, oneDNN corrupts the heap on processors without AVX-512.

    :func:`cohobate.engine.phase.corrupting` has the details.
    """
    return ResNet(Basic, 1, CLASSES, stem=8, widths=(8, 8, 8))


def toy_bottleneck() -> nn.Module:
    return ResNet(Bottleneck, 1, CLASSES, stem=8, widths=(8, 8, 8), shortcut="padding")


def toy_wide() -> nn.Module:
    return WideResNet(10, 1, CLASSES)


class BasicBlock(nn.Module):
    """A residual block as people write it: plain tensors, in-place activations, no gate."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        branch += x if self.downsample is None else self.downsample(x)
        return self.relu(branch)  # type: ignore[no-any-return]


class HandWritten(nn.Module):
    """A network that knows nothing of this library."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 8, 2))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.head(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def toy_adapted() -> nn.Module:
    return adapt(HandWritten(), shape=(3, SIZE, SIZE))


class TwoTokens(nn.Module):
    """A small transformer with a class token and a distillation token, whose heads are read as timm's are."""

    def __init__(self, width: int = 8, classes: int = CLASSES) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width))
        self.tokens = nn.Parameter(torch.randn(1, 2, width))
        self.attention = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, classes)
        self.head_dist = nn.Linear(width, classes)
        self.distilled_training = False

    def forward_features(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).mT
        tokens = torch.cat([self.tokens.expand(len(x), -1, -1), patches], dim=1)
        query, key, value = self.attention(tokens).chunk(3, dim=2)
        return tokens + torch.softmax(query @ key.mT, dim=2) @ value

    def forward_head(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        one, two = self.head(x[:, 0]), self.head_dist(x[:, 1])
        return (one, two) if self.distilled_training and self.training else (one + two) / 2

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))  # type: ignore[return-value]


def student(method: str, folder: Path) -> str:
    """The model that a method trains in tests, as it is typed."""
    if method != "deit":
        return "resnet8"
    file = folder / "two_tokens.py"
    file.write_text(
        "from zoo import TwoTokens\n\ndef make(classes):\n    return TwoTokens(classes=classes)\n"
    )
    return f"{file}:make"


class Turns(Method):
    """Two networks in turns, a parameter that rests, labels that must be ids.

    No method of a paper needs all of these; the contract must hold for them nevertheless.
    """

    turns = 2
    rests = True

    def __init__(self) -> None:
        super().__init__()
        self.peers = nn.ModuleList([toy(), toy()])
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        y = batch.ids(type(self).__name__)
        return {f"ce_{turn}": cross_entropy(as_output(self.peers[turn](batch.x)).logits, y)}

    def predictors(self) -> dict[str, nn.Module]:
        return {f"peer_{i}": Classifier(peer) for i, peer in enumerate(self.peers)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {f"peer_{i}": as_output(peer(x)).logits for i, peer in enumerate(self.peers)}


@dataclass(frozen=True)
class Case:
    """A method, and what is particular to it.

    Attributes:
        make: builds it.
        network: what its predictors are.
        soft_labels: whether it takes them.
        refuses: by which name it refuses them; by default that of its class.
        idle: parameters that no step moves.
        ensembles: predictors that hold more than the network that is deployed.
        masks: whether it learns from masks, a label for every pixel.
    """

    make: Callable[[], Method]
    network: Callable[[], nn.Module] = toy
    soft_labels: bool = True
    refuses: str | None = None
    idle: tuple[str, ...] = ()
    ensembles: tuple[str, ...] = ()
    masks: bool = False


def taught(make: Callable[[], Term], **how: Any) -> Case:
    """One term between a narrow and a wide network, whose channels are (8, 8, 8) and (16, 32, 64)."""
    return Case(lambda: Distillation(toy(), Frozen(toy_wide()), {"term": make()}, ce_weight=1.0), **how)


def toy_crd() -> CRD:
    return CRD(8, 64, torch.arange(80) % CLASSES, dim=6, negatives=32)


def toy_branches(tails: int, at: int = 2) -> Branched:
    return branch(toy(), at, tails, (3, SIZE, SIZE))


def led(attention: Callable[[], nn.Module], gamma: float = 0.0) -> Case:
    """Three branches, weighed by a module, teach a fourth; with gamma, a loss keeps them apart."""

    def make() -> Method:
        group = toy_branches(4, at=1)
        method = TwoLevel(group, attention(), beta=2.0)
        classifiers = [tail.get_submodule("fc") for tail in group.tails]
        return Diversified(method, classifiers, gamma=gamma) if gamma else method

    return Case(make, ensembles=("ensemble",))


def toy_fusion() -> FeatureFusion:
    return FeatureFusion(8, 3, widths=(6, 4))


MARGINS = [torch.full((c,), -0.8) for c in (6, 8, 10)]


def toy_frskd(
    feature: Callable[[], Term] | None, network: Callable[[], nn.Module] = toy, **how: Any
) -> FRSKD:
    """A self-teacher of 6, 8, 10 channels on the deepest stages, of which the hand-written net has two."""
    made = network()
    channels = [stage.shape[1] for stage in look(made, (3, SIZE, SIZE)).output.stages]
    teacher = SelfTeacher(channels, (6, 8, 10)[-len(channels) :], CLASSES)
    return FRSKD(made, teacher, None if feature is None else feature(), **how)


def toy_frskd_sla() -> FRSKDSLA:
    heads = nn.Linear(8, 4 * CLASSES), nn.Linear(10, 4 * CLASSES)
    return FRSKDSLA(toy_frskd(lambda: AT(weight=100.0)), *heads)


def toy_byot(network: Callable[[], nn.Module] = toy, **how: Any) -> BYOT:
    exits = {name: how.pop(name) for name in ("bottleneck", "attention") if name in how}
    made = network()
    return BYOT(made, exits_of(look(made, (3, SIZE, SIZE)).output, CLASSES, **exits), **how)


def residuals(
    earlier: int, term: Callable[[], Term] = L2, kind: type[ResKD] | type[MutualResKD] = ResKD, **how: Any
) -> Case:
    """A stage of ResKD after so many others; its sums hold several networks."""

    def make() -> Method:
        before = [toy(), toy_adapted()][:earlier]
        return kind(toy(), toy_wide(), term(), before, **how)

    sums = ("student", *(f"S_{i}" for i in range(1, earlier))) if earlier else ()
    # The peer is another network than those that add up.
    return Case(make, ensembles=(*sums, "peer"))


EXITS = ("exit_1", "exit_2", "ensemble")
REFINED = ("self_teacher",)


def deep(name: str) -> bool:
    """Whether a parameter of the toy student lies behind its middle stage."""
    return name.startswith(("student.stages.2", "student.fc"))


ZOO: dict[str, Case] = {
    "baseline": Case(lambda: Supervised(toy())),
    "baseline wide": Case(lambda: Supervised(toy_wide()), toy_wide),
    "baseline adapted": Case(lambda: Supervised(toy_adapted()), toy_adapted),
    "kd": Case(lambda: Distillation(toy(), Frozen(toy_wide()), {"kd": KD()})),
    "kd adapted": Case(lambda: Distillation(toy_adapted(), Frozen(toy_adapted()), {"kd": KD()}), toy_adapted),
    "stochastic_depth": Case(lambda: StochasticDepth(toy())),
    "stochastic_depth wide": Case(lambda: StochasticDepth(toy_wide()), toy_wide),
    "self_guidance": Case(lambda: SelfGuidance(toy())),
    "self_guidance wide": Case(lambda: SelfGuidance(toy_wide()), toy_wide),
    "self_guidance bottleneck": Case(lambda: SelfGuidance(toy_bottleneck()), toy_bottleneck),
    "self_guidance adapted": Case(lambda: SelfGuidance(toy_adapted()), toy_adapted),
    "self_guidance weight=0": Case(lambda: SelfGuidance(toy(), weight=0.0)),
    "self_guidance detach=False": Case(lambda: SelfGuidance(toy(), detach=False)),
    "self_guidance backward_full=False": Case(lambda: SelfGuidance(toy(), backward_full=False)),
    "self_guidance statistics=both": Case(lambda: SelfGuidance(toy(), statistics="both")),
    "l2": taught(lambda: L2()),
    "dkd": taught(lambda: DKD(), soft_labels=False, refuses="DKD"),
    "dist": taught(lambda: DIST()),
    "hard": taught(lambda: HardLabel()),
    "standardised_kd": taught(lambda: Standardised(KD(temperature=2.0, weight=9.0))),
    "fitnet": taught(lambda: FitNet(8, 32)),
    "at": taught(lambda: AT()),
    "sp": taught(lambda: SP(weight=30.0)),
    "rkd": taught(lambda: RKD()),
    "overhaul": taught(lambda: OFD((8, 8, 8), (16, 32, 64), [torch.full((c,), -0.4) for c in (16, 32, 64)])),
    "crd": taught(toy_crd),
    "reviewkd": taught(lambda: ReviewKD((8, 8, 8, 8), (16, 32, 64, 64), mid_channels=4)),
    "cwd": taught(lambda: CWD([(8, 16), (8, 32), (8, 64)])),
    "kd+at+crd": Case(
        lambda: Distillation(toy(), Frozen(toy_wide()), {"kd": KD(), "at": AT(), "crd": toy_crd()})
    ),
    "kd of two teachers": Case(
        lambda: Distillation(toy(), Frozen(Mean([toy_wide(), toy_adapted()])), {"kd": KD()})
    ),
    "fitnet_stages, the first": Case(
        lambda: HintTraining(toy(), toy_wide(), FitNet(8, 32)),
        idle=tuple(name for name, _ in toy().named_parameters(prefix="student") if deep(name)),
    ),
    "takd, the assistant": Case(lambda: Distillation(toy_wide(), Frozen(toy()), {"kd": KD()}), toy_wide),
    "born_again": Case(
        lambda: Distillation(toy(), Frozen(toy()), {"kd": KD(temperature=1.0, weight=1.0)}, ce_weight=1.0)
    ),
    "dgkd": Case(lambda: DGKD(toy(), [toy_wide(), toy_adapted()], drop=0.5)),
    "deit": Case(lambda: DeiT(TwoTokens(), Frozen(toy())), TwoTokens),
    "deit, soft": Case(lambda: DeiT(TwoTokens(), Frozen(toy()), target="soft"), TwoTokens),
    "reskd, stage 0": residuals(0),
    "reskd, stage 1": residuals(1),
    "reskd, stage 2": residuals(2, lambda: L2(of="probabilities"), ce_of="residual"),
    "reskd of residuals": residuals(2, lambda: KD(), compare="residual"),
    "reskd via rkd": residuals(1, lambda: OfLogits(RKD()), compare="residual", ce_weight=1.0),
    "reskd via rkd of features": residuals(1, lambda: RKD(), ce_weight=1.0),
    "reskd via dml": residuals(2, lambda: KD(), MutualResKD, compare="residual"),
    "ensemble of labels": Case(
        lambda: EnsembleMember(Supervised(toy()), [toy_wide()]), ensembles=("student", "S_0")
    ),
    "ensemble": Case(
        lambda: EnsembleMember(ResKD(toy(), toy_wide(), L2()), [toy(), toy_adapted()]),
        ensembles=("student", "S_1"),
    ),
    "trained_together": Case(
        lambda: ResKD(Sum([toy(), toy_wide()]), toy_wide(), L2()), ensembles=("student",)
    ),
    "trained_together of labels": Case(
        lambda: Supervised(Sum([toy(), toy_adapted()])), ensembles=("network",)
    ),
    "slkd": Case(lambda: SLKD(toy(), toy(), [toy(), toy()]), ensembles=("sl_fused",)),
    "slkd of probabilities": Case(
        lambda: SLKD(toy(), toy(), [toy(), toy()], rho=0.3, fuse="probabilities"), ensembles=("sl_fused",)
    ),
    "slkd in turns": Case(lambda: SLKDInTurns(SLKD(toy(), toy(), [toy(), toy()])), ensembles=("sl_fused",)),
    "slkd, first phase": Case(lambda: SelfLearning(toy(), [toy(), toy()]), ensembles=("sl_fused",)),
    "slkd, second phase": Case(lambda: Guided(toy(), toy_wide(), [toy(), toy()])),
    "dml": Case(lambda: DML(Separate([toy(), toy(), toy()])), ensembles=("ensemble",)),
    "dml in turns": Case(lambda: DML(Separate([toy(), toy()]), in_turns=True), ensembles=("ensemble",)),
    "cl_ilr": Case(lambda: CLILR(toy_branches(3)), ensembles=("ensemble",)),
    "one": Case(lambda: ONE(toy_branches(3), BranchGate(8, 3, stage=1)), ensembles=("ensemble",)),
    "okddip": Case(lambda: TwoLevel(toy_branches(4), SelfAttention(8)), ensembles=("ensemble",)),
    "okddip of networks": Case(
        lambda: TwoLevel(Separate([toy(), toy(), toy()]), SelfAttention(8, reduced=2), detach=False),
        ensembles=("ensemble",),
    ),
    "gate": Case(
        lambda: TwoLevel(toy_branches(3), BranchGate(8, 2, stage=1), leader_target="all"),
        ensembles=("ensemble",),
    ),
    "gate_cd": led(lambda: BranchGate(8, 3, stage=0), gamma=0.01),
    "sa": led(lambda: SelfAttention(8)),
    "sa_cd": led(lambda: SelfAttention(8), gamma=0.01),
    "ffm": led(toy_fusion),
    "ffm_cd": led(toy_fusion, gamma=0.01),
    "frskd": Case(lambda: toy_frskd(lambda: AT(weight=100.0)), ensembles=REFINED),
    "frskd without features": Case(lambda: toy_frskd(None, toy_wide), toy_wide, ensembles=REFINED),
    "frskd as printed": Case(
        lambda: toy_frskd(AttentionNorm, soft_labels="paper", start=0.4, ramp=0.3), ensembles=REFINED
    ),
    "frskd with fitnet": Case(lambda: toy_frskd(lambda: Hints((8, 8, 8), (6, 8, 10))), ensembles=REFINED),
    "frskd with overhaul": Case(
        lambda: toy_frskd(lambda: OFD((8, 8, 8), (6, 8, 10), MARGINS)), ensembles=REFINED
    ),
    "frskd adapted": Case(
        lambda: toy_frskd(lambda: AT(weight=100.0), toy_adapted), toy_adapted, ensembles=REFINED
    ),
    "frskd + sla": Case(toy_frskd_sla, ensembles=(*REFINED, "aggregated")),
    "byot": Case(toy_byot, ensembles=EXITS),
    "byot, the author's": Case(
        lambda: toy_byot(
            bottleneck="separable", attention=True, beta=0.03, hint_at="linear", hint="norm", unhinted=(2,)
        ),
        ensembles=EXITS,
    ),
    "byot adapted": Case(lambda: toy_byot(toy_adapted), toy_adapted, ensembles=("exit_1", "ensemble")),
    "ddgsd": Case(lambda: DDGSD(toy())),
    "ddgsd, both move": Case(lambda: DDGSD(toy_adapted(), detach=False, average="all"), toy_adapted),
    "cs_kd": Case(lambda: CSKD(toy())),
    "cs_kd statistics=first": Case(lambda: CSKD(toy_adapted(), statistics="first"), toy_adapted),
    "sad": Case(lambda: SAD(toy(), start=0.5)),
    "sad of sums": Case(lambda: SAD(toy_adapted(), weight=0.1, start=0.0, pool="sum"), toy_adapted),
    "sla_sd": Case(lambda: SLASD(toy(), nn.Linear(8, 4 * CLASSES)), ensembles=("aggregated",)),
    "turns": Case(Turns, soft_labels=False, idle=("idle",)),
}


def batch(images: int = 16, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Batch:
    """Noise; the second view is another image of the class, for those who ask for one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (images,), generator=generator)
    mates = classmates(y, torch.arange(images), generator)
    views = x.to(device, dtype), x[mates].to(device, dtype)
    half_way = torch.tensor(0.5, device=device)
    return Batch(views, y.to(device), torch.arange(images, device=device), half_way)


def toy_images(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise whose brightest quarter tells the class: learnable in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(images) % CLASSES
    x = torch.randint(0, 100, (images, SIZE, SIZE, 3), generator=generator)
    for i in range(images):
        x[i, int(y[i]) : int(y[i]) + 3, :, 0] += 150
    return x.to(torch.uint8), y


def toy_data(images: int = 80) -> Any:
    x, y = toy_images(images, 0)
    return arrays(x, y, val=toy_images(40, 1), test=toy_images(40, 2), crop=1)


def trainer(
    method: Method, folder: Path, stopper: Stopper | None = None, data: Any = None, **settings: Any
) -> Trainer:
    """The engine's trainer of one phase on the toy data, or other data."""
    chosen = Settings.model_validate(
        {"epochs": 2, "batch_size": 16, "device": "cpu", "compile": "off", "seed": 3, **settings}
    )
    device = torch.device(chosen.device)
    return Trainer(
        Phase("train", method),
        make_feeds(toy_data() if data is None else data, device, 0),
        chosen,
        device,
        Store(folder / "train"),
        folder / "metrics.jsonl",
        [],
        Display(quiet=True),
        stopper or Stopper(),
    )


class StopAfter(Stopper):
    """Wants to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.minutes = 0.0
        self.left = steps

    def wanted(self) -> bool:
        self.left -= 1
        return self.left <= 0


def seeded(make: Callable[[], Method], seed: int = 0) -> Method:
    seed_all(seed)
    return make()
