"""Image and mask stay together through every operation: the colour of each pixel says its class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from painted import COLOURS, blocks, classes_shown, inside
from PIL import Image

from cohobate.data.pictures import Reading
from cohobate.data.raw import image
from cohobate.data.scene_views import (
    Placing,
    Shown,
    as_evaluated,
    drawn,
    evaluated,
    mirrored,
    nearest,
    placed,
    resized,
)
from cohobate.data.scenes import VOID
from cohobate.data.views import uncut

GREY = Reading(fit="pad", background="#808080")
SQUASH = Reading(fit="squash")
CASES = range(40)


def scene(rng: np.random.Generator, height: int, width: int, side: int) -> Shown:
    mask = blocks(rng, height, width, side)
    return Shown(torch.from_numpy(COLOURS[mask]), torch.from_numpy(mask))


def agree(shown: Shown) -> None:
    """Away from edges each pixel has the colour of its class, and there are such pixels."""
    pixels, mask = shown.pixels.numpy(), shown.mask.numpy()
    assert pixels.shape[:2] == mask.shape
    kept = inside(mask) & (mask != VOID)
    assert kept.sum() > 20
    assert (classes_shown(pixels)[kept] == mask[kept]).all()


def random_case(case: int) -> tuple[np.random.Generator, Shown, tuple[int, int]]:
    """A scene of any proportions whose squares are large also at half the size, and a size of the network."""
    rng = np.random.default_rng((18, case))
    height, width = rng.integers(60, 200, 2).tolist()
    size = rng.integers(40, 120, 2).tolist()
    side = int(18 * max(1, height / size[0], width / size[1]))
    return rng, scene(rng, height, width, side), (size[0], size[1])


def whole_at(scene: Shown, height: int, width: int) -> Shown:
    rows, columns = scene.mask.shape
    return placed(scene, Placing((0, 0, columns, rows), (0, 0, width, height)), (height, width), GREY)


def smaller(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    return whole_at(scene, rows * 2 // 3, columns * 3 // 4)


def larger(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    return whole_at(scene, rows * 7 // 4, columns * 3 // 2)


def cropped(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    part = (columns // 5, rows // 7, columns - 3, rows - 1)
    box = (0, 0, part[2] - part[0], part[3] - part[1])
    return placed(scene, Placing(part, box), (box[3], box[2]), GREY)


def padded(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    whole = Placing((0, 0, columns, rows), (7, 3, 7 + columns, 3 + rows))
    return placed(scene, whole, (rows + 5, columns + 11), GREY)


def flipped(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    return mirrored(scene)


def of_training(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    return placed(scene, drawn((rows, columns), size, GREY, (0.5, 2.0), rng), size, GREY)


def of_training_squashed(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    rows, columns = scene.mask.shape
    return placed(scene, drawn((rows, columns), size, SQUASH, (0.5, 2.0), rng), size, SQUASH)


def of_evaluation(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    return as_evaluated(Image.fromarray(scene.pixels.numpy()), scene.mask, size, GREY)


def of_evaluation_squashed(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    return as_evaluated(Image.fromarray(scene.pixels.numpy()), scene.mask, size, SQUASH)


def stored_smaller(scene: Shown, size: tuple[int, int], rng: np.random.Generator) -> Shown:
    """As large pictures are kept, and then placed."""
    rows, columns = scene.mask.shape
    less = (rows * 4 // 5, columns * 4 // 5)
    return of_training(Shown(resized(scene.pixels, less), nearest(scene.mask, less)), size, rng)


OPERATIONS = [
    smaller,
    larger,
    cropped,
    padded,
    flipped,
    of_training,
    of_training_squashed,
    of_evaluation,
    of_evaluation_squashed,
    stored_smaller,
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_each_pixel_keeps_the_colour_of_its_class(
    operation: Callable[[Shown, tuple[int, int], np.random.Generator], Shown],
) -> None:
    for case in CASES:
        rng, whole, size = random_case(case)
        agree(operation(whole, size, rng))


def test_a_mask_that_is_two_pixels_off_is_found() -> None:
    """The test above sees such faults."""
    whole = scene(np.random.default_rng(0), 90, 120, 12)
    with pytest.raises(AssertionError):
        agree(Shown(whole.pixels, whole.mask.roll(2, 1)))


def test_what_the_picture_does_not_reach_is_background_and_void() -> None:
    for case in CASES:
        rng, whole, size = random_case(case)
        rows, columns = whole.mask.shape
        placing = drawn((rows, columns), size, GREY, (0.3, 0.6), rng)
        shown = placed(whole, placing, size, GREY)
        left, top, right, bottom = placing.box
        reached = torch.zeros(size, dtype=torch.bool)
        reached[top:bottom, left:right] = True
        assert reached.any()
        assert not reached.all()
        assert torch.equal(shown.mask == VOID, ~reached)
        assert (shown.pixels[~reached] == 128).all()


def test_void_in_a_mask_stays_void_and_never_becomes_a_class() -> None:
    whole = scene(np.random.default_rng(0), 90, 120, 12)
    whole.mask[30:60] = VOID
    shown = whole_at(whole, 45, 60)
    assert (shown.mask[15:30] == VOID).all()
    assert (shown.mask[:15] != VOID).all()
    assert (shown.mask[30:] != VOID).all()


@pytest.mark.parametrize("reading", [GREY, SQUASH, Reading()], ids=lambda reading: reading.fit)
def test_an_evaluated_picture_is_what_prediction_shows_and_lies_in_its_box(reading: Reading) -> None:
    for case in CASES:
        _, whole, size = random_case(case)
        picture = Image.fromarray(whole.pixels.numpy())
        shown = as_evaluated(picture, whole.mask, size, reading)
        assert torch.equal(shown.pixels, image(picture, size, uncut(reading)))
        rows, columns = whole.mask.shape
        left, top, right, bottom = evaluated((rows, columns), size, reading).box
        counted = (shown.mask != VOID).nonzero()
        assert counted.min(0).values.tolist() == [top, left]
        assert counted.max(0).values.tolist() == [bottom - 1, right - 1]
        assert shown.whole is not None
        assert torch.equal(shown.whole, whole.mask)


def test_the_nearest_pixel_is_the_one_whose_middle_is_nearest() -> None:
    for case in range(200):
        rng = np.random.default_rng(case)
        own, wanted = (int(each) for each in rng.integers(1, 60, 2))
        line = torch.arange(own, dtype=torch.uint8)[None]
        found = nearest(line, (1, wanted))[0].long()
        middles = (torch.arange(wanted, dtype=torch.float64) + 0.5) * own / wanted
        best = (middles[:, None] - (torch.arange(own, dtype=torch.float64) + 0.5)).abs()
        assert torch.allclose(best.gather(1, found[:, None])[:, 0], best.min(1).values)


def test_placings_lie_in_picture_and_image_and_keep_the_proportions() -> None:
    for case in range(300):
        rng = np.random.default_rng((7, case))
        rows, columns, height, width = rng.integers(1, 300, 4).tolist()
        placing = drawn((rows, columns), (height, width), GREY, (0.5, 2.0), rng)
        left, top, right, bottom = placing.part
        assert 0 <= left < right <= columns
        assert 0 <= top < bottom <= rows
        left, top, right, bottom = placing.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_scales_and_places_are_those_of_the_draws() -> None:
    """At scale s of a picture as large as the image, the part is 1/s of it; every place occurs."""
    rng, size = np.random.default_rng(3), (80, 100)
    drawn_ones = [drawn(size, size, GREY, (0.5, 2.0), rng) for _ in range(600)]
    scales = np.array(
        [(box[2] - box[0]) / (part[2] - part[0]) for part, box in ((d.part, d.box) for d in drawn_ones)]
    )
    assert scales.min() < 0.52
    assert scales.max() > 1.9
    assert abs(scales.mean() - 1.25) < 0.06
    enlarged = [d.part for d in drawn_ones if d.box == (0, 0, 100, 80)]
    assert any(part[0] == 0 for part in enlarged)
    assert any(part[2] == 100 for part in enlarged)
    assert any(part[1] == 0 for part in enlarged)
    assert any(part[3] == 80 for part in enlarged)


def test_grey_pictures_are_padded_in_grey() -> None:
    reading = Reading(fit="pad", background="#ff0000", channels=1)
    mask = torch.zeros(10, 20, dtype=torch.uint8)
    shown = placed(
        Shown(torch.full((10, 20, 1), 200, dtype=torch.uint8), mask),
        Placing((0, 0, 20, 10), (0, 5, 20, 15)),
        (20, 20),
        reading,
    )
    assert shown.pixels.shape == (20, 20, 1)
    assert (shown.pixels[:5] == 76).all()
    assert (shown.pixels[5:15] == 200).all()
