"""Methods of a single network, made from it as a run does: the order of random draws, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, toy

from cohobate.core import Frozen, Method, Output, Shape
from cohobate.methods.byot import BYOT
from cohobate.methods.byot_exits import exits_of
from cohobate.methods.cs_kd import CSKD
from cohobate.methods.ddgsd import DDGSD
from cohobate.methods.sad import SAD
from cohobate.methods.sla import SLASD
from cohobate.models.surgery.probe import look


class Logits(nn.Module):
    """A network that shows neither stages nor the features before its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Output:
        return Output(self.fc(x.mean(dim=(2, 3))))


class Run:
    """The networks of a run."""

    shape: Shape = (3, SIZE, SIZE)
    classes = CLASSES

    def __init__(self, make: Any = toy) -> None:
        self.network = make

    def teacher(self) -> Frozen:
        raise ValueError("a network that teaches itself has no teacher")

    def look(self, network: nn.Module) -> Output:
        return look(network, self.shape).output


def byot(**exits: Any) -> BYOT:
    network = toy()
    return BYOT(network, exits_of(Run().look(network), CLASSES, **exits), hint="norm")


MADE = [
    (DDGSD, {"weight": 2.0}, lambda: DDGSD(toy(), weight=2.0)),
    (CSKD, {"statistics": "first"}, lambda: CSKD(toy(), statistics="first")),
    (SAD, {"start": 0.0, "skip": 1}, lambda: SAD(toy(), start=0.0, skip=1)),
    (SLASD, {"beta": 0.5}, lambda: SLASD(toy(), nn.Linear(8, 4 * CLASSES), beta=0.5)),
    (BYOT, {"hint": "norm"}, byot),
    (
        BYOT,
        {"hint": "norm", "bottleneck": "separable", "attention": True},
        lambda: byot(bottleneck="separable", attention=True),
    ),
]


@pytest.mark.parametrize(("kind", "options", "by_hand"), MADE)
def test_made_by_a_run_as_by_hand(kind: type[Method], options: dict[str, Any], by_hand: Any) -> None:
    torch.manual_seed(0)
    made = kind.of(Run(), **options)
    torch.manual_seed(0)
    expected = by_hand()
    assert type(made) is kind
    assert made.state_dict().keys() == expected.state_dict().keys()
    for key, value in made.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    losses, same = made(batch()), expected(batch())
    assert losses.keys() == same.keys()
    assert all(torch.equal(loss, same[name]) for name, loss in losses.items())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DDGSD, {}, r"features before the classifier.*adapt\(network, head=.*mmd_weight to 0"),
        (SAD, {}, r"two stages or more, got 0.*adapt\(network, stages="),
        (SLASD, {}, r"features before the classifier.*adapt\(network, head="),
        (BYOT, {}, r"two stages or more, this one gives 0.*adapt\(network, stages="),
    ],
)
def test_networks_that_do_not_show_enough(kind: type[Method], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.of(Run(Logits), **options)


def test_without_mmd_logits_are_enough() -> None:
    assert set(DDGSD.of(Run(Logits), mmd_weight=0.0)(batch())) == {"ce", "kl"}
