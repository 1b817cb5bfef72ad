"""Every block of docs/DEPLOY.md runs, one after the other, in one folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from deploy_page import BLOCKS, PAGE, PLAIN, RUN, SHOWN, Block, ran, run_in_order, says
from PIL import Image

from cohobate.data.pictures import Reading, decode
from cohobate.data.views import whole


def test_the_blocks_are_those_that_are_run() -> None:
    languages = [block.language for block in BLOCKS]
    assert set(languages) == RUN | SHOWN
    assert len(BLOCKS) == PAGE.read_text(encoding="utf-8").count("```") // 2
    assert (languages.count("sh"), languages.count("python"), languages.count("text")) == (8, 14, 11)
    marks = {name for block in BLOCKS for name in block.marks}
    assert marks <= {"file", "without", "libraries"}
    assert sum("torch" in block.marks.get("without", "").split() for block in BLOCKS) >= 2


def test_the_page_runs(tmp_path: Path) -> None:
    assert run_in_order(PLAIN, tmp_path) == 20
    export = tmp_path / "runs" / "digits" / "export"
    assert {path.name for path in export.iterdir()} >= {"model.onnx", "model.pt2", "README.md"}


def test_what_a_page_shows_is_compared() -> None:
    assert says("a 0 0.125\nb\n", "a 0   0.93 b")
    assert says("1e-3 2.5e-07", "1e-3 1.0e-06")
    assert not says("a 1 0.125", "a 0 0.93")
    assert not says("a 0 0.125 b", "a 0 0.93")
    assert not says("", "a")


def test_a_block_that_fails_or_needs_what_it_must_not(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such thing"):
        ran(Block({}, "python", "raise ValueError('no such thing')"), tmp_path)
    for text in ("false\necho after", "false | cat"):
        with pytest.raises(AssertionError):
            ran(Block({}, "sh", text), tmp_path)
    for name in ("torch", "cohobate"):
        with pytest.raises(AssertionError, match=f"{name} is not installed here"):
            ran(Block({"without": "torch cohobate"}, "python", f"import {name}.nn"), tmp_path)
    assert ran(Block({"without": "torch"}, "python", "import numpy; print(1)"), tmp_path) == "1\n"


# ---------------------------------------------------------------- the page's reading of pictures


@pytest.fixture(scope="module")
def reading() -> ModuleType:
    (block,) = (block for block in BLOCKS if block.marks.get("file") == "reading.py")
    module = ModuleType("reading")
    exec(block.text, module.__dict__)
    return module


def picture(mode: str, width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width * height)
    noise = generator.integers(0, 256, (height, width, 4), np.uint8)
    return Image.fromarray(noise, "RGBA").convert(mode)


def saved(image: Image.Image, path: Path, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


READINGS = [
    *((fit, None) for fit in ("crop", "pad", "squash")),
    *(("crop", eval_resize) for eval_resize in (96, 131)),
]


@pytest.mark.parametrize(("fit", "eval_resize"), READINGS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 96), (65, 31)])
@pytest.mark.parametrize("background", ["white", "grey", "#0a6414"])
def test_the_pages_pixels_are_those_of_the_training(
    fit: Any,
    eval_resize: int | None,
    size: tuple[int, int],
    background: str,
    reading: ModuleType,
    tmp_path: Path,
) -> None:
    """Byte for byte, in colour and grey."""
    pictures = [
        saved(picture(mode, *extent), tmp_path / f"{mode}-{extent[0]}.{ending}")
        for mode, ending in (("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("P", "png"), ("CMYK", "jpg"))
        for extent in ((31, 75), (257, 33), (48, 48))
    ]
    pictures += [saved(picture("RGB", 90, 61), tmp_path / f"{n}.jpg", n) for n in range(2, 9)]
    assert len(pictures) == 22
    for channels in (1, 3):
        how = Reading(fit, background, channels, eval_resize)
        about = {"shape": (channels, *size), "fit": fit, "background": background, "eval_resize": eval_resize}
        for path in pictures:
            expected = np.asarray(whole(decode(path, how), size, how)).reshape(*size, channels)
            np.testing.assert_array_equal(reading.pixels(path, about).transpose(1, 2, 0), expected)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_pages_pixels_are_averaged_as_those_of_the_training(
    fit: Any, reading: ModuleType, tmp_path: Path
) -> None:
    for channels, extent in ((3, (48, 40)), (1, (31, 75)), (3, (20, 20))):
        path = saved(picture("RGB", *extent), tmp_path / "picture.png")
        how = Reading(fit, "grey", channels, averaged_from=(48, 40))
        about = {"shape": (channels, 32, 16), "fit": fit, "background": "grey", "averaged_from": (48, 40)}
        expected = np.asarray(whole(decode(path, how), (32, 16), how)).reshape(32, 16, channels)
        np.testing.assert_array_equal(reading.pixels(path, about).transpose(1, 2, 0), expected)


def test_the_page_refuses_pictures_of_16_bits(reading: ModuleType, tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(tmp_path / "deep.png")
    about = {"shape": (3, 8, 8), "fit": "crop", "background": "white"}
    with pytest.raises(ValueError, match=r"deep.png has 16 or 32 bits a pixel; save it with 8"):
        reading.pixels(tmp_path / "deep.png", about)


def test_the_pages_values_are_those_that_the_file_takes(reading: ModuleType) -> None:
    import torch

    from cohobate.inference.deployable import Normalisation

    images = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    normalisation = Normalisation((0.5, 0.25), (0.25, 0.125))
    for values in ("0-255", "0-1", "normalised"):
        about = {"values": values, "mean": normalisation.mean, "std": normalisation.std}
        mine = reading.values(images, about)
        ours = normalisation.of_bytes(torch.from_numpy(images), values).numpy()
        assert mine.dtype == ours.dtype
        np.testing.assert_allclose(mine, ours, rtol=1e-5)
    shares = reading.probabilities(np.array([[1000.0, 1000.0], [0.0, np.log(3)]]))
    np.testing.assert_allclose(shares, [[0.5, 0.5], [0.25, 0.75]])
