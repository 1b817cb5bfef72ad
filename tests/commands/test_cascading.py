"""A cascade held against the logits of its sums, and the times of networks side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cohobate.commands import timing
from cohobate.commands.cascading import left
from cohobate.commands.timing import times
from cohobate.core import Batch, running_sums
from cohobate.engine.errors import RunError
from cohobate.inference.cascade import Cascade

CPU = torch.device("cpu")


class Shared(nn.Module):
    """Logits that depend on the other images of the batch, as no network's should in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return self.by * x


class Batches:
    """Logits themselves as images, in batches of 16."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def epoch(self, number: int) -> Iterator[Batch]:
        for part in self.x.split(16):
            yield Batch((part,), torch.zeros(len(part), dtype=torch.int64))


@pytest.fixture
def x() -> Tensor:
    return 3 * torch.randn(50, 5, generator=torch.Generator().manual_seed(0))


def sums_of(networks: list[nn.Module], x: Tensor) -> Tensor:
    per_batch = [torch.stack(running_sums([net(part) for net in networks])) for part in x.split(16)]
    return torch.cat(per_batch, dim=1)


@pytest.mark.parametrize("order", [None, (4, 2, 0, 1, 3)])
def test_what_a_cascade_predicts(x: Tensor, order: tuple[int, ...] | None) -> None:
    networks: list[nn.Module] = [Scaled(0.5), Scaled(0.3), Scaled(-0.2)]
    sums = sums_of(networks, x)
    cascade = Cascade(networks, 0.5).eval()
    loader: Any = Batches(x)
    ordered = sums if order is None else sums[:, :, list(order)]
    found = left(cascade, loader, CPU, "fp32", order, ordered)
    stages = []
    for row in range(50):
        energies = [float((s[row].double().softmax(0) ** 2).sum()) for s in sums]
        stages.append(next((i for i in range(2) if energies[i] > 0.5), 2))
        torch.testing.assert_close(found.logits[row], ordered[stages[-1], row])
    assert found.exits.tolist() == stages
    assert found.moved == 0
    assert found.shares == pytest.approx([stages.count(i) / 50 for i in range(3)])
    assert len(set(stages)) == 3


def test_a_network_that_looks_at_the_rest_of_the_batch_is_refused(x: Tensor) -> None:
    networks = [Scaled(0.5), Shared()]
    loader: Any = Batches(x)
    cascade = Cascade(networks, 0.5).eval()
    with pytest.raises(RunError, match=r"for \d+ of 50 images the cascade predicts otherwise"):
        left(cascade, loader, CPU, "fp32", None, sums_of(networks, x))


def test_rounding_at_the_threshold_is_counted_and_more_is_refused(x: Tensor) -> None:
    networks: list[nn.Module] = [Scaled(0.5), Scaled(0.3)]
    sums = sums_of(networks, x)
    energies = sums[0].double().softmax(1).square().sum(1).sort().values
    loader: Any = Batches(x)
    cascade = Cascade(networks, float(energies[20])).eval()
    near = sums.clone()
    near[0] *= 1 + 1e-6  # as if whole batches rounded otherwise
    assert left(cascade, loader, CPU, "fp32", None, near).moved == 1
    # The cascade's last network is computed for one image that the sums say has left long before.
    far = sums.clone()
    far[0, 7] = torch.tensor([50.0, 0, 0, 0, 0])
    with pytest.raises(RunError, match="for 1 of 50 images"):
        left(Cascade(networks, 0.999).eval(), loader, CPU, "fp32", None, far)


def test_times_are_medians_of_rounds_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the networks move; on 5 images in two batches; the first round warms up."""
    monkeypatch.setattr(timing, "ROUNDS", (3, 5))
    clock = 0.0
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock)
    called: list[str] = []
    seconds = {"quick": [9, 0.010, 0.001, 0.020], "slow": [9, 0.300, 0.300, 0.100]}

    def network(name: str, images: Tensor) -> None:
        nonlocal clock
        clock += seconds[name][called.count(name) // 2 % 4]
        called.append(name)

    networks = {name: partial(network, name) for name in seconds}
    found = times(networks, [torch.zeros(4, 1), torch.zeros(1, 1)], nullcontext, seconds=0)
    assert found.rounds == 3
    turns = ["quick", "slow", "quick", "slow", "slow", "quick", "quick", "slow"]
    assert called == [name for name in turns for _ in range(2)]
    assert found.milliseconds == pytest.approx({"quick": 2 * 10 / 5, "slow": 2 * 300 / 5})
    # Of 1, 10, 20 and 100, 300, 300 milliseconds: half way from the median to either end.
    assert found.quartiles["quick"] == pytest.approx((2 * 5.5 / 5, 2 * 15 / 5))
    assert found.quartiles["slow"] == pytest.approx((2 * 200 / 5, 2 * 300 / 5))
    assert times(networks, [torch.zeros(1, 1)], nullcontext, seconds=1000).rounds == 5
