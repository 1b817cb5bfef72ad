"""Batches of pictures with masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import classes_shown, inside, write
from PIL import Image

from cohobate.config.linux import Memory
from cohobate.core import IGNORED, Batch
from cohobate.data.augment.crops import with_crops, with_scale
from cohobate.data.dataset import Dataset
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.order import EvalOrder, TrainOrder
from cohobate.data.pictures import PictureError, Reading
from cohobate.data.reader import Care
from cohobate.data.scene_folder import load_scenes
from cohobate.data.scene_loaders import ScenesEval, ScenesTrain
from cohobate.data.scene_memory import EVALUATION, TRAINING, Kept, allowed, keeps, stored
from cohobate.data.scene_views import Shown
from cohobate.data.scenes import VOID, Scenes

CPU = torch.device("cpu")
SIZE = (32, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 training pictures of 48 x 60 and 5 of other sizes to evaluate."""
    root = tmp_path_factory.mktemp("painted")
    write(root / "train/images", root / "train/masks", 10)
    for number, size in enumerate([(48, 60), (60, 48), (20, 90), (33, 31), (64, 80)]):
        names = [f"v{number}"]
        write(root / "val/images", root / "val/masks", 1, size=size, seed=number, names=names)
    return root


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return load_scenes(folder, SIZE, Reading(background="#808080"))


def epoch(data: Dataset, number: int = 0, start: int = 0, **options: object) -> list[Batch]:
    loader = train_loader(data, **{"batch_size": 4, "seed": 3, "device": CPU, "workers": 0, **options})  # type: ignore[arg-type]
    return list(loader.epoch(number, start))


def same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
        assert one.index is not None
        assert other.index is not None
        assert torch.equal(one.index, other.index)


def pixels_of(data: Dataset, x: torch.Tensor) -> np.ndarray:
    """(B, C, H, W), normalised -> uint8 (B, H, W, C)."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return ((x * std + mean) * 255).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy()


def agree(data: Dataset, batch: Batch) -> None:
    """Colours and labels agree, and what is ignored is the background."""
    for pixels, y in zip(pixels_of(data, batch.x), batch.y.numpy(), strict=True):
        void = y == IGNORED
        mask = np.where(void, VOID, y).astype(np.uint8)
        kept = inside(mask) & ~void
        assert (classes_shown(pixels)[kept] == y[kept]).all()
        assert (np.abs(pixels[void].astype(int) - 128) <= 1).all()


def test_training_batches_have_images_masks_and_rows(data: Dataset) -> None:
    batches = epoch(data)
    assert len(batches) == 2
    for batch in batches:
        assert batch.x.shape == (4, 3, *SIZE)
        assert batch.x.dtype == torch.float32
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert batch.y.shape == (4, *SIZE)
        assert batch.y.dtype == torch.int64
        assert batch.truths is None
        agree(data, batch)
    rows = torch.cat([batch.rows("test") for batch in batches])
    assert len(rows.unique()) == 8
    assert any((batch.y == IGNORED).any() for batch in batches)


def test_what_an_epoch_holds_depends_on_seed_and_number_alone(data: Dataset) -> None:
    same(epoch(data), epoch(data, workers=2))
    same(epoch(data, 1), epoch(data, 1, workers=2))
    assert not torch.equal(epoch(data)[0].x, epoch(data, 1)[0].x)
    assert not torch.equal(epoch(data)[0].x, epoch(data, seed=4)[0].x)


def test_an_epoch_goes_on_in_the_middle(data: Dataset) -> None:
    same(epoch(data, 2, batch_size=2)[3:], epoch(data, 2, 3, batch_size=2))
    same(epoch(data, 2, batch_size=2)[3:], epoch(data, 2, 3, batch_size=2, workers=1))


def test_a_loader_gives_an_epoch_again(data: Dataset) -> None:
    loader = train_loader(data, batch_size=4, seed=3, device=CPU, workers=0)
    first = list(loader.epoch(0))
    list(loader.epoch(1))
    same(first, list(loader.epoch(0)))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_does_not_fit_into_memory_is_read_each_time_and_is_the_same(data: Dataset, workers: int) -> None:
    order = TrainOrder(10, 4, 1, 3, 0, 1)
    assert isinstance(data.train, Scenes)
    assert isinstance(data.val, Scenes)
    loader = ScenesTrain(data.train, data, order, CPU, workers, limit=0)
    same(list(loader.epoch(1)), epoch(data, 1))
    evaluation = ScenesEval(data.val, data, EvalOrder(5, 2, 0, 1), CPU, workers, limit=0)
    other = eval_loader(data.val, data, batch_size=2, device=CPU, workers=0)
    for one, two in zip(evaluation.epoch(0), other.epoch(0), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)
        assert one.truths is not None
        assert two.truths is not None
        for a, b in zip(one.truths, two.truths, strict=True):
            assert a.box == b.box
            assert torch.equal(a.mask, b.mask)


def test_two_ranks_see_the_whole_batch_once(data: Dataset) -> None:
    alone = epoch(data, 1)
    ranks = [epoch(data, 1, rank=rank, world=2) for rank in (0, 1)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(whole.x, torch.cat([part.x for part in parts]))
        assert torch.equal(whole.y, torch.cat([part.y for part in parts]))


def test_micro_batches_are_the_parts_of_a_batch(data: Dataset) -> None:
    micro = epoch(data, accumulate=2)
    assert len(micro) == 4
    for number, whole in enumerate(epoch(data)):
        both = micro[2 * number : 2 * number + 2]
        assert torch.equal(whole.x, torch.cat([part.x for part in both]))
        assert torch.equal(whole.y, torch.cat([part.y for part in both]))


def by_row(batches: list[Batch]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    return {
        row: (batch.x[place], batch.y[place])
        for batch in batches
        for place, row in enumerate(batch.rows("test").tolist())
    }


def test_versions_repeat(data: Dataset) -> None:
    first, second, again = (by_row(epoch(data, n, augmentations=2, batch_size=2)) for n in (0, 1, 2))
    both = first.keys() & again.keys()
    assert both
    assert all(torch.equal(first[row][part], again[row][part]) for row in both for part in (0, 1))
    assert any(not torch.equal(first[row][0], second[row][0]) for row in first.keys() & second.keys())


def test_every_version_can_be_shown_in_order(data: Dataset) -> None:
    loader = train_loader(data, batch_size=2, seed=3, device=CPU, workers=0, augmentations=2)
    assert isinstance(loader, ScenesTrain)
    assert loader.order.versions == 2
    assert loader.order.version(3) == 1
    shown = {rows.start: x for rows, x in loader.in_order(1, 1)}
    for row, (x, _) in by_row(list(loader.epoch(1))).items():
        assert torch.equal(shown[row][0], x)


def test_without_augmentation_training_shows_what_evaluation_does(data: Dataset) -> None:
    evaluated = by_row(list(eval_loader(data.train, data, device=CPU, workers=0).epoch(0)))
    shown = by_row(epoch(data, augmentations=0))
    assert all(torch.equal(shown[row][part], evaluated[row][part]) for row in shown for part in (0, 1))


def test_crop_0_shows_whole_pictures_some_mirrored(data: Dataset) -> None:
    evaluated = by_row(list(eval_loader(data.train, data, device=CPU, workers=0).epoch(0)))
    mirrored = 0
    for row, (x, y) in by_row(epoch(with_crops(data, 0, None), batch_size=10)).items():
        whole, mask = evaluated[row]
        if not torch.equal(x, whole):
            whole, mask = whole.flip(2), mask.flip(1)
            mirrored += 1
        assert torch.equal(x, whole)
        assert torch.equal(y, mask)
    assert 0 < mirrored < 10
    still = by_row(epoch(with_crops(data, 0, flip=False), batch_size=10))
    assert all(torch.equal(still[row][0], evaluated[row][0]) for row in still)


def test_flip_off_mirrors_nothing(data: Dataset) -> None:
    """The draws of scale and place are the same: what was not mirrored is as before."""
    some, none = (
        by_row(epoch(data, batch_size=10)),
        by_row(epoch(with_crops(data, None, False), batch_size=10)),
    )
    turned = [not torch.equal(some[row][0], none[row][0]) for row in some]
    assert any(turned)
    assert not all(turned)
    for row, was_turned in zip(some, turned, strict=True):
        x, y = none[row]
        x, y = (x.flip(2), y.flip(1)) if was_turned else (x, y)
        assert torch.equal(some[row][0], x)
        assert torch.equal(some[row][1], y)


def test_the_random_scale_can_be_fixed(data: Dataset) -> None:
    fixed = with_crops(with_scale(data, (1.0, 1.0)), None, flip=False)
    evaluated = by_row(list(eval_loader(data.train, data, device=CPU, workers=0).epoch(0)))
    for row, (_, y) in by_row(epoch(fixed, batch_size=10)).items():
        assert torch.equal(y, evaluated[row][1])


def test_evaluation_shows_all_in_order_with_the_whole_masks(data: Dataset, folder: Path) -> None:
    assert data.val is not None
    batches = list(eval_loader(data.val, data, batch_size=2, device=CPU, workers=0).epoch(0))
    assert [len(batch.y) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch.rows("test") for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    for batch in batches:
        agree(data, batch)
        assert batch.truths is not None
        for truth, y in zip(batch.truths, batch.y, strict=True):
            left, top, right, bottom = truth.box
            outside = torch.ones(SIZE, dtype=torch.bool)
            outside[top:bottom, left:right] = False
            assert torch.equal(y == IGNORED, outside)
    truths = list(chain.from_iterable(batch.truths or () for batch in batches))
    for number, truth in enumerate(truths):
        mask = np.array(Image.open(folder / f"val/masks/v{number}.png"))
        assert truth.mask.dtype == torch.uint8
        assert (truth.mask.numpy() == mask).all()


def test_ranks_share_the_batches_of_evaluation(data: Dataset) -> None:
    assert data.val is not None
    rows = [
        batch.rows("test").tolist()
        for rank in (0, 1)
        for batch in eval_loader(
            data.val, data, batch_size=2, device=CPU, rank=rank, world=2, workers=0
        ).epoch(0)
    ]
    assert rows == [[0, 1], [4], [2, 3]]


def test_a_large_picture_is_kept_at_the_largest_scale_of_training(data: Dataset, folder: Path) -> None:
    assert isinstance(data.train, Scenes)
    assert stored((320, 400), data.train) == (64, 80)
    assert stored((48, 60), data.train) == (48, 60)
    assert stored((320, 400), replace(data.train, scale=(0.5, 1.0))) == (32, 40)
    squashed = replace(data.train, reading=Reading(fit="squash"))
    assert stored((320, 60), squashed) == (64, 60)


def test_scenes_are_made_once(data: Dataset) -> None:
    made = []

    def make(row: int) -> Shown:
        made.append(row)
        return Shown(torch.empty(0), torch.empty(0))

    kept = Kept(make)
    for row in (1, 2, 1, 1):
        kept(row)
    assert made == [1, 2]


def test_what_fits_into_memory_is_counted_from_the_files(data: Dataset) -> None:
    assert isinstance(data.train, Scenes)
    total = 10 * 48 * 60
    assert keeps(data.train, lambda size: size[0] * size[1], total)
    assert not keeps(data.train, lambda size: size[0] * size[1], total - 1)


@pytest.mark.parametrize("kind", ["crop", "whole pictures", "no augmentation", "evaluation"])
def test_as_many_bytes_are_kept_as_were_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """No picture at its own size, no whole mask in training, and no view of something larger."""
    write(tmp_path / "images", tmp_path / "masks", 3, size=(240, 300))
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(tmp_path / "images/000.png") as picture:
        picture.rotate(90, expand=True).save(tmp_path / "images/000.png", exif=turned)
    data = load_scenes(tmp_path, (20, 40), care=Care(check=False))
    assert isinstance(data.train, Scenes)
    data = with_crops(data, 0 if kind == "whole pictures" else None, None)
    held: dict[int, Shown] = {}

    def kept(make: Callable[[int], Shown]) -> Callable[[int], Shown]:
        def of(row: int) -> Shown:
            held[row] = make(row)
            return held[row]

        return of

    monkeypatch.setattr("cohobate.data.scene_loaders.Kept", kept)

    def read(limit: int) -> int:
        held.clear()
        assert isinstance(data.train, Scenes)
        order = TrainOrder(3, 3, 1, 0, 0, 1, augmentations=0 if kind == "no augmentation" else None)
        if kind == "evaluation":
            batches = ScenesEval(data.train, data, EvalOrder(3, 3, 0, 1), CPU, 0, limit).epoch(0)
        else:
            batches = ScenesTrain(data.train, data, order, CPU, 0, limit).epoch(0)
        assert len(list(batches)) == 1
        parts = [part for scene in held.values() for part in scene if part is not None]
        return sum(part.untyped_storage().nbytes() for part in parts)

    total = read(2**30)
    assert len(held) == 3
    assert read(total) == total
    assert read(total - 1) == 0 == len(held)


@pytest.mark.parametrize(
    ("total", "limit", "world", "training", "evaluation"),
    [
        (2**40, None, 1, 2**32, 2**29),
        (2**32, None, 1, 2**30, 2**28),
        (2**40, 2**32, 1, 2**30, 2**28),
        (2**32, None, 4, 2**28, 2**26),
        (None, None, 2, 2**31, 2**28),
    ],
)
def test_what_may_be_kept(
    total: int | None, limit: int | None, world: int, training: int, evaluation: int
) -> None:
    """Of the machine or of the control group, shared by the processes."""
    found = Memory(total, None, limit)
    assert allowed(*TRAINING, world, found) == training
    assert allowed(*EVALUATION, world, found) == evaluation
    if total is not None:
        assert world * (training + 3 * evaluation) < min(total, limit or total) // 2


def test_processes_share_what_may_be_kept(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(data.train, Scenes)
    limits = []

    def asked(scenes: Scenes, each: object, limit: int) -> bool:
        limits.append(limit)
        return True

    monkeypatch.setattr("cohobate.data.scene_loaders.keeps", asked)
    for world in (1, 2):
        train_loader(data, batch_size=4, seed=3, device=CPU, workers=0, world=world)
        eval_loader(data.train, data, batch_size=4, device=CPU, workers=0, world=world)
    assert limits == [allowed(*kind, world) for world in (1, 2) for kind in (TRAINING, EVALUATION)]
    assert limits[0] >= 2 * limits[2] > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_was_not_checked_is_named_when_it_is_read(tmp_path: Path, workers: int) -> None:
    write(tmp_path / "images", tmp_path / "masks", 4)
    (tmp_path / "images/002.png").write_bytes(b"no picture")
    data = load_scenes(tmp_path, SIZE, care=Care(check=False))
    with pytest.raises(PictureError, match=r"002\.png.*skip-unreadable"):
        epoch(data, workers=workers)
    with pytest.raises(PictureError, match=r"002\.png.*skip-unreadable"):
        list(eval_loader(data.train, data, batch_size=4, device=CPU, workers=workers).epoch(0))


def test_a_file_that_breaks_during_training_is_named(tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "masks", 4)
    data = load_scenes(tmp_path, SIZE)
    (tmp_path / "masks/002.png").write_bytes(b"no mask")
    for workers in (0, 1):
        with pytest.raises(PictureError, match=r"mask .*002\.png cannot be read.*remove picture and mask"):
            epoch(data, workers=workers)
    write(tmp_path / "images", tmp_path / "masks", 1, size=(40, 60), names=["002"])
    Image.new("L", (61, 40)).save(tmp_path / "masks/002.png")
    with pytest.raises(PictureError, match=r"002\.png is 40 x 61 pixels .*002\.png 40 x 60"):
        epoch(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"second_view": "augmentation"}, "second_view 'augmentation' shows an image twice"),
        ({"second_view": "classmate"}, "second_view 'classmate' shows an image twice"),
        ({"autoaugment": "cifar"}, "autoaugment cifar moves pixels, and masks"),
        ({"cutout": 4}, "cutout 4 hides pixels that masks give a class; give 0"),
        ({"balanced": True}, "balance sampling draws images by their class.*give none"),
    ],
)
def test_what_does_not_go_with_masks_is_refused(
    data: Dataset, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        epoch(data, **options)


def test_crops_and_scales_that_do_not_go_with_masks_are_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match=r"crop 4 is the padding of images held in memory.*have masks"):
        with_crops(data, 4, None)
    with pytest.raises(ValueError, match=r"crop resized shows a random part.*have masks.*or leave crop out"):
        with_crops(data, "resized", None)
    with pytest.raises(ValueError, match="two factors above 0, the smaller one first, got 2 and 1"):
        with_scale(data, (2.0, 1.0))
    whole = with_crops(data, 0, None)
    with pytest.raises(ValueError, match=r"crop 0 shows whole .*random_scale 1,2 another .*or give 1,1"):
        with_scale(whole, (1.0, 2.0))
    assert with_scale(whole, (1.0, 1.0)) == whole


def test_grey_pictures_and_squashed_ones(folder: Path) -> None:
    grey = load_scenes(folder, SIZE, channels=1)
    assert epoch(grey)[0].x.shape == (4, 1, *SIZE)
    squashed = load_scenes(folder, SIZE, Reading(fit="squash"))
    for batch in eval_loader(squashed.train, squashed, device=CPU, workers=0).epoch(0):
        assert (batch.y != IGNORED).all()
        agree(squashed, batch)
