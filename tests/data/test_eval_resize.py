"""The shorter side of a picture before its central crop, and random parts of small pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.config.groups import Training
from cohobate.data import reader
from cohobate.data.augment.crops import with_crops
from cohobate.data.dataset import Dataset, Files, Images
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.pictures import Reading, decode
from cohobate.data.sources import load_data
from cohobate.data.unlabelled import unlabelled
from cohobate.data.views import augmented, margin_of, whole

CPU = torch.device("cpu")


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures of 60 x 40 and 40 x 60 pixels, two classes, and two of each in test."""
    for part, count in (("train", 4), ("test", 2)):
        for label in ("left", "right"):
            for number in range(count):
                file = tmp_path / "photos" / part / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                smooth(*((60, 40) if number % 2 else (40, 60)), seed=number).save(file)
    return tmp_path / "photos"


def mit67(root: Path) -> None:
    """A picture of each class."""
    rooms = [f"room_{label:02}" for label in range(67)]
    for part in ("train", "test"):
        (root / "mit67").mkdir(exist_ok=True)
        lines = "".join(f"{room}/{part}.png\n" for room in rooms)
        (root / f"mit67/{part.title()}Images.txt").write_text(lines)
        for room in rooms:
            file = root / "mit67/Images" / room / f"{part}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(file)


def bytes_of(x: torch.Tensor, dataset: Dataset) -> np.ndarray:
    """Normalised (C, H, W) -> the pixels, (H, W, C)."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (dataset.mean, dataset.std))
    return ((x * std + mean) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 330), (224, 224), (100, 90)])
@pytest.mark.parametrize(("side", "shorter"), [(224, 224), (224, 256), (32, 36), (32, 32)])
def test_the_shorter_side_is_resized_and_the_middle_is_cut_out(
    width: int, height: int, side: int, shorter: int
) -> None:
    picture = smooth(width, height)
    scale = shorter / min(width, height)
    wide, tall = round(width * scale), round(height * scale)
    left, top = (wide - side) // 2, (tall - side) // 2
    resized = picture.resize((wide, tall), Image.Resampling.BILINEAR)
    expected = resized.crop((left, top, left + side, top + side))
    shown = whole(picture, (side, side), Reading(eval_resize=shorter))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(expected))


@pytest.mark.parametrize(("width", "height", "wide", "tall"), [(300, 300, 256, 256), (500, 200, 320, 128)])
def test_of_images_that_are_not_square_it_is_the_shorter_side_of_what_is_covered(
    width: int, height: int, wide: int, tall: int
) -> None:
    """128 for images of 112 x 224: an area of 128 x 256 is covered. The help says so."""
    picture = smooth(width, height)
    left, top = (wide - 224) // 2, (tall - 112) // 2
    resized = picture.resize((wide, tall), Image.Resampling.BILINEAR)
    shown = whole(picture, (112, 224), Reading(eval_resize=128))
    expected = resized.crop((left, top, left + 224, top + 112))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(expected))
    said = Training.model_fields["eval_resize"].description
    assert said is not None
    assert "of images that are not square, the shorter side of an area of their proportions" in said


def test_the_default_is_256_of_224_pixels_above_64_and_all_below() -> None:
    picture = smooth(300, 200)
    for side, shorter in ((224, 256), (112, 128), (64, 64), (32, 32)):
        default, said = (whole(picture, (side, side), Reading(eval_resize=each)) for each in (None, shorter))
        np.testing.assert_array_equal(np.asarray(default), np.asarray(said))
    assert margin_of((90, 120), 180) == 2


@pytest.mark.parametrize("size", [32, 80])
def test_evaluation_memory_and_centres_show_the_same(size: int, photos: Path) -> None:
    reading = Reading(eval_resize=size + 9)
    dataset = load_data(str(photos), Path(), size, reading=reading)
    assert dataset.test is not None
    split = dataset.test()
    (batch,) = eval_loader(split, dataset, device=CPU, workers=0).epoch(0)
    files = sorted((photos / "test").rglob("*.png"))
    for row, file in enumerate(files):
        expected = np.asarray(whole(decode(file, reading), (size, size), reading))
        np.testing.assert_array_equal(bytes_of(batch.x[row], dataset), expected)
    plain = whole(decode(files[0], Reading()), (size, size), Reading())
    assert (np.asarray(plain) != bytes_of(batch.x[0], dataset)).any()


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"eval_resize": 40, "fit": "pad"}, "eval_resize 40 is for fit crop, .*; fit pad shows all of it"),
        ({"eval_resize": 0}, "eval_resize must be at least 1 pixel, got 0"),
    ],
)
def test_a_reading_that_cannot_be(reading: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reading(**reading)


@pytest.mark.parametrize("size", [32, 80])
def test_a_shorter_side_below_the_crop_is_refused(size: int, photos: Path) -> None:
    message = re.escape(f"eval_resize 31 is smaller than the shorter side of the images, {size} pixels")
    with pytest.raises(ValueError, match=f"{message}.*give {size} or more"):
        load_data(str(photos), Path(), size, reading=Reading(eval_resize=31))


def test_it_is_refused_before_any_header_is_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pictures, and of unlabelled ones: the headers of a million files take minutes."""

    def looked(*arguments: object, **options: object) -> None:
        raise AssertionError("a header was read")

    kept = load_data(str(photos), Path(), 32)
    mit67(photos.parent)
    monkeypatch.setattr(reader, "check", looked)
    reading = Reading(eval_resize=31)
    with pytest.raises(ValueError, match="eval_resize 31 is smaller"):
        load_data(str(photos), Path(), 32, reading=reading)
    with pytest.raises(ValueError, match="eval_resize 31 is smaller"):
        load_data("mit67", photos.parent, 32, reading=reading)
    with pytest.raises(ValueError, match="eval_resize 31 is smaller"):
        unlabelled(str(photos), Path(), kept, reading=reading)


@pytest.mark.parametrize("data", ["digits", "mine.npz"])
def test_neither_is_for_arrays(data: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.array([0, 1, 0, 1]))
    spec = data if data == "digits" else str(tmp_path / data)
    with pytest.raises(ValueError, match=r"eval_resize 9 is for pictures in files; \S+ is read as it is"):
        load_data(spec, tmp_path, reading=Reading(eval_resize=9))
    with pytest.raises(ValueError, match=r"crop resized is for pictures in files; \S+ is read as it is"):
        load_data(spec, tmp_path, in_memory=False)
    dataset = load_data(spec, tmp_path)
    with pytest.raises(ValueError, match="crop resized shows random parts of pictures in files"):
        with_crops(dataset, "resized", None)


def test_random_parts_of_small_pictures(photos: Path) -> None:
    """In training those of the files, resized, as of large ones; in evaluation the whole picture."""
    dataset = with_crops(load_data(str(photos), Path(), 16, in_memory=False), "resized", False)
    assert isinstance(dataset.train, Files)
    loader = train_loader(dataset, batch_size=8, seed=3, device=CPU, workers=0)
    (batch,) = loader.epoch(1)
    assert batch.index is not None
    for item, row in enumerate(batch.index.tolist()):
        picture = decode(dataset.train.paths[row], Reading())
        rng = np.random.default_rng((3, 1, row, 0))
        part = augmented(picture, (16, 16), False, rng)
        np.testing.assert_array_equal(bytes_of(batch.x[item], dataset), np.asarray(part))
        assert (np.asarray(part) != np.asarray(whole(picture, (16, 16)))).any()
    assert dataset.test is not None
    kept = load_data(str(photos), Path(), 16)
    assert isinstance(kept.train, Images)
    assert kept.test is not None
    (seen,) = eval_loader(dataset.test(), dataset, device=CPU, workers=0).epoch(0)
    in_memory = kept.test()
    assert isinstance(in_memory, Images)
    for row in range(len(in_memory)):
        np.testing.assert_array_equal(bytes_of(seen.x[row], dataset), in_memory.x[row].numpy())


def test_unlabelled_pictures_are_shown_in_the_same_parts(photos: Path) -> None:
    dataset = load_data(str(photos), Path(), 16, in_memory=False)
    reading = Reading(eval_resize=20)
    found, _ = unlabelled(str(photos), Path(), dataset, reading=reading, in_memory=False)
    assert isinstance(found, Files)
    assert found.reading == reading
    with pytest.raises(ValueError, match="crop resized is for pictures in files; digits"):
        unlabelled("digits", Path(), dataset, in_memory=False)
