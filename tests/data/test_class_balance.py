"""Classes drawn equally often, and classes that weigh differently in the cross-entropy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from zoo import CLASSES, ZOO, batch, seeded

import cohobate
from cohobate.core import Batch, Method
from cohobate.data import order
from cohobate.data.arrays import arrays
from cohobate.data.augment import labels
from cohobate.data.dataset import Dataset
from cohobate.data.folder import load_folder
from cohobate.data.loaders import train_loader

CPU = torch.device("cpu")
SIZES = (30, 9, 1)


def rare(crop: int = 1, flip: bool = True) -> Dataset:
    y = np.repeat(np.arange(3), SIZES)
    x = np.random.default_rng(0).integers(0, 256, (len(y), 6, 6, 3), np.uint8)
    return arrays(x, y, val=(x, y), crop=crop, flip=flip)


def on_disk(root: Path) -> Dataset:
    for name, count in zip("abc", (6, 1, 1), strict=True):
        (root / "train" / name).mkdir(parents=True)
        for k in range(count):
            x = np.random.default_rng(k).integers(0, 256, (70, 70, 3), np.uint8)
            Image.fromarray(x).save(root / "train" / name / f"{k}.png")
    return load_folder(root, image_size=70)


def epoch(dataset: Dataset, number: int = 0, start: int = 0, **options: Any) -> list[Batch]:
    chosen = {"batch_size": 10, "seed": 1, "device": CPU, "workers": 0, "balanced": True, **options}
    return list(train_loader(dataset, **chosen).epoch(number, start))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) > 0 and all(
        torch.equal(a.x, b.x) and torch.equal(a.index, b.index) for a, b in zip(one, other, strict=True)
    )


# ---------------------------------------------------------------- sampling


def test_each_class_is_drawn_equally_often_and_each_image_within_it() -> None:
    y = torch.repeat_interleave(torch.arange(4), torch.tensor([31, 9, 0, 2]))
    seen = []
    for seed in range(20):
        rows = order.balanced_rows(y, torch.Generator().manual_seed(seed))
        assert len(rows) == 42
        assert torch.bincount(y[rows]).tolist() == [14, 14, 0, 14]
        times = torch.bincount(rows, minlength=42)
        for k in (0, 1, 3):
            own = times[y == k]
            assert int(own.max() - own.min()) <= 1
        seen.append(rows)
    assert not torch.equal(seen[0], seen[1])
    assert len(set(torch.cat(seen)[y[torch.cat(seen)] == 0].tolist())) == 31, "all take their turn"


def test_a_remainder_goes_to_classes_at_random() -> None:
    y = torch.tensor([0, 0, 0, 1, 2])
    counts = [
        tuple(torch.bincount(y[order.balanced_rows(y, torch.Generator().manual_seed(s))]).tolist())
        for s in range(30)
    ]
    assert set(counts) == {(1, 2, 2), (2, 1, 2), (2, 2, 1)}


def test_an_epoch_is_balanced_and_as_long_as_ever() -> None:
    plain, balanced = epoch(rare(), balanced=False), epoch(rare())
    assert len(plain) == len(balanced) == 4
    drawn = torch.cat([b.y for b in balanced])
    assert sorted(torch.bincount(drawn).tolist()) == [13, 13, 14]
    for b in balanced:
        assert torch.equal(b.y, rare().train.y[b.index])


def test_an_image_that_comes_again_in_an_epoch_is_augmented_anew(tmp_path: Path) -> None:
    for dataset, options in (
        (rare(crop=2), {}),
        (rare(crop=0, flip=False), {"autoaugment": "cifar"}),
        (on_disk(tmp_path), {"batch_size": 8}),
    ):
        shown = [
            x for b in epoch(dataset, **options) for x, k in zip(b.x, b.y.tolist(), strict=True) if k == 2
        ]
        assert len(shown) > 1
        assert any(not torch.equal(shown[0], other) for other in shown[1:])


@pytest.mark.parametrize("augmentations", [None, 0, 2])
def test_balanced_epochs_repeat_resume_and_are_shared_by_ranks(augmentations: int | None) -> None:
    dataset = rare()
    whole = epoch(dataset, 3, augmentations=augmentations)
    assert same(whole, epoch(dataset, 3, augmentations=augmentations))
    assert not same(whole, epoch(dataset, 4, augmentations=augmentations))
    assert same(whole[2:], epoch(dataset, 3, start=2, augmentations=augmentations))
    ranks = [epoch(dataset, 3, rank=r, world=2, augmentations=augmentations) for r in range(2)]
    for b, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([part.x for part in parts]), b.x)
        assert torch.equal(torch.cat([part.y for part in parts]), b.y)


def test_files_are_balanced_alike(tmp_path: Path) -> None:
    dataset = on_disk(tmp_path)
    (whole,) = epoch(dataset, batch_size=8)
    assert sorted(torch.bincount(whole.y).tolist()) == [2, 3, 3]


# ---------------------------------------------------------------- weights


def test_weights_have_a_mean_of_1_over_the_images() -> None:
    y = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    balanced = labels.class_weights("balanced", y, 4)
    # Of scikit-learn: images / (classes x images of the class); the fourth class has none.
    torch.testing.assert_close(balanced, torch.tensor([40 / 90, 40 / 27, 40 / 3, 0]), rtol=1e-6, atol=0)
    given = labels.class_weights([1, 2, 4], y, 3)
    torch.testing.assert_close(given, torch.tensor([1.0, 2, 4]) * 40 / (30 + 18 + 4), rtol=1e-6, atol=0)
    assert float(given[y].mean()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "class_weights has 2 numbers, the data has 3 classes"),
        ([1, -2, 1], "class_weights must be 0 or more, got 1, -2, 1"),
        ([1, float("nan"), 1], "class_weights must be 0 or more"),
        ([0, 0, 0], "class_weights are 0 for every class that has training images"),
    ],
)
def test_weights_that_cannot_be(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels.class_weights(weights, torch.tensor([0, 1, 2]), 3)


class Once:
    """A loader of one batch."""

    def __init__(self, given: Batch) -> None:
        self.given = given

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int, start: int = 0) -> Any:
        yield self.given


def weighted(given: Batch, weights: Tensor) -> Batch:
    (found,) = labels.Weighted(Once(given), weights).epoch(0)
    return found


def test_the_weighted_cross_entropy_is_that_of_torch() -> None:
    logits, y = torch.randn(8, CLASSES), torch.arange(8) % CLASSES
    w = torch.rand(CLASSES)
    given = Batch((logits,), y)
    own = cohobate.core.cross_entropy(logits, weighted(given, w).y)
    theirs = torch.nn.functional.cross_entropy(logits, y, weight=w, reduction="sum") / 8
    torch.testing.assert_close(own, theirs)
    own = cohobate.core.cross_entropy(logits, weighted(labels.smooth(given, 0.1, CLASSES), w).y)
    theirs = torch.nn.functional.cross_entropy(logits, labels.smooth(given, 0.1, CLASSES).y, weight=w)
    torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.soft_labels])
def test_weights_reach_the_cross_entropy_of_every_method_and_nothing_else(name: str) -> None:
    """On a batch of one class its weight is a factor of every term that reads labels."""
    given = batch(8)
    given = given._replace(y=torch.full_like(given.y, 2))
    w = torch.ones(CLASSES)
    w[2] = 3.0

    def losses(method: Method, b: Batch) -> dict[str, Tensor]:
        torch.manual_seed(1)
        return {key: value for turn in range(method.turns) for key, value in method(b, turn).items()}

    plain = losses(seeded(ZOO[name].make), weighted(given, torch.ones(CLASSES)))
    found = losses(seeded(ZOO[name].make), weighted(given, w))
    assert any(key.startswith("ce") for key in plain) or name == "fitnet_stages, the first"
    for key, value in found.items():
        factor = 3.0 if key.startswith("ce") else 1.0
        torch.testing.assert_close(value, factor * plain[key], rtol=1e-4, atol=1e-5, msg=f"{key} of {name}")


def test_a_run_with_either_learns_the_rare_class_and_says_so(tmp_path: Path) -> None:
    y = np.array([0] * 95 + [1] * 5)
    x = np.random.default_rng(0).integers(0, 120, (100, 4, 4, 3), np.uint8)
    x[y == 1] += 30
    # Of the rare class alone.
    test_x = np.random.default_rng(1).integers(30, 150, (40, 4, 4, 3), np.uint8)

    def rare_error(folder: str, **options: Any) -> float:
        torch.manual_seed(0)
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        data = arrays(x, y, val=(x, y), test=(test_x, np.ones(40, int)))
        quick: dict[str, Any] = {"epochs": 10, "batch_size": 20, "lr": 0.05, "device": "cpu", "quiet": True}
        result = cohobate.fit(cohobate.Supervised(network), data, tmp_path / folder, **quick, **options)
        return float(result.facts["last"]["test"]["network"]["top1_error"])

    assert rare_error("plain") > 50
    assert rare_error("sampled", balance="sampling") < 20
    assert rare_error("weighted", class_weights="balanced") < 20
    assert rare_error("given", class_weights=[1, 19]) < 20
    recorded = (tmp_path / "given" / "run.yaml").read_text()
    assert "class_weights:\n- 1.0\n- 19.0\n" in recorded


def test_what_weights_cannot_go_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cohobate.cli import main

    monkeypatch.chdir(tmp_path)
    quick = ["--device", "cpu", "--epochs", "1", "--class-weights", "balanced", "--teacher", "resnet8"]
    for method, more, message in (
        ("dkd", [], "DKD needs integer labels"),
        ("kd", ["--unlabelled", "digits"], "class_weights turns labels into weights, and unlabelled"),
    ):
        with pytest.raises(SystemExit):
            main(["train", method, *quick, *more])
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "baseline", "--device", "cpu", "--class-weights", "1,2"])
    assert "class_weights has 2 numbers, the data has 10 classes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "baseline", "--device", "cpu", "--class-weights", "even"])
    assert "class_weights" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    main(["train", "baseline", "--device", "cpu", "--epochs", "1", "--class-weights", "1,2,1,1,1,1,1,1,1,0"])
    (file,) = tmp_path.rglob("result.json")
    assert json.loads(file.read_text())["method"] == "baseline"
