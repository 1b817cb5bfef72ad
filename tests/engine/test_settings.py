"""Schedules as fractions, optimizers by group, moving average."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from zoo import ZOO

from cohobate.config.groups import Settings
from cohobate.core import Method
from cohobate.engine.optim import MovingAverage, make_optimizers, set_rates
from cohobate.engine.schedule import factor


def rates(count: int, **settings: Any) -> list[float]:
    chosen = Settings(**settings)
    return [factor(chosen, i / count) for i in range(count)]


def test_steps_fall_at_the_papers_epochs() -> None:
    """Self-Guidance: 0.1, / 10 at half and three quarters: epochs 150 and 225 of 300."""
    found = rates(300, schedule="step", milestones=(0.5, 0.75), step_factor=0.1)
    assert found == pytest.approx([1.0] * 150 + [0.1] * 75 + [0.01] * 75)


def test_cosine() -> None:
    found = rates(4, schedule="cosine", final=0.0)
    assert found == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert factor(Settings(schedule="cosine", final=0.1), 1.0) == pytest.approx(0.1)


def test_power_annealing() -> None:
    """ResKD: 0.1 to 1e-4 with power 2."""
    settings = Settings(schedule="power", power=2, final=1e-3)
    assert factor(settings, 0.0) == 1
    assert factor(settings, 0.5) == pytest.approx(1e-3 + 0.999 * 0.25)
    assert factor(settings, 1.0) == pytest.approx(1e-3)


def test_warmup_rises_then_the_schedule_begins() -> None:
    found = rates(10, schedule="cosine", warmup=0.2)
    assert found[:3] == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"milestones": (0.7, 0.5)}, "milestones must rise"),
        ({"momentum": 0.0}, "nesterov needs momentum"),
        ({"epoch": 3}, "Extra inputs are not permitted"),
        ({"mixing": "blend"}, "'none', 'mixup' or 'cutmix'"),
        ({"mixing_alpha": 0.2}, "mixing_alpha 0.2 needs mixing mixup or cutmix, got mixing none"),
        ({"mixing_share": 0.5}, "mixing_share 0.5 needs mixing mixup or cutmix, got mixing none"),
        ({"mixing": "mixup", "mixing_alpha": 0.0}, "greater than 0"),
        ({"clip_value": 0.0}, "greater than 0"),
        ({"clip": 1.0, "clip_value": 2.0}, "clip 1 limits .* clip_value 2 each .* give one of the two"),
        ({"precision": "fp16"}, "'auto', 'fp32' or 'bf16'"),
    ],
)
def test_bad_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**given)


class Two(Method):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"networks": [self.a], "alpha": [self.b]}


def test_a_group_may_have_its_own_optimizer_and_rate() -> None:
    method = Two()
    own = {"alpha": {"optimizer": "adamw", "lr": 3e-4, "weight_decay": 1e-3}}
    sgd, adamw = make_optimizers(method, Settings(lr=0.1), own)
    assert isinstance(sgd, torch.optim.SGD)
    assert isinstance(adamw, torch.optim.AdamW)
    set_rates([sgd, adamw], 0.5)
    assert [o.param_groups[0]["lr"] for o in (sgd, adamw)] == [0.05, 1.5e-4]
    assert adamw.param_groups[0]["weight_decay"] == 1e-3
    assert adamw.param_groups[0]["params"] == [method.b]


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ValueError, match="no parameter group 'alfa'; the method has networks, alpha"):
        make_optimizers(Two(), Settings(), {"alfa": {}})


def test_every_parameter_of_the_zoo_is_optimised() -> None:
    for case in ZOO.values():
        method = case.make()
        optimizers = make_optimizers(method, Settings(), {})
        held = [p for o in optimizers for g in o.param_groups for p in g["params"]]
        assert {id(p) for p in held} == {id(p) for p in method.parameters()}
        assert len(held) == len({id(p) for p in held})


def test_moving_average_by_hand() -> None:
    """avg <- d avg + (1 - d) w with d = min(decay, (1 + t) / (10 + t)), in float64, past the warm-up."""
    method = Two().double()
    ema = MovingAverage(method, decay=0.5)
    expected, decays = 1.0, []
    for t in range(12):
        weight = 2.0 + t % 3
        with torch.no_grad():
            method.a.fill_(weight)
        ema.update(t)
        decays.append(min(0.5, (1 + t) / (10 + t)))
        expected = decays[-1] * expected + (1 - decays[-1]) * weight
        torch.testing.assert_close(ema.average["a"], torch.full((2,), expected, dtype=torch.float64))
    assert decays[0] == 0.1
    assert 0.4 < decays[7] < 0.5 == decays[8] == decays[-1]
    with ema.applied():
        torch.testing.assert_close(method.a.detach(), ema.average["b"] * 0 + expected)
    torch.testing.assert_close(method.a.detach(), torch.full((2,), weight, dtype=torch.float64))
    ema.adopt()
    torch.testing.assert_close(method.a.detach(), torch.full((2,), expected, dtype=torch.float64))
