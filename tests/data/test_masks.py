"""What mask files hold, and what they may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cohobate.data.masks import Masks
from cohobate.data.pictures import PictureError
from cohobate.data.scenes import VOID, Coding

NUMBERS = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
CODING = Coding({0: 0, 1: 1, 2: 2, 255: VOID})
PAINTED = Coding({0: 0}, {(255, 0, 0): 0, (0, 255, 0): 1, (0, 0, 255): 1, (0, 0, 0): VOID})


def palette(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.reshape(-1).tolist())
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    return picture


def forms() -> dict[str, Image.Image]:
    return {
        "grey.png": Image.fromarray(NUMBERS),
        "grey.bmp": Image.fromarray(NUMBERS),
        "grey.tif": Image.fromarray(NUMBERS),
        "palette.png": palette(NUMBERS),
        "deep.png": Image.fromarray(NUMBERS.astype(np.uint16)),
        "as rgb.png": Image.fromarray(np.stack([NUMBERS] * 3, axis=-1)),
        "as rgba.png": Image.fromarray(np.stack([NUMBERS] * 4, axis=-1)),
    }


@pytest.mark.parametrize("name", list(forms()))
def test_numbers_are_read_from_every_form(tmp_path: Path, name: str) -> None:
    forms()[name].save(tmp_path / name)
    found = Masks(CODING)(tmp_path / name)
    assert found.dtype == np.uint8
    assert (found == NUMBERS).all()


def test_one_bit_is_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1").save(tmp_path / "bit.png")
    assert Masks(CODING)(tmp_path / "bit.png").tolist() == [[0, 1], [1, 0]]


def test_numbers_stand_for_classes_in_any_order(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 300]], np.uint16)).save(tmp_path / "deep.png")
    assert Masks(Coding({7: 1, 300: 0}))(tmp_path / "deep.png").tolist() == [[1, 0]]


def test_colours_stand_for_classes(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    assert Masks(PAINTED)(tmp_path / "mask.png").tolist() == [[0, 1], [1, VOID]]


@pytest.mark.parametrize(
    ("pixels", "coding", "message"),
    [
        (
            np.array([[0, 1], [2, 9]], np.uint8),
            CODING,
            r"number 9 \(column 1, row 1;.*no class has it.*0, 1, 2, 255",
        ),
        (np.array([[0, 4000]], np.uint16), CODING, r"number 4000 \(column 1, row 0"),
        (np.array([[0, 1]], np.uint8), Coding({0: 0, 2: 1}), "number 1 .*numbers of classes are 0, 2$"),
        (
            np.array([[[255, 0, 0], [1, 2, 3]]], np.uint8),
            PAINTED,
            r"colour #010203 \(column 1, row 0;.*#ff0000, #00ff00",
        ),
        (np.array([[[255, 255, 255]]], np.uint8), PAINTED, "colour #ffffff"),
        (
            np.array([[[255, 0, 0]]], np.uint8),
            CODING,
            "colour #ff0000 .*no colours of classes are known",
        ),
        (np.zeros((2, 2), np.float32), CODING, "mode F, and numbers or RGB colours are read"),
    ],
)
def test_what_no_class_has_is_named(tmp_path: Path, pixels: np.ndarray, coding: Coding, message: str) -> None:
    file = tmp_path / "mask.tif"
    Image.fromarray(pixels).save(file)
    with pytest.raises(PictureError, match=message) as caught:
        Masks(coding)(file)
    assert "mask.tif" in str(caught.value)


ROADS = Coding({0: 0, 1: 1, 9: VOID, 255: VOID}, {(128, 64, 128): 0, (0, 0, 142): 1, (0, 0, 0): VOID})


def painted(indices: list[int], colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.new("P", (len(indices), 1))
    picture.putdata(indices)
    picture.putpalette([part for colour in colours for part in colour])
    return picture


@pytest.mark.parametrize("name", ["mask.png", "mask.gif", "mask.bmp", "mask.tif"])
def test_a_palette_that_paints_a_number_as_another_class_is_refused(tmp_path: Path, name: str) -> None:
    """Colours that an editor has reduced are numbered as it likes, so that the numbers are of no class."""
    file = tmp_path / name
    painted([1, 0, 1], [(0, 0, 142), (128, 64, 128)]).save(file)
    with pytest.raises(PictureError, match=r"mask\..*number 0 in #00008e, .* of number 1; save it in RGB"):
        Masks(ROADS)(file)


def test_a_palette_may_paint_a_number_of_no_class_only_in_a_colour_of_none(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    painted([1, 5], [(128, 64, 128), (0, 0, 142), *[(1, 1, 1)] * 3, (0, 0, 0)]).save(file)
    with pytest.raises(PictureError, match="number 5 in #000000, which is the colour of number 9, 255"):
        Masks(ROADS)(file)
    assert Masks(replace(ROADS, ids={**ROADS.ids, 5: VOID}))(file).tolist() == [[1, VOID]]


def test_a_palette_that_agrees_or_has_other_colours_is_read_by_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    painted([0, 1, 1], [(128, 64, 128), (0, 0, 142), (0, 0, 142)]).save(file)
    assert Masks(ROADS)(file).tolist() == [[0, 1, 1]]  # 2, painted as 1 is, does not occur
    painted([0, 1], [(1, 2, 3), (4, 5, 6)]).save(file)
    assert Masks(ROADS)(file).tolist() == [[0, 1]]
    painted([0, 1], [(0, 0, 142), (128, 64, 128)]).save(file)
    assert Masks(Coding(ROADS.ids))(file).tolist() == [[0, 1]]


def test_jpeg_is_refused_whatever_its_name(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS).save(tmp_path / "mask.png", format="JPEG")
    with pytest.raises(PictureError, match=r"mask\.png.*JPEG, which changes the numbers.*PNG"):
        Masks(CODING)(tmp_path / "mask.png")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    with pytest.raises(PictureError, match=r"mask\.png cannot be read: No such file"):
        Masks(CODING)(file)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(PictureError, match=r"mask\.png cannot be read"):
        Masks(CODING)(file)
    file.write_bytes(b"")
    with pytest.raises(PictureError, match="no image"):
        Masks(CODING)(file)
