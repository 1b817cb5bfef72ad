"""The picture of attention maps and its numbers, from maps chosen by the test."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from cohobate.analysis.attention import concentration, pooled, to_own_range
from cohobate.report.figures import attention_picture as module
from cohobate.report.figures.attention_picture import caption, draw, overlay
from cohobate.report.figures.chart import WIDTH
from cohobate.report.tables.attention import Attention, Look, definition, to_csv, to_npz, to_rich

SIZES = (8, 4, 2)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels an inch: most of the time goes into compressing them."""
    monkeypatch.setattr(module, "DPI", 60)


def look(network: str, epoch: int, images: int, sizes: tuple[int, ...] = SIZES) -> Look:
    maps = tuple(torch.rand(images, size, size) for size in sizes)
    return Look(network, epoch, maps, ("cat",) * images, tuple(0.25 + 0.1 * i for i in range(len(sizes))))


def found(
    count: int = 2,
    epochs: tuple[int, ...] = (1, 3),
    networks: tuple[str, ...] = ("classifier", "self-teacher"),
    **more: Any,
) -> Attention:
    given: dict[str, Any] = {
        "about": "frskd on pets, resnet8, seed 0",
        "split": "val",
        "rows": tuple(range(5, 5 + count)),
        "images": torch.rand(count, 16, 16, 3),
        "labels": ("cat", "dog" * 20, *("cat",) * count)[:count],
        "looks": tuple(look(name, epoch, count) for epoch in epochs for name in networks),
        "measured": 40,
    }
    return Attention(**{**given, **more})


# ---------------------------------------------------------------- the measure


def naive_concentration(values: list[float], share: float) -> float:
    room, taken = share * len(values), 0.0
    for value in sorted(values, reverse=True):
        part = min(1.0, room)
        taken += part * value
        room -= part
    return taken / sum(values)


@pytest.mark.parametrize("size", [(4, 4), (3, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize("share", [0.25, 0.1, 1.0])
def test_concentration_counts_the_strongest_positions(size: tuple[int, int], share: float) -> None:
    maps = torch.rand(6, *size, dtype=torch.float64)
    wanted = [naive_concentration(each.flatten().tolist(), share) for each in maps]
    torch.testing.assert_close(concentration(maps, share), torch.tensor(wanted, dtype=torch.float64))


def test_concentration_has_the_same_ends_at_every_size() -> None:
    for size in (2, 3, 7):
        point = torch.zeros(1, size, size)
        assert concentration(point).item() == pytest.approx(0.25)  # nowhere in particular
        assert concentration(point + 3).item() == pytest.approx(0.25)
        point[0, 0, 1] = 2
        assert concentration(point).item() == pytest.approx(1)


def test_concentration_does_not_depend_on_the_scale_or_the_place() -> None:
    maps = torch.rand(3, 6, 6)
    torch.testing.assert_close(concentration(7 * maps.roll(2, 1)), concentration(maps))


def test_pooled_is_the_mean_of_squares() -> None:
    stage = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    wanted = sum(stage[:, c] ** 2 for c in range(3)) / 3
    torch.testing.assert_close(pooled(stage), wanted)
    assert pooled(stage.to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: concentration(torch.rand(2, 3, 3), 0.0), r"share.*\(0, 1\], got 0.0"),
        (lambda: concentration(torch.rand(3, 3)), r"\(B, H, W\), got shape \(3, 3\)"),
        (lambda: pooled(torch.rand(3, 3)), r"\(B, C, H, W\), got shape \(3, 3\)"),
    ],
)
def test_what_is_no_map_is_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_each_map_is_scaled_to_its_own_range() -> None:
    maps = torch.stack([torch.tensor([[2.0, 3.0], [4.0, 6.0]]), torch.full((2, 2), 9.0)])
    wanted = torch.tensor([[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]])
    torch.testing.assert_close(to_own_range(maps), wanted)


# ---------------------------------------------------------------- the picture


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def test_the_same_numbers_give_the_same_picture() -> None:
    attention = found()
    assert draw(attention) == draw(attention)
    assert opened(draw(attention)).format == "PNG"


def test_pictures_grow_by_rows_and_panels() -> None:
    one = opened(draw(found(1, (1,))))
    wide, tall = opened(draw(found(1, (1, 2, 3)))), opened(draw(found(3, (1,))))
    assert wide.height < 1.2 * one.height < 1.2 * tall.height
    assert wide.width > one.width == tall.width
    assert one.width >= WIDTH * module.DPI  # as wide as the other figures at least
    alone = opened(draw(found(1, (1,), ("classifier",))))
    assert alone.height < one.height
    # More epochs than fit beside one another go below.
    many = opened(draw(found(1, tuple(range(1, 8)))))
    assert many.width <= module.ACROSS * 1.4 * module.DPI
    assert many.height > 1.5 * wide.height


def pixels(picture: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(opened(picture).convert("RGB")).astype(int)


def test_nothing_is_drawn_over_the_edge() -> None:
    long = "frskd alpha=2.5 beta=100.0 temperature=4.0 " * 2 + "on cifar100, wrn_16_2, seed 0"
    for attention in (found(1, (1,)), found(2, (1, 2, 3), about=long), found(1, (1,), ("classifier",))):
        page = pixels(draw(attention))
        for edge in (page[:3], page[-3:], page[:, :3], page[:, -3:]):
            assert (edge == 255).all()


def test_colours_are_rounded_by_less_than_anybody_sees() -> None:
    image = opened(draw(found()))
    assert (image.mode, image.info["dpi"]) == ("RGB", pytest.approx((60, 60), abs=0.1))
    assert set(pixels(draw(found())).flatten().tolist()) <= set(range(0, 256, module.STEP))
    every = np.arange(256, dtype=np.uint8)
    rounded = module.rounded(every)
    assert np.abs(rounded.astype(int) - every).max() == module.STEP // 2
    assert (rounded[0], rounded[255]) == (0, 255)


def test_a_wrong_class_is_said_in_another_colour() -> None:
    red = np.array([0xD5, 0x5E, 0x00])
    right, wrong = (
        (np.abs(pixels(draw(found(1, labels=(label,)))) - red).sum(-1) < 12).sum() for label in ("cat", "dog")
    )
    assert wrong > right > 0  # the key below is there in both


def test_the_overlay_shows_the_map_over_the_image() -> None:
    image = torch.zeros(8, 8, 3)
    values = torch.zeros(2, 2)
    values[0, 0] = 5.0
    colours = overlay(image, values)
    assert colours.shape == (8, 8, 3)
    bright = colours.sum(-1)
    assert bright[0, 0] == bright.max() > 1
    assert bright[-1, -1] == bright.min()
    # The image is there too, without its colours.
    lit = overlay(torch.ones(8, 8, 3), values) - colours
    np.testing.assert_allclose(lit, np.full_like(lit, 1 - module.OPAQUE), atol=1e-6)
    one_colour = overlay(torch.tensor([0.0, 1.0, 0.0]).expand(8, 8, 3), values) - colours
    np.testing.assert_allclose(one_colour[..., 0], one_colour[..., 1], atol=1e-6)


def test_images_need_not_be_square_and_networks_may_have_fewer_blocks() -> None:
    looks = (look("classifier", 1, 1), look("self-teacher", 1, 1, (4, 2)))
    attention = found(1, images=torch.rand(1, 10, 20, 3), looks=looks)
    assert opened(draw(attention)).width > 0
    assert "fewer blocks stands below the deepest" in caption(attention)
    lines = list(csv.DictReader(to_csv(attention).splitlines()))
    assert [(line["network"], line["block"]) for line in lines[-2:]] == [
        ("self-teacher", "2"),
        ("self-teacher", "3"),
    ]


def test_too_large_a_picture_is_refused() -> None:
    attention = found(31, tuple(range(1, 6)))
    with pytest.raises(ValueError, match=r"31 images at 5 epochs .* \(62 bands, at most 60\)"):
        draw(attention)


def test_the_caption_says_what_is_shown() -> None:
    said = caption(found())
    assert "val split, rows 5, 6" in said
    assert "laid over the image in grey" in said
    assert "own range" in said
    assert "row 5)" in caption(found(1))


# ---------------------------------------------------------------- the numbers


def test_the_npz_holds_the_maps_as_they_are() -> None:
    attention = found()
    assert to_npz(attention) == to_npz(attention)
    kept = np.load(io.BytesIO(to_npz(attention)))
    assert kept["rows"].tolist() == [5, 6]
    assert kept["epochs"].tolist() == [1, 3]
    assert kept["self_teacher_block_2"].shape == (2, 2, 4, 4)
    last: Tensor = attention.looks[3].maps[1]
    np.testing.assert_array_equal(kept["self_teacher_block_2"][1], last.numpy())
    np.testing.assert_array_equal(kept["images"], attention.images.numpy())
    assert kept["classifier_predicted"].tolist() == [["cat", "cat"]] * 2
    np.testing.assert_allclose(kept["classifier_concentration"], [[0.25, 0.35, 0.45]] * 2)


def test_the_csv_and_the_table_hold_the_concentration() -> None:
    attention = found(epochs=(1, 3))
    lines = list(csv.DictReader(to_csv(attention).splitlines()))
    assert len(lines) == 2 * 2 * 3
    assert lines[1] == {
        "epoch": "1",
        "network": "classifier",
        "block": "2",
        "concentration_percent": "35.0000",
        "split": "val",
        "images": "40",
    }
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(to_rich(attention))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["3", "self-teacher", "25.0", "35.0", "45.0"] in rows
    assert "strongest quarter" in definition(attention)
    assert "40 images of the val split" in definition(attention)
