"""Python's way in: any method, the user's own network and arrays."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from zoo import CLASSES, Turns, batch, seeded, toy, toy_data

import cohobate
from cohobate.commands import running
from cohobate.commands.prepare import Prepared
from cohobate.core import Batch, Classifier, cross_entropy
from cohobate.data.augment.labels import smooth
from cohobate.engine.errors import RunError, Stopped

QUICK = {"batch_size": 16, "device": "cpu", "lr": 0.05, "quiet": True}


def test_fit_learns_and_deploys_a_plain_network() -> None:
    method = seeded(lambda: cohobate.SelfGuidance(toy()))
    dataset = toy_data(160)
    result = cohobate.fit(method, dataset, epochs=12, **QUICK)
    assert result.error < 25  # chance is 80
    assert [record["epoch"] for record in result.history] == list(range(1, 13))
    assert result.network is not None
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (dataset.mean, dataset.std))
    test = dataset.test()
    x = (test.x.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        wrong = (result.network(x).argmax(1) != test.y).double().mean().item()
    assert 100 * wrong == pytest.approx(result.error)


def test_a_network_of_ones_own_on_numpy_arrays(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2))
    x = np.zeros((40, 4, 4), np.uint8)
    x[::2] = 200
    data = cohobate.arrays(x, np.arange(40) % 2)
    result = cohobate.fit(cohobate.Supervised(network), data, tmp_path / "run", epochs=3, **QUICK)
    assert result.facts["last"]["test"] is None
    assert result.error == 0
    assert Path(result) == tmp_path / "run"  # it may be given where a run's folder is asked for
    with pytest.raises(RunError, match=r"trained from Python with a network of your own: build it, then"):
        cohobate.load(tmp_path / "run")
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2))
    cohobate.load_weights(other, tmp_path / "run" / "deployed.safetensors")
    assert torch.equal(other[1].weight, network[1].weight)
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 3))
    with pytest.raises(
        ValueError, match=r"do not fit Sequential .*the file predicts 2 classes, the network 3"
    ):
        cohobate.load_weights(wrong, tmp_path / "run" / "deployed.safetensors")
    with pytest.raises(RunError, match=r"is a checkpoint of training; the network is deployed.safetensors"):
        cohobate.load(tmp_path / "run" / "train" / "last.safetensors")


def test_fit_resumes(tmp_path: Path) -> None:
    def go(folder: str, **more: float) -> cohobate.Result:
        method = seeded(lambda: cohobate.SelfGuidance(toy()))
        return cohobate.fit(method, toy_data(), tmp_path / folder, epochs=3, **QUICK, **more)

    whole = go("whole")
    with pytest.raises(Stopped):
        go("cut", max_minutes=1e-6)
    cut = go("cut")
    assert whole.facts["last"] == cut.facts["last"]
    assert go("cut").network is None


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown setting 'epoch'; the nearest are epochs"):
        cohobate.fit(cohobate.Supervised(toy()), toy_data(), epoch=3)


class Pairs(cohobate.Supervised):
    """Wants another image of the same class beside each."""

    second_view = "classmate"

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        assert len(batch.views) == 2
        assert not torch.equal(batch.views[0], batch.views[1])
        return super().forward(batch, turn)


def test_the_second_view_reaches_the_method() -> None:
    cohobate.fit(Pairs(toy()), toy_data(), epochs=1, **QUICK)


def test_label_smoothing_makes_probabilities_and_is_refused_by_name() -> None:
    soft = smooth(batch(8), 0.1, CLASSES)
    expected = nn.functional.cross_entropy(torch.eye(CLASSES), torch.arange(CLASSES), label_smoothing=0.1)
    logits = torch.eye(CLASSES)
    own = cohobate.core.cross_entropy(logits, smooth(Batch((logits,), torch.arange(CLASSES)), 0.1, CLASSES).y)
    torch.testing.assert_close(own, expected)
    torch.testing.assert_close(soft.y.sum(1), torch.ones(8))
    with pytest.raises(ValueError, match="Turns needs integer labels, got probabilities"):
        cohobate.fit(Turns(), toy_data(), epochs=1, label_smoothing=0.1, **QUICK)


class Counting(cohobate.Supervised):
    """Keeps what no state dict holds."""

    def __init__(self) -> None:
        network = toy()
        super().__init__(nn.Sequential(network, nn.Dropout(0.1)))
        self.calls: list[bool] = []
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        self.calls.append(self.training)
        torch.rand(3, generator=self.generator)
        return {"ce": cross_entropy(self.network[0](batch.x).logits, batch.y)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": self.network[0](x).logits}

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network[0])}


def test_the_users_own_method_begins_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it is tried out."""
    method = Counting().eval()
    weights = {name: value.clone() for name, value in method.state_dict().items()}
    drawn = method.generator.get_state()
    seen: list[Any] = []

    def untrained(prepared: Prepared, *given: Any, **more: Any) -> None:
        (phase,) = prepared.make_plan(prepared.job(lambda message: None, lambda spec: nn.Identity()))
        seen.append(phase.method)
        assert sum(type(thing) is Counting for thing in gc.get_objects()) == 1, "the copy is gone"

    monkeypatch.setattr(running, "run", untrained)
    cohobate.fit(method, toy_data(), epochs=1, **QUICK)
    assert seen == [method]
    assert (method.calls, method.training) == ([], False)
    assert torch.equal(method.generator.get_state(), drawn)
    assert all(torch.equal(value, weights[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


@pytest.mark.parametrize("kept", ["a lock", "a computed tensor"])
def test_a_method_that_cannot_be_copied_is_trained(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = toy()
    network.kept = threading.Lock() if kept == "a lock" else network(batch(2).x).logits
    loud = {**QUICK, "quiet": False}
    assert len(cohobate.fit(cohobate.Supervised(network), toy_data(), epochs=1, **loud).history) == 1
    assert "trained without a trial step" in capsys.readouterr().err


def test_a_method_is_tried_on_a_batch_like_any_other(device: str, tmp_path: Path) -> None:
    """On the run's device, in its precision and layout, with as many images as a step takes."""
    seen: list[Any] = []

    class Watched(cohobate.Supervised):
        def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
            assert batch.progress is not None
            last = batch.x.is_contiguous(memory_format=torch.channels_last)
            kinds = [(t.shape, t.dtype, t.device.type) for t in (batch.x, batch.y, batch.index)]
            seen.append((*kinds, last, batch.progress.device.type, torch.is_autocast_enabled(device)))
            return super().forward(batch, turn)

    rng = np.random.default_rng(0)
    for k in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{k}.png")
    settings: dict[str, Any] = {**QUICK, "device": device, "compile": "off", "precision": "bf16"}
    settings |= {"accumulate": 2, "augmentations": 1, "unlabelled": str(tmp_path)}
    cohobate.fit(Watched(toy().to(device)), toy_data(), epochs=1, **settings)
    assert seen[0][0] == ((8, 3, 8, 8), torch.float32, device)
    assert set(seen[1:]) == {seen[0]}


def test_a_batch_that_does_not_fit_is_refused_before_a_folder(tmp_path: Path) -> None:
    class Large(cohobate.Supervised):
        def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
            raise torch.OutOfMemoryError("none left")

    with pytest.raises(RunError, match=r"batch size 16 .* --batch-size 8, or .* --accumulate 2"):
        cohobate.fit(Large(toy()), toy_data(), tmp_path / "run", epochs=1, **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_progress_rises_from_0_towards_1() -> None:
    seen = []

    class Watched(cohobate.Supervised):
        def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
            assert batch.progress is not None
            seen.append(batch.progress.item())
            return super().forward(batch, turn)

    cohobate.fit(Watched(toy()), toy_data(), epochs=2, **QUICK)
    seen = seen[1:]  # the first pass only looks whether the method can run
    steps = len(seen)
    assert seen == pytest.approx([i / steps for i in range(steps)])


def test_a_memory_of_other_images_is_refused() -> None:
    """``fit`` holds images out: what remembers rows must be made of those that are left."""
    x = torch.randint(0, 256, (100, 8, 8, 3), dtype=torch.uint8)
    data = cohobate.arrays(x, torch.arange(100) % 10)
    student, teacher = cohobate.build("resnet8", classes=10), cohobate.build("resnet8", classes=10)

    def method(seen: cohobate.data.dataset.Dataset) -> cohobate.Distillation:
        options = {"negatives": 8, "dim": 4}
        terms = cohobate.make_terms("crd", student, teacher, seen, **options)
        return cohobate.Distillation(student, teacher, terms)

    settings = {"epochs": 1, "batch_size": 30, "device": "cpu", "quiet": True}
    with pytest.raises(ValueError, match="CRD was made for 100 training images, the run has 90; hold out"):
        cohobate.fit(method(data), data, **settings)
    held = cohobate.hold_out(data, 0.1, seed=0)
    assert len(cohobate.fit(method(held), held, **settings).history) == 1
