"""Images that are not square: 24 x 32 pixels, in memory and on disk, from the array to a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cohobate
from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.data.augment.mixing import Mixed, cutmix
from cohobate.data.dataset import Dataset, Files
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.views import centred, random_box
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build

CPU = torch.device("cpu")
H, W, N = 24, 32, 48


def made(crop: int = 4, flip: bool = True) -> Dataset:
    x = np.random.default_rng(0).integers(0, 256, (N, H, W, 3), np.uint8)
    return arrays(x, np.arange(N) % 4, val=(x[:16], np.arange(16) % 4), crop=crop, flip=flip)


def batches(dataset: Dataset, **options: Any) -> list[Batch]:
    chosen: dict[str, Any] = {"batch_size": 16, "seed": 1, "device": CPU, "workers": 0, **options}
    return list(train_loader(dataset, **chosen).epoch(0))


def pixels(x: torch.Tensor, dataset: Dataset) -> np.ndarray:
    """Normalised images (B, 3, H, W) -> (B, H, W, 3), uint8."""
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    return (255 * (x.permute(0, 2, 3, 1) * std + mean)).round().numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Files that a network sees as 72 x 96 pixels; red rises to the right, green downwards."""
    root = tmp_path_factory.mktemp("pictures")
    red, green = np.meshgrid(np.arange(200), np.arange(150))
    x = np.stack([red, green, np.zeros_like(red)], -1).astype(np.uint8)
    paths = tuple(root / f"{k}.png" for k in range(8))
    for path in paths:
        Image.fromarray(x).save(path)
    files = Files(paths, torch.arange(8) % 2, (72, 96))
    half = (0.5, 0.5, 0.5)
    return Dataset("pictures", ("a", "b"), files, None, None, half, half, crop=0, flip=False)


def test_the_shape_is_channels_height_width(pictures: Dataset) -> None:
    assert made().shape == made().train.shape == (3, H, W)
    assert pictures.shape == (3, 72, 96)


def test_crops_and_flips_move_rows_and_columns_by_themselves() -> None:
    dataset = made()
    seen = set()
    for batch in batches(dataset):
        assert batch.x.shape == (16, 3, H, W)
        for image, row in zip(pixels(batch.x, dataset), batch.index.tolist(), strict=True):
            padded = np.pad(dataset.train.x[row].numpy(), ((4, 4), (4, 4), (0, 0)))
            fits = [
                (top, left, flipped)
                for top in range(9)
                for left in range(9)
                for flipped in (False, True)
                if np.array_equal(image, padded[top : top + H, left : left + W][:, :: -1 if flipped else 1])
            ]
            assert len(fits) == 1
            seen |= set(fits)
    assert len({top for top, _, _ in seen}) > 4
    assert len({left for _, left, _ in seen}) > 4
    assert {flipped for _, _, flipped in seen} == {False, True}


def test_cutout_is_a_square_anywhere_in_the_image() -> None:
    dataset = made(crop=0, flip=False)
    centres = []
    for batch in batches(dataset, cutout=6):
        for x in batch.x:
            rows, columns = torch.where((x == 0).all(0))
            centres.append((int(rows.max() + rows.min()) / 2, int(columns.max() + columns.min()) / 2))
            height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
            assert len(rows) == height * width
            assert max(height, width) <= 6
    assert max(row for row, _ in centres) < H
    assert max(column for _, column in centres) > H, "also right of where a square image would end"


def test_cutout_must_fit_into_the_shorter_side() -> None:
    with pytest.raises(ValueError, match="cutout 25 is larger than the images, 24 x 32 pixels"):
        batches(made(), cutout=25)


@pytest.mark.parametrize("policy", ["cifar", "imagenet", "svhn"])
def test_autoaugment_keeps_the_shape(policy: str) -> None:
    plain, changed = batches(made()), batches(made(), autoaugment=policy)
    for before, after in zip(plain, changed, strict=True):
        assert after.x.shape == (16, 3, H, W)
        assert torch.equal(before.y, after.y)
        assert not torch.equal(before.x, after.x)


def test_cutmix_boxes_have_the_proportions_of_the_image() -> None:
    x = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, H, W).clone()
    mixed = cutmix(Batch((x,), torch.arange(2)), 0.75, torch.tensor([1, 0]), (12, 16), 2)
    rows, columns = torch.where(mixed.x[0, 0] == 1)
    assert (int(rows.min()), int(rows.max())) == (6, 17)
    assert (int(columns.min()), int(columns.max())) == (8, 23)
    assert torch.allclose(mixed.y[0], torch.tensor([0.75, 0.25]))


def test_cutmix_centres_cover_rows_and_columns() -> None:
    dataset = made(crop=0, flip=False)
    loader = train_loader(dataset, batch_size=2, seed=1, device=CPU, augmentations=0)
    plain = list(loader.epoch(0))
    columns = []
    for before, after in zip(plain, Mixed(loader, "cutmix", 4, seed=0).epoch(0), strict=True):
        changed = (before.x != after.x).any(1).any(0)
        assert changed.shape == (H, W)
        columns += torch.where(changed.any(0))[0].tolist()
    assert max(columns) > H


@pytest.mark.parametrize("augmentations", [None, 0])
def test_files_are_shown_in_their_height_and_width(pictures: Dataset, augmentations: int | None) -> None:
    for batch in batches(pictures, batch_size=4, augmentations=augmentations):
        assert batch.x.shape == (4, 3, 72, 96)
        # Red rises along the rows and green along the columns: nothing is turned.
        assert (batch.x[:, 0, 0, -1] > batch.x[:, 0, 0, 0]).all()
        assert (batch.x[:, 1, -1, 0] > batch.x[:, 1, 0, 0]).all()
    for batch in eval_loader(pictures.train, pictures, batch_size=8, device=CPU, workers=0).epoch(0):
        assert batch.x.shape == (8, 3, 72, 96)


def test_a_centred_picture_covers_both_sides() -> None:
    for size in ((100, 500), (500, 100), (200, 150)):
        assert centred(Image.new("RGB", size), (72, 96)).size == (96, 72)
    # 150 x 200 pixels become 82 x 110, 256/224 of the size; 7 of the 110 columns are cut on each side.
    red = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (150, 200, 3))
    shown = np.asarray(centred(Image.fromarray(np.ascontiguousarray(red)), (72, 96)))
    assert 10 < shown[0, 0, 0] < 15
    assert 185 < shown[0, -1, 0] < 190


def test_random_boxes_have_the_proportions_of_what_is_seen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = random_box(300, 300, rng, aspect=2.0)
        w, h = right - left, bottom - top
        assert (w - 0.5) / (h + 0.5) <= 2 * 4 / 3
        assert (w + 0.5) / (h - 0.5) >= 2 * 3 / 4


@pytest.mark.parametrize(
    "options",
    [{}, {"mixing": "cutmix"}, {"autoaugment": "cifar", "cutout": 8, "augmentations": 2}],
    ids=["plain", "cutmix", "autoaugment, cutout"],
)
def test_a_network_trains_on_them(options: dict[str, Any], tmp_path: Path) -> None:
    method = Supervised(build("resnet8", 4, shape=(3, H, W)))
    data = replace(made(), name="wide")
    result = cohobate.fit(
        method, data, tmp_path / "run", epochs=2, batch_size=16, device="cpu", quiet=True, **options
    )
    assert len(result.history) == 2
    assert result.facts["last"]["val"]["network"]["images"] == 16
