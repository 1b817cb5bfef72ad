"""Every term takes a step on every pair of networks of SLKD's tables 2 and 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cohobate.core import Batch, Between, Frozen, Output, Taps, Term
from cohobate.methods.at import AT
from cohobate.methods.crd import CRD
from cohobate.methods.cwd import CWD
from cohobate.methods.dist import DIST
from cohobate.methods.dkd import DKD
from cohobate.methods.fitnet import FitNet
from cohobate.methods.hard_label import HardLabel
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.ofd import OFD
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.rkd import RKD
from cohobate.methods.sp import SP
from cohobate.models.build import build
from cohobate.models.surgery.norms import stage_norms
from cohobate.models.surgery.probe import look
from cohobate.recipes import terms

CLASSES = 10
IMAGES = 3
SHAPE = (3, 32, 32)

PAIRS = [
    ("resnet32x4", "resnet8x4"),
    ("resnet56", "resnet8"),
    ("wrn_40_2", "wrn_40_1"),
    ("wrn_40_2", "wrn_16_2"),
    ("vgg13", "vgg11"),
    ("vgg13", "vgg8"),
    ("resnet32x4", "shufflenet_v2"),
    ("resnet32x4", "shufflenet_v1"),
    ("resnet50_cifar", "mobilenet_v2"),
    ("vgg13", "mobilenet_v2"),
    ("wrn_40_2", "shufflenet_v1"),
]


class Networks(NamedTuple):
    """What a term is made for: examples of both outputs, and the teacher's batch norms."""

    student: Output
    teacher: Output
    network: nn.Module
    taps: Taps = "stages"

    @property
    def labels(self) -> Tensor:
        return torch.arange(40) % 5

    def teacher_norms(self) -> list[nn.BatchNorm2d]:
        return stage_norms(self.network, SHAPE)


TERMS: dict[str, Callable[[Between], Term]] = {
    "kd": KD.between,
    "l2": L2.between,
    "standardised kd": Standardised.between,
    "dkd": DKD.between,
    "dist": DIST.between,
    "hard": HardLabel.between,
    "fitnet": FitNet.between,
    "at": AT.between,
    "sp": SP.between,
    "rkd": RKD.between,
    "ofd": OFD.between,
    "crd": lambda networks: CRD.between(networks, negatives=16),
    "reviewkd": ReviewKD.between,
    "cwd": CWD.between,
}


class Passed(NamedTuple):
    """A pair of networks, and what both gave for one batch."""

    student: nn.Module
    teacher: nn.Module
    outputs: tuple[Output, Output]
    before: dict[str, Tensor]


@cache
def frozen(name: str) -> Frozen:
    torch.manual_seed(0)
    return Frozen(build(name, CLASSES), copy=False)


@cache
def data() -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, *SHAPE, generator=generator)
    return Batch((x,), torch.arange(IMAGES), torch.arange(IMAGES), torch.tensor(0.5))


@cache
def taught(name: str) -> Output:
    return frozen(name)(data().x)


@pytest.fixture(scope="module", params=PAIRS, ids=" -> ".join)
def passed(request: pytest.FixtureRequest) -> Passed:
    """One forward of both networks; all terms share it."""
    teacher, name = request.param
    before = {key: value.clone() for key, value in frozen(teacher).network.state_dict().items()}
    torch.manual_seed(1)
    student = build(name, CLASSES)
    return Passed(student, frozen(teacher).network, (student(data().x), taught(teacher)), before)


def test_the_tables_are_whole() -> None:
    assert len(set(PAIRS)) == 11
    # All that the library has: 154 steps.
    assert len(TERMS) == len(terms.TERMS) == 14


@pytest.mark.parametrize("name", TERMS)
def test_a_step(passed: Passed, name: str) -> None:
    student, teacher = passed.outputs
    examples = [Output(*output).detach() for output in (student, teacher)]
    term = TERMS[name](Networks(*examples, passed.teacher))
    passed.student.zero_grad()
    loss = term.weight * term(student, teacher, data())
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert loss > 0
    gradients = [p.grad for p in passed.student.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert sum(g.abs().sum().item() for g in gradients) > 0
    assert all(p.grad is not None and p.grad.any() for p in term.parameters())
    assert all(p.grad is None for p in passed.teacher.parameters())
    after = passed.teacher.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in passed.before.items())


def test_the_shapes_are_as_the_terms_must_bear() -> None:
    """Maps of different sizes, and different numbers of them: what public code fails on."""
    sizes = {name: [s.shape[-1] for s in taught(name).stages] for name, _ in PAIRS}
    assert sizes["vgg13"] == [32, 16, 8, 4, 4]
    assert sizes["resnet50_cifar"] == [32, 16, 8, 4]
    mobile = look(build("mobilenet_v2", CLASSES), SHAPE).output
    assert [s.shape[-1] for s in mobile.stages] == [16, 8, 4, 2]


def test_options_reach_the_terms() -> None:
    networks = Networks(taught("resnet8x4"), taught("wrn_40_2"), frozen("wrn_40_2").network)
    assert FitNet.between(networks, stage=0, weight=2.0).channels == (64, 32)
    assert FitNet.between(networks).channels == (128, 64)
    assert OFD.between(networks, weight=0.5).weight == 0.5
    standardised = Standardised.between(networks, temperature=3.0, weight=4.0)
    assert (standardised.weight, standardised.correction) == (4.0, 1)
    assert isinstance(standardised.term, KD)
    assert standardised.term.temperature == 3.0
    assert ReviewKD.between(networks, mid_channels=7, ramp=0).ramp == 0
    crd = CRD.between(networks, dim=6, memory_momentum=0.25)
    assert (crd.remembers, crd.student_bank.shape, crd.memory_momentum) == (40, (40, 6), 0.25)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        AT.between(networks, weight=-1)


def test_the_share_of_the_cross_entropy() -> None:
    """0.1 beside the softened KL, 1 beside every other term."""
    kinds = (KD, Standardised, DKD, DIST, FitNet, AT, SP, RKD, OFD, CRD, ReviewKD, CWD)
    assert {kind.__name__: kind.ce_weight for kind in kinds if kind.ce_weight != 1} == {
        "KD": 0.1,
        "Standardised": 0.1,
    }
