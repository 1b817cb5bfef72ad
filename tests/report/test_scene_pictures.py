"""The pictures of segmentation on pages: what is drawn, of which runs, and what is refused by its file."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from run_folders import MakeRun

from cohobate.config.colours import IGNORED_COLOUR, class_colours
from cohobate.core.metrics import MIOU
from cohobate.report.figures.scenes import RIGHT, TALLEST, WIDTH, WRONG, comparison_pictures, run_pictures
from cohobate.report.files import comparison_files, run_files
from cohobate.report.tables.comparison import compare
from cohobate.report.tables.each_class import comparison_rows, run_rows
from cohobate.runs.reading import Run, read_run

from .test_pages import check

CLASSES = ["sky", "road & <kerb>", "car"]
MASK = np.array([[0, 0, 255], [1, 1, 255]], np.uint8)
NAMED = np.array([[0, 1, 1], [1, 1, 2]], np.uint8)


def file(pixels: np.ndarray, kind: str) -> str:
    picture, out = Image.fromarray(pixels), io.BytesIO()
    if kind == "png":
        picture.putpalette([value for colour in class_colours(255) for value in colour] + [*IGNORED_COLOUR])
    picture.save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def write_pictures(
    run: Run, rows: tuple[int, ...] = (0, 4), guess: np.ndarray = NAMED, **changes: Any
) -> Run:
    image = np.full((*MASK.shape, 3), 90, np.uint8)
    one = {"image": file(image, "jpeg"), "mask": file(MASK, "png"), "named": file(guess, "png")}
    pictures = [{"row": row, **one, **changes} for row in rows]
    content = {"split": "val", "images": 5, "classes": CLASSES, "pictures": pictures}
    (run.folder / "pictures.json").write_text(json.dumps(content))
    return run


def drawn(svg: str) -> list[np.ndarray]:
    """The pictures of a drawing, in colours, from the first on."""
    data = re.findall(r'href="data:image/(?:png|jpeg);base64,([^"]+)"', svg)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")) for each in data]


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_image_mask_prediction_errors_and_a_legend(make_run: MakeRun) -> None:
    figure = run_pictures(write_pictures(make_run(headline=MIOU)))
    assert figure is not None
    assert figure.caption.startswith("2 of 5 images of the val split (rows 0, 4), as the network sees them")
    said = words(figure.svg)
    assert said[:4] == ["image", "mask", "prediction", "errors"]
    assert said[4:] == ["sky", "road & <kerb>", "car", "not counted", "right", "wrong"]
    assert len(drawn(figure.svg)) == 8
    _, mask, named, errors = drawn(figure.svg)[:4]
    colours = [*class_colours(3), *[(0, 0, 0)] * 252, IGNORED_COLOUR]
    for shown, ids in ((mask, MASK), (named, NAMED)):
        assert (shown == np.array(colours)[ids]).all()
    expected = [[RIGHT, WRONG, IGNORED_COLOUR], [RIGHT, RIGHT, IGNORED_COLOUR]]
    assert (errors == np.array(expected)).all()


def test_a_class_that_is_in_no_picture_is_not_in_the_legend(make_run: MakeRun) -> None:
    figure = run_pictures(write_pictures(make_run(headline=MIOU), guess=np.minimum(NAMED, 1)))
    assert figure is not None
    assert "car" not in words(figure.svg)


def test_nothing_is_drawn_outside(make_run: MakeRun) -> None:
    tall = np.zeros((40, 8), np.uint8)
    run = make_run(headline=MIOU)
    image = file(np.zeros((40, 8, 3), np.uint8), "jpeg")
    figure = run_pictures(write_pictures(run, image=image, mask=file(tall, "png"), named=file(tall, "png")))
    assert figure is not None
    root = ElementTree.fromstring(figure.svg)
    height = float(root.attrib["viewBox"].split()[3])
    boxes = [n.attrib for n in root if n.tag.endswith(("image", "rect"))]
    assert boxes
    for box in boxes:
        assert float(box["x"]) + float(box["width"]) <= WIDTH + 0.1
        assert float(box["y"]) + float(box["height"]) <= height
        assert float(box["height"]) <= TALLEST + 0.1
    assert all(float(b["height"]) == pytest.approx(5 * float(b["width"]), rel=0.01) for b in boxes[:2])


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = write_pictures(make_run(headline=MIOU))
    assert run_files(run) == run_files(run)


def test_pages_hold_them_and_stay_whole(make_run: MakeRun) -> None:
    runs = [
        write_pictures(make_run(f"{m}/{s}", method=m, seed=s, last=60 + s, headline=MIOU))
        for m in ("base", "kd")
        for s in (0, 1)
    ]
    page = check(run_files(runs[0])["report.html"])
    assert page.tags.count("image") == 8
    assert "Pictures" in page.text
    page = check(comparison_files(compare(runs, "base"), runs)["index.html"])
    assert page.tags.count("image") == 2 * (2 + 2)
    assert "of each method (last epoch, seed 0) names" in " ".join(page.text.split())


def test_runs_without_them_have_pages_as_before(make_run: MakeRun) -> None:
    for run in (make_run("old", headline=MIOU), make_run("classes")):
        assert run_pictures(run) is None
        assert "Pictures" not in check(run_files(run)["report.html"]).text
    unfinished = write_pictures(make_run("unfinished", headline=MIOU, finished=False))
    assert run_pictures(unfinished) is None
    run = make_run("none", headline=MIOU)
    write_pictures(run, rows=())
    assert run_pictures(run) is None


def test_of_several_methods_those_of_the_same_images_stand_together(make_run: MakeRun) -> None:
    runs = [make_run(m, method=m, headline=MIOU) for m in ("base", "kd", "at", "new", "unfinished")]
    write_pictures(runs[0], guess=MASK.clip(max=2))
    write_pictures(runs[1])
    write_pictures(runs[2], rows=(0, 3))
    figure = comparison_pictures(runs)
    assert figure is not None
    assert words(figure.svg)[:4] == ["image", "mask", "base", "kd"]
    assert len(drawn(figure.svg)) == 8
    assert comparison_pictures(runs[3:]) is None


def test_many_methods_go_below_one_another(make_run: MakeRun) -> None:
    runs = [write_pictures(make_run(f"m{i}", method=f"m{i}", headline=MIOU)) for i in range(5)]
    figure = comparison_pictures(runs)
    assert figure is not None
    assert words(figure.svg)[:9] == ["image", "mask", "m0", "m1", "m2", "image", "mask", "m3", "m4"]
    assert len(drawn(figure.svg)) == 2 * 9


def spoil(run: Run, text: str) -> None:
    (run.folder / "pictures.json").write_text(text)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"mask": base64.b64encode(b"no picture").decode()}, "a part of row 0 is not the png"),
        ({"mask": 7}, "pictures.0.mask"),
        ({"named": file(np.zeros((9, 9), np.uint8), "png")}, "parts of several sizes"),
        ({"mask": file(np.zeros((2, 3, 3), np.uint8), "jpeg")}, "row 0"),
        ({"other": 1}, "pictures.0.other"),
    ],
)
def test_a_file_of_another_form_is_named(broken: dict[str, Any], said: str, make_run: MakeRun) -> None:
    run = write_pictures(make_run(headline=MIOU), **broken)
    with pytest.raises(
        ValueError, match=r"pictures.json does not hold the pictures of a run .*remove it"
    ) as e:
        run_pictures(run)
    assert said in str(e.value)
    assert str(run.folder) in str(e.value)


def test_a_file_that_is_no_json_is_named(make_run: MakeRun) -> None:
    run = make_run(headline=MIOU)
    Path(run.folder / "pictures.json").write_text("{")
    with pytest.raises(ValueError, match=r"pictures.json does not hold the pictures of a run \(the file: "):
        run_pictures(run)


# ---------------------------------------------------------------- each class


def with_classes(run: Run, split: str, values: list[float | None]) -> Run:
    result = json.loads((run.folder / "result.json").read_text())
    result["last"][split]["network"]["class_iou"] = values
    (run.folder / "result.json").write_text(json.dumps(result))
    return read_run(run.folder)


def test_each_class_of_a_run(make_run: MakeRun) -> None:
    run = make_run(headline=MIOU)
    assert run_rows(run) == []
    for split, values in (("val", [70.0, 0.0, None]), ("test", [60.5, 1.25, None])):
        run = with_classes(run, split, values)
    expected = [
        {"class": "class 0", "val IoU, %": "70.00", "test IoU, %": "60.50"},
        {"class": "class 1", "val IoU, %": "0.00", "test IoU, %": "1.25"},
        {"class": "class 2", "val IoU, %": "—", "test IoU, %": "—"},
    ]
    assert run_rows(run) == expected
    write_pictures(run)
    assert [row["class"] for row in run_rows(run)] == CLASSES
    page = check(run_files(run)["report.html"])
    assert "Each class" in page.text
    assert "60.50" in page.text


def test_each_class_of_several_methods(make_run: MakeRun) -> None:
    runs = [
        with_classes(make_run(f"{m}/{s}", method=m, seed=s, headline=MIOU), "test", [60.0 + s, first, None])
        for m, first in (("base", 5.0), ("kd", 7.0))
        for s in (0, 2)
    ]
    comparison = compare(runs, "base")
    assert comparison_rows(comparison, runs) == [
        {"class": "class 0", "base": "61.00 ± 1.41", "kd": "61.00 ± 1.41"},
        {"class": "class 1", "base": "5.00 ± 0.00", "kd": "7.00 ± 0.00"},
        {"class": "class 2", "base": "—", "kd": "—"},
    ]
    assert "Each class" in check(comparison_files(comparison, runs)["index.html"]).text
    old = [make_run(f"old {m}", method=m, headline=MIOU) for m in ("base", "kd")]
    assert "Each class" not in check(comparison_files(compare(old, "base"), old)["index.html"]).text
