"""Files of every kind as the picture that a person sees, and how it is fitted to the network's size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Files
from cohobate.data.headers import check
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.pictures import PictureError, Reading, decode
from cohobate.data.sources import load_data

CPU = torch.device("cpu")


def one(path: Path, **options: Any) -> np.ndarray:
    """A picture in ``train/a/`` as its data set holds it, (H, W, 3)."""
    root = path.parents[2]
    return load_data(str(root), Path(), image_size=options.pop("size", 8), **options).train.x[0].numpy()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "train" / "a").mkdir(parents=True)
    return tmp_path / "train" / "a"


RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(name: str, place: Path) -> None:
    values = RAMP * 1040  # 0 to 65520
    Image.fromarray(values).save(place / name)
    got = one(place / name)
    for row in range(8):
        for column in range(8):
            assert abs(int(got[row, column, 0]) - int(values[row, column]) / 257) <= 0.5
    assert (got == got[..., :1]).all()


def test_sixteen_bits_of_the_other_byte_order_and_white_at_zero(place: Path) -> None:
    values = (RAMP * 1040).astype(">u2")
    Image.fromarray(values).save(place / "big.tif")
    assert one(place / "big.tif").max() == 255
    (place / "big.tif").unlink()
    Image.fromarray(RAMP * 1040).save(place / "white.tif", tiffinfo={262: 0})
    assert one(place / "white.tif")[0, 0, 0] == 255


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_of_a_camera_is_applied(name: str, value: int, place: Path) -> None:
    """What each value of EXIF does to row r and column c of an 8 x 8 picture, written out."""
    stored = np.stack([4 * RAMP, 255 - 4 * RAMP, 2 * RAMP], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(stored).save(place / name, exif=exif, lossless=True)
    at = {
        1: lambda r, c: (r, c),
        2: lambda r, c: (r, 7 - c),
        3: lambda r, c: (7 - r, 7 - c),
        4: lambda r, c: (7 - r, c),
        5: lambda r, c: (c, r),
        6: lambda r, c: (7 - c, r),
        7: lambda r, c: (7 - c, 7 - r),
        8: lambda r, c: (c, 7 - r),
    }[value]
    got = one(place / name)
    for row in range(8):
        for column in range(8):
            assert (got[row, column] == stored[at(row, column)]).all()


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
def test_damaged_exif_is_passed_over_and_said(name: str, place: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(place / name, exif=b"Exif\0\0no tags here")
    dataset = load_data(str(place.parents[1]), Path())
    assert dataset.train.x[0, 0, 0, 0] > 240
    assert dataset.notes == ("of 1 images: 1 whose EXIF data cannot be read, taken as upright",)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize(("background", "seen"), [("white", 255), ("black", 0), ("#336699", None)])
def test_transparent_pixels_show_the_background(
    mode: str, background: str, seen: int | None, place: Path
) -> None:
    """The hidden colour of the left half is 90 of grey, the visible one of the right 200."""
    from cohobate.data.pictures import Reading

    picture = Image.new("LA", (8, 8), (200, 255))
    picture.paste((90, 0), (0, 0, 4, 8))
    name = "x.tif" if mode == "PA" else "x.png"
    if mode == "P":
        Image.fromarray(np.asarray(picture)[..., 0]).convert("P").save(place / name, transparency=90)
    else:
        picture.convert("LA" if mode == "PA" else mode).save(place / name)
    got = one(place / name, reading=Reading(background=background))
    assert got[0, 0].tolist() == ([seen] * 3 if seen is not None else [0x33, 0x66, 0x99])
    assert got[0, 7].tolist() == [200] * 3


def test_half_transparent_is_half_background(place: Path) -> None:
    Image.new("RGBA", (8, 8), (100, 0, 0, 128)).save(place / "x.png")
    expected = [round(100 * 128 / 255 + 255 * 127 / 255), round(255 * 127 / 255), round(255 * 127 / 255)]
    assert np.abs(one(place / "x.png")[0, 0].astype(int) - expected).max() <= 1


def test_the_transparent_value_of_sixteen_bits(place: Path) -> None:
    Image.fromarray(RAMP * 100).save(place / "x.png", transparency=300)
    got = one(place / "x.png")
    assert got[0, 3].tolist() == [255] * 3
    assert got[0, 4].tolist() == [round(400 / 257)] * 3


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tif"])
def test_the_first_of_several_frames_is_read_and_said(name: str, place: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(place / name, save_all=True, append_images=frames[1:], lossless=True)
    dataset = load_data(str(place.parents[1]), Path())
    assert dataset.train.x[0, 0, 0].tolist() == [255, 0, 0]
    assert "1 with several frames or pages, of which the first is read" in dataset.notes[0]


def test_further_pictures_of_a_camera_are_previews_and_not_spoken_of(place: Path) -> None:
    picture = Image.new("RGB", (8, 8), "red")
    picture.save(place / "x.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    dataset = load_data(str(place.parents[1]), Path())
    assert dataset.train.x[0, 0, 0, 0] > 240
    assert dataset.notes == ()


def test_one_bit_palette_and_cmyk_become_rgb(place: Path) -> None:
    Image.new("1", (8, 8), 1).save(place / "1.png")
    Image.new("P", (8, 8), 0).save(place / "2.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(place / "3.tif")
    dataset = load_data(str(place.parents[1]), Path())
    assert dataset.train.x[:, 0, 0].tolist() == [[255] * 3, [0] * 3, [255, 0, 0]]
    assert dataset.notes == ("of 3 images: 1 one-bit, converted; 1 palette, converted; 1 CMYK, converted",)


@pytest.mark.parametrize(
    ("pixels", "word"), [(np.float32, "floating-point numbers"), (np.int32, "integers of 32 bits")]
)
def test_values_of_unknown_range_are_refused_by_name(pixels: type, word: str, place: Path) -> None:
    Image.fromarray(RAMP.astype(pixels)).save(place / "x.tif")
    with pytest.raises(ValueError, match=rf"a/x.tif: its pixels are {word}.* with 8 or 16 bits"):
        load_data(str(place.parents[1]), Path())


# ---------------------------------------------------------------- fit


def wide(path: Path, size: tuple[int, int] = (300, 60)) -> None:
    """Red rises from left to right, 0 to 255; green is full."""
    red = np.linspace(0, 255, size[0]).round().astype(np.uint8)[None].repeat(size[1], 0)
    Image.fromarray(np.stack([red, np.full_like(red, 255), np.zeros_like(red)], -1)).save(path)


def shown(root: Path, size: int, fit: str) -> np.ndarray:
    """What evaluation shows of the only picture of a folder, (H, W, 3)."""
    from cohobate.data.pictures import Reading

    dataset = load_data(str(root), Path(), size, reading=Reading(fit, "black"))
    (batch,) = eval_loader(dataset.train, dataset, device=CPU, workers=0).epoch(0)
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    return (255 * (batch.x[0].permute(1, 2, 0) * std + mean)).round().numpy()


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize(("fit", "left", "right"), [("crop", 100, 155), ("pad", 0, 255), ("squash", 0, 255)])
def test_a_fit_means_the_same_at_every_size(
    size: int, fit: str, left: float, right: float, place: Path
) -> None:
    """Up to 64 pixels images are held in memory, larger ones are read by workers."""
    wide(place / "x.png")
    image = shown(place.parents[1], size, fit)
    assert image.shape == (size, size, 3)
    middle = image[size // 2]
    assert abs(middle[0, 0] - left) < 12
    assert abs(middle[-1, 0] - right) < 12
    rows = (image[..., 1] > 128).all(1).sum()
    assert rows == (round(size / 5) if fit == "pad" else size)


def test_crop_is_the_central_square_of_a_small_image(place: Path) -> None:
    wide(place / "x.png", (40, 16))
    whole = np.asarray(Image.open(place / "x.png"))
    assert (one(place / "x.png", size=16) == whole[:, 12:28]).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_an_image_that_has_the_size_is_kept(fit: str, place: Path) -> None:
    from cohobate.data.pictures import Reading

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(place / "x.png")
    assert (one(place / "x.png", size=16, reading=Reading(fit)) == pixels).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_in_training_a_random_part_is_fitted_as_the_whole_is(fit: str, place: Path) -> None:
    from cohobate.data.pictures import Reading

    wide(place / "x.png")
    grey = (0.5, 0.5, 0.5)
    files = Files(
        (place / "x.png",) * 40, torch.zeros(40, dtype=torch.int64), (72, 72), reading=Reading(fit, "black")
    )
    dataset = Dataset("x", ("a",), files, None, None, grey, grey, crop=0, flip=False)
    (batch,) = train_loader(dataset, batch_size=40, seed=0, device=CPU, workers=0).epoch(0)
    image = (255 * (batch.x * 0.5 + 0.5)).round()
    rows = (image[:, 1] > 128).all(2).sum(1)
    spans = image[:, 0, 36, -1] - image[:, 0, 36, 0]
    if fit == "pad":
        # 5 times as wide as high, 3/4 to 4/3 times: 72 pixels of width are 11 to 19 of height.
        assert 9 <= int(rows.min()) < int(rows.max()) <= 21
    else:
        assert (rows == 72).all()
    # A part as high as the picture and 4/3 times as wide has 80 of its 300 columns.
    assert float(spans.max()) < 80 if fit == "crop" else float(spans.max()) > 150


@pytest.mark.parametrize("size", [32, 96])
def test_grey_is_padded_with_the_grey_of_the_background(size: int, place: Path) -> None:
    from cohobate.data.pictures import Reading

    wide(place / "x.png")
    dataset = load_data(str(place.parents[1]), Path(), size, 1, reading=Reading("pad", "#ff0000"))
    (batch,) = eval_loader(dataset.train, dataset, device=CPU, workers=0).epoch(0)
    assert batch.x.shape == (1, 1, size, size)
    grey = 255 * (batch.x[0, 0] * dataset.std[0] + dataset.mean[0])
    assert abs(float(grey[0, 0]) - 255 * 0.299) < 1


def test_fit_and_background_are_checked() -> None:
    from cohobate.data.pictures import Reading

    with pytest.raises(ValueError, match="fit must be crop, pad or squash, got 'stretch'"):
        Reading("stretch")
    with pytest.raises(ValueError, match="a colour is white, black, grey or #rrggbb, got 'blue'"):
        Reading(background="blue")
    with pytest.raises(ValueError, match="fit pad is for pictures in files; digits is read as it is"):
        load_data("digits", Path(), reading=Reading("pad"))


def test_unlabelled_images_are_read_by_the_same_reader(tmp_path: Path) -> None:
    from cohobate.data.unlabelled import unlabelled

    Image.fromarray(RAMP * 1040).save(tmp_path / "x.png")
    like = arrays(np.zeros((2, 8, 8, 3), np.uint8), [0, 1])
    found = unlabelled(str(tmp_path), tmp_path, like)
    split = found[0] if isinstance(found, tuple) else found
    assert split.x[0, 4, 0, 0] == round(32 * 1040 / 257)


def test_a_check_names_the_whole_reason_whatever_the_name(place: Path) -> None:
    path = place / "a cannot be decoded: b.png"
    Image.new("RGB", (40, 40)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    ((_, why),) = check([path], Reading()).bad
    assert why
    assert "b.png" not in why
    with pytest.raises(PictureError, match=rf"b\.png cannot be decoded: {re.escape(why)}$") as error:
        decode(path, Reading())
    assert error.value.reason == why
