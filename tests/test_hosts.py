"""A method inside other people's training: Lightning, accelerate, a plain loop."""

from __future__ import annotations

from collections.abc import Callable

import accelerate
import lightning
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from zoo import seeded, toy, toy_data, toy_images

from cohobate.core import Batch, Method
from cohobate.data.loaders import eval_loader
from cohobate.engine.evaluate import evaluating
from cohobate.engine.measures.classification import evaluate
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD
from cohobate.methods.self_guidance import SelfGuidance

METHODS = {
    "self_guidance": lambda: SelfGuidance(toy()),
    "kd": lambda: Distillation(toy(), toy(), {"kd": KD()}, ce_weight=1.0),
}
methods = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS.keys())


def loader() -> DataLoader[tuple[Tensor, ...]]:
    x, y = toy_images(80, 0)
    return DataLoader(TensorDataset(x.permute(0, 3, 1, 2) / 128 - 1, y), batch_size=16, shuffle=True)


def loss_of(method: Method, x: Tensor, y: Tensor) -> Tensor:
    loss = sum(method(Batch((x,), y)).values())
    assert isinstance(loss, Tensor)
    return loss


def average(method: Method) -> float:
    return sum(loss_of(method, x, y).item() for x, y in loader()) / 5


@methods
def test_lightning(make: Callable[[], Method]) -> None:
    class Module(lightning.LightningModule):
        def __init__(self, method: Method) -> None:
            super().__init__()
            self.method = method

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            return loss_of(self.method, *batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.method.groups()["networks"], lr=0.05, momentum=0.9)

    module = Module(seeded(make))
    before = average(module.method)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=6, accelerator="cpu", enable_model_summary=False, **quiet)
    # Lightning advises more workers and warns of its own internals: neither is ours.
    with pytest.warns():
        trainer.fit(module, loader())
    assert average(module.method) < 0.8 * before


@methods
def test_accelerate(make: Callable[[], Method]) -> None:
    host = accelerate.Accelerator(cpu=True)
    method = seeded(make)
    before = average(method)
    optimizer = torch.optim.SGD(method.groups()["networks"], lr=0.05, momentum=0.9)
    prepared, optimizer, data = host.prepare(method, optimizer, loader())
    for _ in range(6):
        for x, y in data:
            host.backward(sum(prepared(Batch((x,), y)).values()))
            optimizer.step()
            optimizer.zero_grad()
    assert average(method) < 0.8 * before


@methods
def test_a_plain_loop_learns(make: Callable[[], Method]) -> None:
    method = seeded(make)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    for _ in range(10):
        for x, y in loader():
            loss_of(method, x, y).backward()
            optimizer.step()
            optimizer.zero_grad()
    dataset = toy_data()
    with evaluating(method):
        measured = evaluate(
            method.readouts,
            eval_loader(dataset.test(), dataset, device=torch.device("cpu")),
            torch.device("cpu"),
        )
    # Chance is 80 percent. (The toy loop normalises otherwise than the loader: it still shows.)
    assert next(iter(measured.values()))["top1_error"] < 60
