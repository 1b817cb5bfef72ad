"""AutoAugment and Cutout: operations against Pillow, policies, and what decides how an image looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.data.augment import operations
from cohobate.data.augment.autoaugment import OPERATIONS, POLICIES, Distortion, autoaugment, cutout
from cohobate.data.dataset import Dataset
from cohobate.data.folder import load_folder
from cohobate.data.loaders import TrainLoader, train_loader

CPU = torch.device("cpu")
N = 24
GREY = (128, 128, 128)


def images(height: int, width: int) -> np.ndarray:
    """Noise, low contrast, one value, one flat channel, a ramp, two values."""
    x = np.random.default_rng(0).integers(0, 256, (6, height, width, 3), np.uint8)
    x[1] = x[1] // 8 + 90
    x[2] = 77
    x[3, :, :, 0] = 5
    x[4] = (np.arange(width) * 5 % 256)[None, :, None]
    x[5] = x[5] % 2 * 200
    return x


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    nearest = Image.Resampling.NEAREST
    return image.transform(image.size, Image.Transform.AFFINE, matrix, nearest, fillcolor=GREY)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "shear_x": lambda image, v: affine(image, 1, v, 0, 0, 1, 0),
    "shear_y": lambda image, v: affine(image, 1, 0, 0, v, 1, 0),
    "translate_x": lambda image, v: affine(image, 1, 0, v * image.width, 0, 1, 0),
    "translate_y": lambda image, v: affine(image, 1, 0, 0, 0, 1, v * image.height),
    "rotate": lambda image, v: image.rotate(v, Image.Resampling.NEAREST, fillcolor=GREY),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "solarize": lambda image, v: ImageOps.solarize(image, v),  # type: ignore[arg-type]
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "invert": lambda image, v: ImageOps.invert(image),
}


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows_to_the_bit(name: str) -> None:
    """Every level and direction, each image its own amount."""
    operation = OPERATIONS[name]
    amounts = [operation.middle(k / 9) + s * operation.reach * k / 9 for k in range(10) for s in (-1, 1)]
    for size in ((32, 32), (7, 11), (48, 64), (2, 5)):
        x = images(*size)
        for first in range(6):
            some = [amounts[(first * 7 + k) % len(amounts)] for k in range(24)]
            batch = np.concatenate([x] * 4)
            found = operation.apply(torch.from_numpy(batch), torch.tensor(some, dtype=torch.float64))
            assert (found.dtype, found.shape) == (torch.uint8, batch.shape)
            for image, amount, ours in zip(batch, some, found, strict=True):
                expected = np.asarray(PILLOW[name](Image.fromarray(image), amount))
                assert np.array_equal(ours.numpy(), expected), (size, amount)


def test_an_operation_leaves_its_images_alone() -> None:
    x = torch.from_numpy(images(8, 8))
    before = x.clone()
    for operation in OPERATIONS.values():
        operation.apply(x, torch.full((6,), operation.middle(0.5) + operation.reach, dtype=torch.float64))
    assert torch.equal(x, before)


def test_what_lies_outside_is_grey() -> None:
    moved = operations.translate_x(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), torch.tensor([0.5]).double())
    assert moved[0, :, :2].eq(0).all()
    assert moved[0, :, 2:].eq(operations.GREY).all()


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_25_pairs_of_known_operations(policy: str) -> None:
    assert len(POLICIES[policy]) == 25
    for steps in POLICIES[policy]:
        assert len(steps) == 2
        for name, likely, level in steps:
            assert name in OPERATIONS
            assert likely in {k / 10 for k in range(11)}
            assert level in range(10)
            if name in ("autocontrast", "equalize", "invert"):
                assert level == 0


def test_the_policies_use_what_the_paper_says_of_them() -> None:
    """CIFAR-10: hardly ever inverted or sheared; SVHN: both, most of all; ImageNet: never shifted."""

    def used(policy: str) -> dict[str, float]:
        steps = [step for steps in POLICIES[policy] for step in steps]
        return {name: sum(likely for other, likely, _ in steps if other == name) for name in OPERATIONS}

    cifar, svhn, imagenet = (used(policy) for policy in ("cifar", "svhn", "imagenet"))
    assert cifar["invert"] + cifar["shear_x"] + cifar["shear_y"] < 1
    assert sorted(svhn, key=lambda name: svhn[name])[-2:] == ["shear_y", "invert"]
    assert imagenet["translate_x"] + imagenet["translate_y"] == 0
    assert max(imagenet, key=lambda name: imagenet[name]) == "equalize"


@pytest.mark.parametrize("policy", POLICIES)
def test_each_image_gets_the_two_steps_that_it_drew(policy: str) -> None:
    """One image after the other, with Pillow."""
    x = np.concatenate([images(9, 12)] * 30)
    draws = torch.from_numpy(np.random.default_rng(1).random((len(x), 7)))
    found = autoaugment(torch.from_numpy(x), draws, policy)
    changed = 0
    for image, (u, *numbers), ours in zip(x, draws.tolist(), found, strict=True):
        expected = Image.fromarray(image)
        steps = POLICIES[policy][int(u * 25)]
        for (name, likely, level), applies, side in zip(steps, numbers[:2], numbers[2:4], strict=True):
            operation = OPERATIONS[name]
            sign = -1 if side < 0.5 else 1
            if applies < likely:
                amount = operation.middle(level / 9) + sign * operation.reach * level / 9
                expected = PILLOW[name](expected, amount)
        assert np.array_equal(ours.numpy(), np.asarray(expected))
        changed += not np.array_equal(ours.numpy(), image)
    assert changed > len(x) / 3


def test_how_far_the_operations_reach() -> None:
    """The paper's ranges: 0.3, 150 of 331 pixels, 30 degrees, 0.1 to 1.9, 4 to 8 bits, 0 to 256."""
    reach = {name: (o.middle(1.0) - o.reach, o.middle(1.0) + o.reach) for name, o in OPERATIONS.items()}
    for name in ("shear_x", "shear_y"):
        assert reach[name] == pytest.approx((-0.3, 0.3))
    for name in ("translate_x", "translate_y"):
        assert reach[name] == pytest.approx((-150 / 331, 150 / 331))
    assert reach["rotate"] == (-30, 30)
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert reach[name] == pytest.approx((0.1, 1.9))
    assert [OPERATIONS["posterize"].middle(k / 9) for k in (0, 9)] == [8, 4]
    assert [OPERATIONS["solarize"].middle(k / 9) for k in (0, 9)] == [256, 0]


# ---------------------------------------------------------------- Cutout


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_cutout_is_a_square_of_zeros_clipped_at_the_border(side: int) -> None:
    x = torch.rand(40, 5, 7, 3).permute(0, 3, 1, 2) + 1
    draws = torch.from_numpy(np.random.default_rng(0).random((40, 2)))
    found = cutout(x.clone(), draws, side)
    assert found.is_contiguous(memory_format=torch.channels_last)
    clipped = 0
    for image, before, (u, v) in zip(found, x, draws.tolist(), strict=True):
        top, left = int(u * 5) - side // 2, int(v * 7) - side // 2
        zeros = 0
        for row in range(5):
            for column in range(7):
                inside = top <= row < top + side and left <= column < left + side
                zeros += inside
                assert torch.equal(image[:, row, column], before[:, row, column] * (not inside))
        clipped += zeros < side * side
    assert (clipped > 0) == (side > 1)


# ---------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(N):
        file = root / "train" / "abc"[k % 3] / f"{k:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + k, 60, 3), np.uint8)).save(file)
    return replace(load_folder(root, image_size=72), flip=True)


@pytest.fixture(params=["memory", "files"])
def dataset(request: pytest.FixtureRequest, pictures: Dataset) -> Dataset:
    if request.param == "files":
        return pictures
    x = np.random.default_rng(0).integers(0, 256, (N, 12, 10, 3), np.uint8)
    return arrays(x, np.arange(N) % 3, crop=2, flip=True)


BOTH: dict[str, Any] = {"autoaugment": "cifar", "cutout": 5}


def train(dataset: Dataset, **options: Any) -> TrainLoader:
    return train_loader(dataset, **({"batch_size": 8, "seed": 1, "device": CPU, "workers": 0} | options))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) > 0 and all(
        torch.equal(a.index, b.index)
        and torch.equal(a.y, b.y)
        and all(torch.equal(*pair) for pair in zip(a.views, b.views, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def by_row(batches: list[Batch], view: int = 0) -> dict[int, bytes]:
    return {
        int(row): image.contiguous().numpy().tobytes()
        for batch in batches
        for row, image in zip(batch.index, batch.views[view], strict=True)
    }


@pytest.mark.parametrize("augmentations", [None, 2])
@pytest.mark.parametrize("second_view", [None, "augmentation", "classmate"])
def test_they_come_after_crop_and_flip_and_move_no_other_draw(
    dataset: Dataset, augmentations: int | None, second_view: str | None
) -> None:
    """Cutout alone zeroes pixels and leaves the others as they are without it."""
    given = {"augmentations": augmentations, "second_view": second_view}
    plain = list(train(dataset, **given).epoch(3))
    assert equal(plain, list(train(dataset, autoaugment="none", cutout=0, **given).epoch(3)))
    for before, after in zip(plain, train(dataset, cutout=5, **given).epoch(3), strict=True):
        assert torch.equal(before.index, after.index)
        for view, without in zip(after.views, before.views, strict=True):
            assert view.is_contiguous(memory_format=torch.channels_last)
            zero = (view == 0).all(1, keepdim=True)
            assert torch.equal(view, without * ~zero)
            assert zero.flatten(1).sum(1).max() <= 25
            assert zero.flatten(1).sum(1).min() >= 9


def test_the_pixels_are_those_of_the_policy(pictures: Dataset) -> None:
    """Normalisation undone, in memory and from files: autoaugment of the crop with the draws of the row."""
    x = np.random.default_rng(0).integers(0, 256, (N, 12, 10, 3), np.uint8)
    memory = arrays(x, np.arange(N) % 3, crop=2, flip=True)
    for dataset in (memory, pictures):
        made = Distortion("cifar")
        table = made.table(1, 4, 0, N) if dataset is memory else made.each(1, 4, 0, list(range(N)))
        plain = list(train(dataset).epoch(4))
        for before, after in zip(plain, train(dataset, autoaugment="cifar").epoch(4), strict=True):
            expected = autoaugment(pixels(before.x, dataset), table[before.index], "cifar")
            assert torch.equal(pixels(after.x, dataset), expected)


def pixels(x: Tensor, dataset: Dataset) -> Tensor:
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (dataset.mean, dataset.std))
    values = (x.permute(0, 2, 3, 1).double() * std + mean) * 255
    assert (values - values.round()).abs().max() < 1e-3
    return values.round().to(torch.uint8)


@pytest.mark.parametrize("augmentations", [None, 2])
@pytest.mark.parametrize("second_view", [None, "augmentation", "classmate"])
def test_starting_in_the_middle_gives_the_tail(
    dataset: Dataset, augmentations: int | None, second_view: str | None
) -> None:
    loader = train(dataset, augmentations=augmentations, second_view=second_view, **BOTH)
    whole = list(loader.epoch(5))
    assert equal(whole, list(loader.epoch(5)))
    assert equal(whole[1:], list(loader.epoch(5, 1)))
    assert not equal(
        whole, list(train(dataset, augmentations=augmentations, second_view=second_view).epoch(5))
    )


def test_ranks_and_workers_change_nothing(dataset: Dataset) -> None:
    alone = by_row(list(train(dataset, **BOTH).epoch(3)))
    shares = [by_row(list(train(dataset, rank=r, world=2, workers=r, **BOTH).epoch(3))) for r in (0, 1)]
    assert shares[0] | shares[1] == alone
    assert not shares[0].keys() & shares[1].keys()


@pytest.mark.parametrize("view", [0, 1])
def test_versions_repeat_and_views_differ(dataset: Dataset, view: int) -> None:
    loader = train(dataset, augmentations=2, second_view="augmentation", **BOTH)
    epochs = [list(loader.epoch(e)) for e in range(3)]
    assert by_row(epochs[0], view) == by_row(epochs[2], view)
    assert by_row(epochs[0], view) != by_row(epochs[1], view)
    assert by_row(epochs[0], 0) != by_row(epochs[0], 1)


def test_as_many_versions_as_epochs_change_nothing(dataset: Dataset) -> None:
    for second_view in (None, "augmentation"):
        one, other = (
            list(train(dataset, augmentations=n, second_view=second_view, **BOTH).epoch(2)) for n in (None, 3)
        )
        assert equal(one, other)


def test_a_version_in_order_shows_what_its_epochs_show(dataset: Dataset) -> None:
    loader = train(dataset, augmentations=2, **BOTH)
    for version in (0, 1):
        shown: dict[int, bytes] = {}
        for span, x in loader.in_order(version, 7):
            for row in range(span.start, span.stop):
                shown[row] = x[row - span.start].contiguous().numpy().tobytes()
        assert shown == by_row(list(loader.epoch(version)))


def test_seeds_and_epochs_draw_differently() -> None:
    made = Distortion("cifar")
    tables = [made.table(*key, 5) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({table.numpy().tobytes() for table in tables}) == 4
    rows = [made.each(*key, [0, 1]) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({row.numpy().tobytes() for row in torch.cat(rows)}) == 8
    assert Distortion().table(0, 0, 0, 5).shape == (5, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoaugment": "cifar10"}, "autoaugment must be one of .*'cifar', 'imagenet', 'svhn'.*'cifar10'"),
        ({"cutout": -1}, "cutout must be 0 or more pixels, got -1"),
        ({"cutout": 73}, "cutout 73 is larger than the images"),
        ({"cutout": 2, "augmentations": 0}, "augmentations 0 shows the images as they are"),
        ({"autoaugment": "svhn", "augmentations": 0}, "give autoaugment none and cutout 0"),
    ],
)
def test_what_a_loader_refuses(dataset: Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(dataset, **options)
