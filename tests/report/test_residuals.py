"""Table 8 of ResKD and the picture of figures 4 to 6, from numbers chosen by the test."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from cohobate.report.figures import residuals_picture as module
from cohobate.report.figures.residuals_picture import Cloud, Panel, draw
from cohobate.report.tables.residuals import (
    Gap,
    ImageSet,
    Line,
    Residuals,
    definition,
    to_csv,
    to_rich,
)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels an inch: most of the time goes into them."""
    monkeypatch.setattr(module, "DPI", 80)


DPI = module.DPI
RED, BLUE = np.array([0xD5, 0x5E, 0x00]), np.array([0x00, 0x72, 0xB2])


def found(named: int = 4, gi: bool = True) -> Residuals:
    none = Gap()
    of_named = [
        Gap(100.0, 0.8),
        Gap(0.0, 0.4, 1.73, 0.9, 30.0 if gi else None, 20.0 if gi else None),
        Gap(75.0, 0.5, 1.38, 0.6, 25.0 if gi else None, 10.0 if gi else None, 0.2),
    ]
    of_all = [Gap(97.5, 0.97), Gap(90.0, 0.91, 0.5, 0.1), Gap(92.5, 0.92, 0.4, 0.05, k=0.2)]
    lines = [
        Line(name, made_of, parameters, macs, energy, (one if named else none, two))
        for name, made_of, parameters, macs, energy, one, two in zip(
            ("T", "S_0", "S_1"),
            ("resnet110", "resnet20", "resnet20 + resnet14"),
            (1_728_000, 270_000, 442_000),
            (253_000_000, 40_000_000, 67_000_000),
            (0.99, 0.98, None),
            of_named,
            of_all,
            strict=True,
        )
    ]
    sets = ImageSet("named", named, named if gi else 0), ImageSet("all", 1200, 500 if gi else 0)
    return Residuals("reskd on cifar10", "test", sets, tuple(lines), "4,500 images of the train split")


def shown(residuals: Residuals) -> tuple[list[list[str]], str]:
    console = Console(width=160, file=io.StringIO(), record=True)
    for table in to_rich(residuals):
        console.print(table)
    text = console.export_text()
    return [line.split() for line in text.splitlines()], " ".join(text.split())


# ---------------------------------------------------------------- the numbers


def test_the_tables_hold_every_network_with_its_gaps() -> None:
    rows, text = shown(found())
    assert ["T", "resnet110", "97.50", "2.50", "1,728,000", "253.0", "M", "0.9900", "0.9700"] in rows
    added = ["S_1", "resnet20", "+", "resnet14"]
    assert [*added, "92.50", "7.50", "442,000", "67.0", "M", "—", "0.9200"] in rows
    assert "the 4 images of the test split that S_0 gets wrong and a later S_i right" in text
    assert ["S_1", "75.00", "0.5000", "1.380", "0.600", "25.000", "10.000", "0.200"] in rows
    assert ["S_0", "0.00", "0.4000", "1.730", "0.900", "30.000", "20.000", "—"] in rows
    assert "all 1,200 images of the test split" in text
    assert ["S_1", "92.50", "0.9200", "0.400", "0.050", "—", "—", "0.200"] in rows
    said = definition(found())
    assert "mean over 4 and 500 images, evenly spaced" in said
    assert "(eq. 9); D_v: 4,500 images of the train split." in said
    assert "there is none" not in said


def test_what_was_not_measured_has_no_column() -> None:
    _, text = shown(found(gi=False))
    assert "GI of R_i" in shown(found())[1]
    assert "GI of R_i" not in text
    assert "evenly spaced" not in definition(found(gi=False))


def test_where_no_image_is_named_only_all_are_shown_and_it_is_said() -> None:
    assert len(to_rich(found(named=0))) == 2
    assert "there is none" in definition(found(named=0))
    lines = list(csv.DictReader(to_csv(found(named=0)).splitlines()))
    assert [line["l2_logits"] for line in lines[:3]] == ["", "", ""]
    assert lines[0]["count"] == "0"


def test_the_csv_has_a_line_for_each_set_and_network() -> None:
    lines = list(csv.DictReader(to_csv(found()).splitlines()))
    assert [(line["images"], line["network"]) for line in lines] == [
        (images, name) for images in ("named", "all") for name in ("T", "S_0", "S_1")
    ]
    assert lines[2] == {
        "images": "named",
        "split": "test",
        "count": "4",
        "network": "S_1",
        "made_of": "resnet20 + resnet14",
        "top1_accuracy_percent": "92.5000",
        "top1_error_percent": "7.5000",
        "parameters": "442000",
        "macs": "67000000",
        "energy_d_v": "",
        "energy_split": "0.920000",
        "right_percent": "75.0000",
        "energy": "0.500000",
        "l2_logits": "1.380000",
        "l2_probabilities": "0.600000",
        "gi": "25.000000",
        "gi_last": "10.000000",
        "gi_images": "4",
        "gi_over_c1": "1.380000",
        "k": "0.200000",
    }
    assert (lines[0]["l2_logits"], lines[0]["gi_images"]) == ("", "")
    of_all = [lines[5][column] for column in ("count", "right_percent", "energy", "l2_logits", "gi")]
    assert of_all == ["1200", "92.5000", "0.920000", "0.400000", ""]


def test_of_several_runs_each_gap_says_whose_it_is() -> None:
    residuals = found()
    other = replace(residuals.lines[2], made_of="resnet20 + resnet8")
    rows, _ = shown(replace(residuals, lines=(*residuals.lines, other)))
    gaps = ["75.00", "0.5000", "1.380", "0.600", "25.000", "10.000", "0.200"]
    for last in ("resnet14", "resnet8"):
        assert ["S_1", "resnet20", "+", last, *gaps] in rows


def test_in_a_narrow_terminal_no_number_is_broken() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    for table in to_rich(found()):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    assert ["S_0", "0.00", "0.4000", "1.730", "0.900", "30.000", "20.000", "—"] in rows


# ---------------------------------------------------------------- the picture


def cloud(count: int, panels: int, about: str = "reskd on digits, resnet8, seed 0") -> Cloud:
    points = torch.randn(count, 2, dtype=torch.float64)
    each = (
        Panel(f"S_{i}", " + ".join(["resnet8"] * (i + 1)), 3.0 - i / 2, points + torch.randn(count, 2) / 9)
        for i in range(panels)
    )
    images = f"the {count} images of the test split that S_0 gets wrong and a later S_i right"
    return Cloud(about, images, "resnet20", (0.36, 0.2), points, tuple(each))


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def pixels(picture: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(opened(picture).convert("RGB")).astype(int)


def test_a_png_of_as_many_panels_as_students() -> None:
    one, two, three, five = (opened(draw(cloud(20, panels))) for panels in (1, 2, 3, 5))
    assert one.format == "PNG"
    assert one.width >= module.LEAST_WIDTH * module.DPI - 1
    wide = module.LEFT + 3 * module.PANEL + 2 * module.GAP + module.MARGIN
    assert three.width == five.width == pytest.approx(wide * module.DPI, abs=1)
    assert one.width < two.width + 300 < three.width + 300
    another_row = (module.HEADING + module.PANEL) * module.DPI
    assert five.height - three.height == pytest.approx(another_row, abs=1)
    assert three.info["dpi"] == pytest.approx((module.DPI, module.DPI), abs=0.1)


def test_the_same_numbers_give_the_same_picture() -> None:
    found = cloud(30, 2)
    assert draw(found) == draw(found)


def centre(page: np.ndarray[Any, Any], colour: np.ndarray[Any, Any], column: int) -> Tensor:
    """Where a panel of the first row has this colour, as a share of its width and height, from below."""
    left = (module.LEFT + column * (module.PANEL + module.GAP)) * module.DPI
    top = (module.TITLE + module.HEADING) * module.DPI
    side = module.PANEL * module.DPI
    panel = page[round(top) : round(top + side), round(left) : round(left + side)]
    # Three dots over one another let a little of the white behind them through.
    mixed = colour + 0.25**3 * (255 - colour)
    rows, columns = np.nonzero(np.abs(panel - mixed).sum(-1) < 12)
    return torch.tensor([columns.mean() / side, 1 - rows.mean() / side])


def test_every_panel_has_the_teacher_at_the_same_place_and_its_own_student() -> None:
    """Three images at one point each: the places in the panels are those of the points."""
    teacher = torch.tensor([[-4.0, 1.0]]).repeat(3, 1).double()
    students = [torch.tensor([[4.0, y]]).repeat(3, 1).double() for y in (3.0, -3.0)]
    panels = tuple(Panel(f"S_{i}", "resnet8", 8.0, points) for i, points in enumerate(students))
    page = pixels(draw(Cloud("about", "all 3 images", "t", (0.5, 0.2), teacher, panels)))
    half = 4 * (1 + 2 * module.ROOM)  # the wider range is -4 to 4
    middle = torch.tensor([0.0, 0.0])
    for column, student in enumerate(students):
        for colour, points in ((RED, teacher), (BLUE, student)):
            wanted = ((points[0] - middle) / half + 1) / 2
            torch.testing.assert_close(centre(page, colour, column), wanted, atol=0.01, rtol=0)


def test_neither_cloud_hides_the_other() -> None:
    """Teacher and student at the same places: as much is seen of the one as of the other."""
    points = torch.randn(4000, 2).double()
    moved = points[torch.randperm(4000)]
    page = pixels(draw(Cloud("a", "all", "t", (0.5, 0.2), points, (Panel("S_0", "resnet8", 0.0, moved),))))
    red, blue = page[..., 0] - page[..., 2] > 30, page[..., 2] - page[..., 0] > 30
    assert 0.6 < red.sum() / blue.sum() < 1.7


def test_nothing_is_drawn_over_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DPI", DPI)  # coarse letters are wider
    long = "reskd res_students=resnet20,resnet14 stop_share=None tau=0.5 on cifar100, resnet20, seed 0"
    for drawn in (cloud(9, 1), cloud(300, 3, long), cloud(3000, 4)):
        page = pixels(draw(drawn))
        for edge in (page[:3], page[-3:], page[:, :3], page[:, -3:]):
            assert (edge == 255).all()


def test_the_caption_says_what_is_shown() -> None:
    said = module._caption(cloud(7, 2))
    assert said.startswith("Logits of the 7 images of the test split that S_0 gets wrong")
    assert "principal components of the teacher's logits" in said


def test_points_of_other_images_are_refused() -> None:
    panel = Panel("S_0", "resnet8", 1.0, torch.ones(4, 2))
    for panels in ((), (panel,)):
        with pytest.raises(ValueError, match=r"the same images.*got \(3, 2\) of the teacher and"):
            draw(Cloud("a", "all", "t", (0.5, 0.2), torch.ones(3, 2), panels))
