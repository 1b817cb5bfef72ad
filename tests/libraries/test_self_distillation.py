"""Networks of timm and torchvision that teach themselves: they learn, or the method says why it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from by_name import made_for
from zoo import CLASSES, toy_images

from cohobate.core import Batch, Method
from cohobate.data.arrays import arrays
from cohobate.models.dense.self_teacher import SelfTeacher
from cohobate.recipes.job import Job
from cohobate.recipes.options import options

SIZE = 64
VIT = "timm:vit_tiny_patch16_224:img_size=64"
MODELS = ("timm:resnet18", VIT, "torchvision:resnet18")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "frskd": ("frskd", {}),
    "frskd, two levels, fitnet": ("frskd", {"features": "fitnet", "levels": 2, "width": 0.5}),
    "frskd + sla": ("frskd", {"sla": True, "width": 0.5}),
    "byot": ("byot", {}),
    "ddgsd": ("ddgsd", {}),
    "sad": ("sad", {"start": 0.0}),
    "cs_kd": ("cs_kd", {}),
    "sla_sd": ("sla_sd", {}),
}


def made(method: str, model: str, **given: Any) -> Method:
    x, y = toy_images(10, 0)
    data = arrays(x.repeat_interleave(SIZE // 8, 1).repeat_interleave(SIZE // 8, 2), y)
    learner: Method = made_for(method, Job(options(method, {"model": model, **given}), data))
    return learner


def batch() -> Batch:
    views = torch.randn(2, 4, 3, SIZE, SIZE).unbind()
    return Batch(views, torch.arange(4) % CLASSES, None, torch.tensor(0.5))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_they_learn_and_deploy(model: str, name: str) -> None:
    torch.manual_seed(0)
    method, given = METHODS[name]
    learner = made(method, model, **given).train()
    seen = batch()
    losses = learner(seen)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    learning = [p for p in learner.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    learner.eval()
    plain = made("baseline", model)
    with torch.no_grad():
        (first, deployed), inside = next(iter(learner.predictors().items())), learner.readouts(seen.x)
        torch.testing.assert_close(deployed(seen.x), inside[first], rtol=1e-4, atol=1e-4)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (deployed, plain.network)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("model", ["timm:resnet18", "torchvision:resnet18"])
def test_overhaul(model: str) -> None:
    """FRSKD's tables 5 and 7 need it on an ImageNet ResNet-18; what it adds is hidden from other methods."""
    torch.manual_seed(0)
    learner = made("frskd", model, features="overhaul", width=0.5).train()
    seen = batch()
    losses = learner(seen)
    assert losses["feature"] > 0
    losses["feature"].backward()
    assert all(p.grad is not None for p in learner.feature.parameters())
    plain = made("baseline", model).network.train()
    plain.load_state_dict(learner.network.state_dict())
    output, expected = learner.network.train()(seen.x), plain(seen.x)
    assert expected.preacts is None
    assert torch.equal(output.logits, expected.logits)
    for stage, preact, same in zip(output.stages, output.preacts, expected.stages, strict=True):
        assert torch.equal(stage, same)
        assert torch.equal(preact.relu(), stage)


def test_overhaul_needs_a_relu() -> None:
    message = "VisionTransformer: the stage 'blocks.2' ends neither in a ReLU nor in a batch norm"
    with pytest.raises(ValueError, match=message):
        made("frskd", VIT, features="overhaul", width=0.5)


def test_stages_of_equal_size_pass_from_level_to_level_as_they_are() -> None:
    """A vision transformer's: neither channels nor sides change, so nothing is projected or resized."""
    teacher = made("frskd", VIT).self_teacher
    assert isinstance(teacher, SelfTeacher)
    assert teacher.channels == (192,) * 4
    for way in (teacher.pyramid.up, teacher.pyramid.down):
        assert not list(way.parameters())
    sides = {tuple(stage.shape[1:]) for stage in teacher([torch.randn(2, 192, 4, 4)] * 4).stages}
    assert sides == {(384, 4, 4)}
