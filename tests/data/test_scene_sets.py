"""CamVid and PASCAL VOC in the layouts of their downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from painted import write
from PIL import Image

from cohobate.data.dataset import Dataset
from cohobate.data.scenes import VOID, Scenes
from cohobate.data.sets import SETS, source
from cohobate.data.sources import load_data, sets_in

SIZE = (32, 40)


def read(name: str, root: Path) -> Dataset:
    return load_data(name, root, SIZE)


def names(split: object) -> list[str]:
    assert isinstance(split, Scenes)
    return [f"{path.parent.parent.name}/{path.stem}" for path in split.paths]


# ---------------------------------------------------------------- CamVid


def camvid(root: Path, parts: Sequence[str] = ("train", "val", "test")) -> Path:
    for number, part in enumerate(parts):
        write(root / part, root / f"{part}annot", 2 + number)
    return root


def test_camvid_is_read_by_name_and_by_its_folder(tmp_path: Path) -> None:
    folder = camvid(tmp_path / "CamVid")
    data = read("camvid", tmp_path)
    assert len(data.classes) == 11 == SETS["camvid"].classes
    assert data.classes[0] == "sky"
    assert data.classes[10] == "bicyclist"
    assert data.test is not None
    assert data.val is not None
    assert [len(split) for split in (data.train, data.val, data.test())] == [2, 3, 4]
    assert "train has 2 images, the published set 367" in data.notes
    assert read("camvid", folder).name == "camvid"
    assert sets_in(folder) == sets_in(tmp_path) == ["camvid"]
    assert load_data(str(folder), Path(), SIZE).classes == data.classes


def test_camvid_ignores_11_and_refuses_12(tmp_path: Path) -> None:
    folder = camvid(tmp_path / "camvid")
    Image.fromarray(np.full((48, 60), 11, np.uint8)).save(folder / "trainannot/000.png")
    train = read("camvid", tmp_path).train
    assert isinstance(train, Scenes)
    assert train.coding.ids[11] == VOID
    Image.fromarray(np.full((48, 60), 12, np.uint8)).save(folder / "trainannot/000.png")
    with pytest.raises(ValueError, match=r"trainannot/000\.png: it holds the number 12 "):
        read("camvid", tmp_path)


def test_what_is_missing_of_camvid_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no camvid in .*trainannot.*to be had at https"):
        read("camvid", tmp_path)
    folder = camvid(tmp_path / "camvid", ["train"])
    data = read("camvid", tmp_path)
    assert data.val is None
    assert data.test is None
    assert "not there: val/ and valannot/" in data.notes
    assert source("camvid").whereabouts(tmp_path).lacking == ("val/", "valannot/", "test/", "testannot/")
    (folder / "trainannot/001.png").unlink()
    with pytest.raises(ValueError, match=r"1 file of .* no mask in trainannot/: 001\.png"):
        read("camvid", tmp_path)
    (folder / "train/001.png").unlink()
    write(folder / "other", folder / "trainannot", 1, names=["9"])
    with pytest.raises(ValueError, match=r"1 file of .* no image in train/: 9\.png"):
        read("camvid", tmp_path)


def test_the_size_of_camvid_is_its_own_where_none_is_given(tmp_path: Path) -> None:
    camvid(tmp_path / "camvid")
    assert load_data("camvid", tmp_path).shape == (3, 360, 480)


# ---------------------------------------------------------------- PASCAL VOC


def voc(root: Path, year: str, lists: dict[str, Sequence[str]]) -> Path:
    folder = root / "VOCdevkit" / f"VOC{year}"
    for part, listed in lists.items():
        (folder / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text("".join(f"{name}\n" for name in listed))
        write(folder / "JPEGImages", folder / "SegmentationClass", 0, names=list(listed), ending=".jpg")
    return folder


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """2007 with a test, and 2012, which repeats a picture of each list of 2007."""
    voc(tmp_path, "2007", {"trainval": ["000032", "000033"], "test": ["000068", "000175"]})
    voc(tmp_path, "2012", {"trainval": ["2007_000032", "2007_000068", "2007_000999", "2008_000032"]})
    return tmp_path


def test_a_picture_of_both_years_counts_once_and_one_of_the_test_is_not_trained_on(both: Path) -> None:
    data = read("voc_seg", both)
    assert data.classes[0] == "background"
    assert data.classes[20] == "tvmonitor"
    assert len(data.classes) == SETS["voc_seg"].classes == 21
    assert names(data.train) == [
        "VOC2007/000032",
        "VOC2007/000033",
        "VOC2012/2007_000999",
        "VOC2012/2008_000032",
    ]
    assert data.test is not None
    assert names(data.test()) == ["VOC2007/000068", "VOC2007/000175"]
    assert data.val is None
    assert any("1 picture of the test of VOC2007 and 1 of its trainval are left out" in n for n in data.notes)
    assert "trainval of VOC2007 has 2 names, the published list 422" in data.notes
    assert isinstance(data.train, Scenes)
    assert data.train.coding.ids[255] == VOID
    assert load_data("voc_seg", both).shape == (3, 512, 512)


def test_voc_is_found_in_its_folder_too(both: Path) -> None:
    assert sets_in(both) == sets_in(both / "VOCdevkit") == ["voc_seg"]
    assert len(load_data(str(both / "VOCdevkit"), Path(), SIZE).train) == 4
    found = source("voc_seg").whereabouts(both)
    assert found.place == both / "VOCdevkit"
    assert found.lacking == ()


def test_without_the_test_of_2007_it_says_so(tmp_path: Path) -> None:
    voc(tmp_path, "2007", {"trainval": ["000032"]})
    voc(tmp_path, "2012", {"trainval": ["2007_000032", "2007_000068"]})
    data = read("voc_seg", tmp_path)
    assert data.test is None
    assert names(data.train) == ["VOC2007/000032", "VOC2012/2007_000068"]
    assert "not there: test of VOC2007" in data.notes
    assert any("holds pictures of the test of VOC2007, which is not there" in note for note in data.notes)
    assert source("voc_seg").whereabouts(tmp_path).lacking == ("VOC2007/ImageSets/Segmentation/test.txt",)


def test_one_year_alone(tmp_path: Path) -> None:
    voc(tmp_path, "2012", {"trainval": ["2008_000001"]})
    data = read("voc_seg", tmp_path)
    assert names(data.train) == ["VOC2012/2008_000001"]
    assert "not there: trainval of VOC2007, test of VOC2007" in data.notes


def test_without_voc_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no voc_seg in .*VOCdevkit/VOC2007.*to be had at http"):
        read("voc_seg", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000032\n../secret\n", "lists '../secret', which is no name of a picture"),
        ("000032\n000032\n", "lists a name twice"),
        ("\n", "lists no name"),
        ("é", "is no list of names"),
    ],
)
def test_lists_of_voc_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    folder = voc(tmp_path, "2007", {"trainval": ["000032"]})
    (folder / "ImageSets/Segmentation/trainval.txt").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        read("voc_seg", tmp_path)


def test_a_file_of_voc_that_is_not_there_is_named(both: Path) -> None:
    (both / "VOCdevkit/VOC2012/SegmentationClass/2008_000032.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 file .*VOC2012 .*2008_000032\.png; unpack"):
        read("voc_seg", both)
