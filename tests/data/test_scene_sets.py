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
    assert "not the published number of images: train has 2 of 367, val has 3 of 101, test has 4 of 233" in (
        data.notes
    )
    assert read("camvid", folder).name == "camvid"
    assert sets_in(folder) == sets_in(tmp_path) == ["camvid"]
    assert load_data(str(folder), Path(), SIZE).classes == data.classes


def test_a_folder_of_another_name_is_not_taken_for_camvid(tmp_path: Path) -> None:
    """Its classes are others: they would be named, and counted, as those of CamVid."""
    folder = camvid(tmp_path / "myroads")
    (folder / "classes.csv").write_text("id,name\n0,road\n1,car\n2,sky\n3,tree\n")
    assert sets_in(folder) == []
    with pytest.raises(ValueError, match=r"myroads has train and trainannot.*by its name.*train/images and"):
        load_data(str(folder), Path(), SIZE)
    assert read("camvid", folder).name == "camvid"  # where the name says it
    for part in ("train", "val", "test"):
        (folder / part).rename(folder / "images")
        (folder / part).mkdir()
        (folder / "images").rename(folder / part / "images")
        (folder / f"{part}annot").rename(folder / part / "masks")
    assert load_data(str(folder), Path(), SIZE).classes == ("road", "car", "sky", "tree")


def test_classes_of_images_beside_annotations_are_not_taken_for_camvid(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "train" / name, tmp_path / "trainannot", 1, names=[f"{name}0"])
    assert load_data(str(tmp_path), Path(), SIZE).classes == ("cat", "dog")


def test_a_class_may_be_a_link_to_another_folder_of_the_data_set(tmp_path: Path) -> None:
    for name in ("train/cat", "pool/dog"):
        write(tmp_path / name, tmp_path / "elsewhere", 1)
    (tmp_path / "train/dog").symlink_to("../pool/dog")
    assert load_data(str(tmp_path), Path(), SIZE).classes == ("cat", "dog")


def test_hidden_files_of_camvid_are_passed_over_and_others_are_told(tmp_path: Path) -> None:
    folder = camvid(tmp_path / "camvid")
    (folder / "train/._000.png").write_bytes(b"of a Mac")
    (folder / "train/000.txt").write_text("a remark")
    data = read("camvid", tmp_path)
    assert len(data.train) == 2
    assert "not read in train: 1 .txt (000.txt)" in data.notes


def test_links_of_camvid_lead_to_its_own_folder(tmp_path: Path) -> None:
    folder = camvid(tmp_path / "camvid")
    (folder / "train/001.png").unlink()
    (folder / "train/001.png").symlink_to("000.png")
    assert len(read("camvid", tmp_path).train) == 2
    (tmp_path / "secret.png").write_bytes((folder / "train/000.png").read_bytes())
    (folder / "train/001.png").unlink()
    (folder / "train/001.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"train/001\.png is a link that leaves .*secret\.png"):
        read("camvid", tmp_path)
    for name in ("train", "trainannot"):
        (folder / name / "001.png").unlink()
        (folder / name / "001.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"train/001\.png cannot be read: it is a link to nowhere\.png"):
        read("camvid", tmp_path)


def test_camvid_ignores_11_and_refuses_12(tmp_path: Path) -> None:
    folder = camvid(tmp_path / "camvid")
    Image.fromarray(np.full((48, 60), 11, np.uint8)).save(folder / "trainannot/000.png")
    train = read("camvid", tmp_path).train
    assert isinstance(train, Scenes)
    assert train.coding.ids[11] == VOID
    Image.fromarray(np.full((48, 60), 12, np.uint8)).save(folder / "trainannot/000.png")
    with pytest.raises(ValueError, match=r"trainannot/000\.png: it holds the number 12 ") as refused:
        read("camvid", tmp_path)
    assert "classes.csv" not in str(refused.value)  # its classes are its own


def test_what_is_missing_of_camvid_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no camvid in .*trainannot/.*, from https.*--data-root"):
        read("camvid", tmp_path)
    folder = camvid(tmp_path / "camvid", ["train"])
    data = read("camvid", tmp_path)
    assert data.val is None
    assert data.test is None
    assert any("train has 2 of 367, no val split of 101, no test split of 233" in note for note in data.notes)
    found = source("camvid").whereabouts(tmp_path)
    assert found.place == folder
    assert found.lacking == ("val", "valannot", "test", "testannot")
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
    assert any("VOC2007/trainval has 2 of 422, VOC2007/test has 2 of 210" in note for note in data.notes)
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
    assert any("no VOC2007/test split of 210" in note for note in data.notes)
    assert any("holds pictures of the test of VOC2007, which is not there" in note for note in data.notes)
    assert source("voc_seg").whereabouts(tmp_path).lacking == ("VOC2007/ImageSets/Segmentation/test.txt",)


def test_one_year_alone(tmp_path: Path) -> None:
    voc(tmp_path, "2012", {"trainval": ["2008_000001"]})
    data = read("voc_seg", tmp_path)
    assert names(data.train) == ["VOC2012/2008_000001"]
    assert any("no VOC2007/trainval split of 422, no VOC2007/test split" in note for note in data.notes)


def test_without_voc_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no voc_seg in .*VOCdevkit/VOC2007/.*, from http.*data-root"
    ):
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


@pytest.mark.parametrize("file", ["JPEGImages/2008_000032.jpg", "SegmentationClass/2008_000032.png"])
def test_links_of_voc_lead_to_its_own_folder(both: Path, file: str) -> None:
    linked = both / "VOCdevkit/VOC2012" / file
    linked.rename(both / linked.name)
    linked.symlink_to(both / linked.name)
    with pytest.raises(ValueError, match=rf"a list names '{file}', which is not in .*VOC2012"):
        read("voc_seg", both)
