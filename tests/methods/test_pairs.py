"""Every term takes a step on every pair of networks of SLKD's tables 2 and 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cohobate.core import Batch, Frozen, Output, Term
from cohobate.methods.at import AT
from cohobate.methods.crd import CRD
from cohobate.methods.dist import DIST
from cohobate.methods.dkd import DKD
from cohobate.methods.fitnet import FitNet, hint_pair
from cohobate.methods.kd import KD
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.matching import channels, pooled_pair, preact_pairs
from cohobate.methods.ofd import OFD, margin
from cohobate.methods.reviewkd import ReviewKD, level_pairs
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


def fitnet(student: Output, teacher: Output, network: nn.Module) -> Term:
    guided, hint = hint_pair(student, teacher)
    return FitNet(guided.shape[1], hint.shape[1])


def ofd(student: Output, teacher: Output, network: nn.Module) -> Term:
    ours, theirs = channels(preact_pairs(student, teacher, "OFD"))
    margins = [margin(norm.weight, norm.bias) for norm in stage_norms(network, SHAPE)]
    return OFD(ours, theirs, margins[-len(ours) :])


def reviewkd(student: Output, teacher: Output, network: nn.Module) -> Term:
    return ReviewKD(*channels(level_pairs(student, teacher)))


def crd(student: Output, teacher: Output, network: nn.Module) -> Term:
    ours, theirs = pooled_pair(student, teacher, "CRD")
    return CRD(ours.shape[1], theirs.shape[1], torch.arange(40) % 5, negatives=16)


# Name -> (example of the student's output, of the teacher's, the teacher) -> the term.
TERMS: dict[str, Callable[[Output, Output, nn.Module], Term]] = {
    "kd": lambda student, teacher, network: KD(),
    "standardised kd": lambda student, teacher, network: Standardised(KD(9.0, 2.0)),
    "dkd": lambda student, teacher, network: DKD(),
    "dist": lambda student, teacher, network: DIST(),
    "fitnet": fitnet,
    "at": lambda student, teacher, network: AT(),
    "sp": lambda student, teacher, network: SP(),
    "rkd": lambda student, teacher, network: RKD(),
    "ofd": ofd,
    "crd": crd,
    "reviewkd": reviewkd,
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
    # All that the library has: 121 steps.
    assert len(TERMS) == len(terms.TERMS) == 11


@pytest.mark.parametrize("name", TERMS)
def test_a_step(passed: Passed, name: str) -> None:
    student, teacher = passed.outputs
    examples = [Output(*output).detach() for output in (student, teacher)]
    term = TERMS[name](*examples, passed.teacher)
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
