"""Data sets with official lists of their splits, on small files in the very layouts of their downloads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cohobate.data.dataset import Dataset, Files, Images
from cohobate.data.reader import Care
from cohobate.data.sets import SETS, source
from cohobate.data.sources import load_data, sets_in

SHARES = {"train": 2, "test": 1}
"""Images of each class."""


@cache
def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 8), (shade, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(file: Path, label: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg(label))


def write(file: Path, rows: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows))


def raf_db(root: Path) -> Path:
    """In the list both splits are mixed, as published."""
    rows = []
    for part, share in SHARES.items():
        for number in range(7 * share):
            label, name = number % 7, f"{part}_{number + 1:05}"
            put(root / f"basic/Image/aligned/{name}_aligned.jpg", label)
            rows.append(f"{name}.jpg {label + 1}")
    write(root / "basic/EmoLabel/list_patition_label.txt", rows)
    return root / "basic"


def raf_db_sorted(root: Path) -> Path:
    for part, share in SHARES.items():
        for number in range(7 * share):
            put(root / f"DATASET/{part}/{number % 7 + 1}/{part}_{number:05}_aligned.jpg", number % 7)
    return root / "DATASET"


def cub200(root: Path) -> Path:
    place = root / "CUB_200_2011"
    names, labels, split = [], [], []
    for label in range(200):
        for number in range(3):
            name = f"{label + 1:03}.Kind_of_bird_{label}/Bird_{label}_{number}.jpg"
            put(place / "images" / name, label)
            names.append(f"{len(names) + 1} {name}")
            labels.append(f"{len(names)} {label + 1}")
            split.append(f"{len(names)} {int(number < 2)}")
    write(place / "images.txt", names)
    write(place / "image_class_labels.txt", labels)
    write(place / "train_test_split.txt", split)
    write(place / "classes.txt", [f"{label + 1} {label + 1:03}.Kind_of_bird_{label}" for label in range(200)])
    return place


def mit67(root: Path) -> Path:
    place = root / "mit67"
    for part, share in SHARES.items():
        rows = [f"room_{label:02}/{part} {n}.jpg" for label in range(67) for n in range(share)]
        for row in rows:
            put(place / "Images" / row, int(row[5:7]))
        write(place / f"{part.title()}Images.txt", rows)
    return place


def stanford40(root: Path) -> Path:
    place = root / "Stanford40"
    for part, share in SHARES.items():
        for label in range(40):
            rows = [f"act_{label:02}_{part}_{n}.jpg" for n in range(share)]
            for row in rows:
                put(place / "JPEGImages" / row, label)
            write(place / f"ImageSplits/act_{label:02}_{part}.txt", rows)
        write(place / f"ImageSplits/{part}.txt", ["all of them"])
    write(place / "ImageSplits/actions.txt", ["action_name number_of_images"])
    return place


def matlab(file: Path, names: list[str], labels: list[int]) -> None:
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    numbers = np.array(labels, np.uint8)[:, None]
    savemat(file, {"file_list": cells, "annotation_list": cells, "labels": numbers})


def dogs(root: Path) -> Path:
    place = root / "stanford_dogs"
    for part, share in SHARES.items():
        rows = [
            (f"n{label:08}-Big_dog_{label}/{part}_{n}.jpg", label)
            for label in range(120)
            for n in range(share)
        ]
        for name, label in rows:
            put(place / "Images" / name, label)
        matlab(place / f"{part}_list.mat", [name for name, _ in rows], [label + 1 for _, label in rows])
    return place


MAKERS: dict[str, Callable[[Path], Path]] = {
    "raf_db": raf_db,
    "cub200": cub200,
    "mit67": mit67,
    "stanford40": stanford40,
    "dogs": dogs,
}
PUBLISHED = {
    "raf_db": (12271, 3068),
    "cub200": (5994, 5794),
    "mit67": (5360, 1340),
    "stanford40": (4000, 5532),
    "dogs": (12000, 8580),
}


NAMES = {
    "raf_db": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "cub200": ("Kind of bird 0", "Kind of bird 1"),
    "mit67": ("room_00", "room_01"),
    "stanford40": ("act 00", "act 01"),
    "dogs": ("Big dog 0", "Big dog 1"),
}


def load(name: str, root: Path, size: int | None = 8, **options: object) -> Dataset:
    return load_data(name, root, size, **options)  # type: ignore[arg-type]


def shades(split: object) -> list[int]:
    """The label that each picture was painted with."""
    assert isinstance(split, Images)
    return [int(value) for value in split.x[:, 4, 4, 0].tolist()]


def refused(name: str, root: Path, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=re.escape(message)):
        load(name, root)


@pytest.mark.parametrize("name", [*MAKERS, "raf_db sorted"])
def test_each_picture_has_its_own_label_in_its_own_split(name: str, tmp_path: Path) -> None:
    name, _, form = name.partition(" ")
    place = raf_db_sorted(tmp_path) if form else MAKERS[name](tmp_path)
    classes = SETS[name].classes
    dataset = load(name, tmp_path)
    assert dataset.test is not None
    assert dataset.val is None
    assert len(dataset.classes) == len(set(dataset.classes)) == classes
    assert dataset.classes[: len(NAMES[name])] == NAMES[name]
    for split, share in ((dataset.train, 2), (dataset.test(), 1)):
        assert len(split) == share * classes
        assert isinstance(split, Images)
        # JPEG keeps a shade to within 3.
        assert all(abs(a - b) <= 3 for a, b in zip(shades(split), split.y.tolist(), strict=True))
        assert split.y.unique().tolist() == list(range(classes))
    train, test = (f"{number:,}" for number in PUBLISHED[name])
    assert dataset.notes[0] == (
        f"not the published number of images: train has {2 * classes} of {train}, "
        f"test has {classes} of {test}"
    )
    assert f"{train} train, {test} test" == SETS[name].images
    assert sets_in(tmp_path) == [name]
    assert load_data(str(place), Path(), 8).name == name or form
    found = source(name).whereabouts(tmp_path)
    assert (found.place, found.lacking) == (place, ())
    assert source(name).whereabouts(tmp_path / "nowhere").place is None


@pytest.mark.parametrize("name", MAKERS)
def test_sizes_are_those_of_the_papers(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    dataset = load(name, tmp_path, None)
    assert dataset.shape == ((3, 32, 32) if name == "raf_db" else (3, 224, 224))
    assert isinstance(dataset.train, Images if name == "raf_db" else Files)
    assert (dataset.resized_crop, dataset.flip) == (True, True)
    assert load_data(name, tmp_path, 80, 1).shape == (1, 80, 80)


@pytest.mark.parametrize("name", MAKERS)
def test_a_listed_picture_that_is_missing_is_named_at_once(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    large = load(name, tmp_path, 80).train
    assert isinstance(large, Files)
    file = large.paths[0]
    assert isinstance(file, Path)
    file.unlink()
    images = 3 * SETS[name].classes
    refused(name, tmp_path, f"1 of {images} image files cannot be read: {file}: No such file or directory")
    assert len(load(name, tmp_path, care=Care(skip=True)).train) == 2 * SETS[name].classes - 1


def bad_line(file: str, line: str) -> Callable[[Path], object]:
    """The second line of a list in place of its own."""

    def change(place: Path) -> object:
        rows = (place / file).read_text().splitlines()
        return write(place / file, [rows[0], line, *rows[2:]])

    return change


def bad_names(part: str, names: list[str], labels: list[int]) -> Callable[[Path], object]:
    return lambda place: matlab(place / f"{part}_list.mat", names, labels)


LABELS = "EmoLabel/list_patition_label.txt"
FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("raf_db", bad_line(LABELS, "train_00002.jpg"), "line 2: 2 columns are expected, got 'train_00002.jpg'"),
    ("raf_db", bad_line(LABELS, "train_00002.jpg 8"), "the label of train_00002.jpg must be 1 to 7, got '8'"),
    ("raf_db", bad_line(LABELS, "val_00002.jpg 1"), "has 'val_00002.jpg', which is neither train_ nor test_"),
    (
        "raf_db",
        bad_line(LABELS, "train_/../../x.jpg 1"),
        "a list names 'train_/../../x_aligned.jpg', which is not in",
    ),
    ("raf_db", bad_line(LABELS, "train_00001.jpg 1"), "twice, in train and in train"),
    ("cub200", bad_line("images.txt", "1 a/b.jpg"), "images.txt has '1' twice"),
    ("cub200", bad_line("images.txt", "2 ../../b.jpg"), "a list names '../../b.jpg', which is not in"),
    (
        "cub200",
        bad_line("image_class_labels.txt", "2 201"),
        "the class of image 2 must be 1 to 200, got '201'",
    ),
    ("cub200", bad_line("train_test_split.txt", "2 2"), "the split of image 2 must be 0 to 1, got '2'"),
    (
        "cub200",
        bad_line("train_test_split.txt", "9999 1"),
        "images.txt number different images: '2' is in one",
    ),
    (
        "cub200",
        lambda place: write(place / "classes.txt", ["1 001.A"]),
        "has 1 classes, and 1 to 200 are expected",
    ),
    (
        "mit67",
        bad_line("TrainImages.txt", "/etc/x.jpg"),
        "TrainImages.txt has 68 classes, and 67 are expected",
    ),
    (
        "mit67",
        bad_line("TestImages.txt", "attic/x.jpg"),
        "has 'attic/x.jpg', of a class that train does not have",
    ),
    ("mit67", bad_line("TestImages.txt", "room_00/train 0.jpg"), "twice, in train and in test"),
    ("mit67", bad_line("TrainImages.txt", "room_00/../../x.jpg"), "a list names 'room_00/../../x.jpg'"),
    (
        "stanford40",
        lambda place: (place / "ImageSplits/act_07_train.txt").unlink(),
        "has lists of 39 actions (<action>_train.txt), and 40 are expected",
    ),
    (
        "stanford40",
        bad_line("ImageSplits/act_07_train.txt", "act_06_train_0.jpg"),
        "twice, in train and in train",
    ),
    ("stanford40", bad_line("ImageSplits/act_07_train.txt", "/etc/passwd"), "a list names '/etc/passwd'"),
    (
        "dogs",
        lambda place: (place / "test_list.mat").write_bytes(b"\x80\x04K\x01."),
        "is no list of dogs in MATLAB's",
    ),
    ("dogs", bad_names("test", ["n1-A/x.jpg"], [121]), "labels must be 1 to 120, got 121"),
    ("dogs", bad_names("test", ["x.jpg"], [1]), "a name must be <breed>/<file>, got 'x.jpg'"),
    (
        "dogs",
        bad_names("test", ["n1-A/x.jpg"], [1]),
        "give label 1 to n00000000-Big_dog_0 and, in test, to n1-A",
    ),
    (
        "dogs",
        bad_names("train", ["n00000000-Big_dog_0/x.jpg"], [1]),
        "has no training image of class 'Big dog 1'",
    ),
    (
        "dogs",
        bad_names("test", ["n00000000-Big_dog_0/../../x.jpg"], [1]),
        "a list names 'n00000000-Big_dog_0/../../x",
    ),
    (
        "dogs",
        lambda place: savemat(place / "test_list.mat", {"labels": np.ones((3, 1))}),
        "file_list must be a column, (N, 1), got nothing",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), FAULTS)
def test_a_damaged_list_is_refused_by_its_file(
    name: str, change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    change(MAKERS[name](tmp_path))
    refused(name, tmp_path, message)


def test_a_class_without_a_folder(tmp_path: Path) -> None:
    place = raf_db_sorted(tmp_path)
    for file in (place / "test/4").iterdir():
        file.unlink()
    (place / "test/4").rmdir()
    refused("raf_db", tmp_path, f"{place / 'test'} has no folder of the class '4'")
    (place / "test/8").mkdir()
    refused("raf_db", tmp_path, f"{place / 'test'} has a folder '8', which is no class")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cub200", "image_class_labels.txt"),
        ("mit67", "TestImages.txt"),
        ("stanford40", "ImageSplits/act_03_test.txt"),
        ("dogs", "test_list.mat"),
    ],
)
def test_a_list_that_is_missing(name: str, file: str, tmp_path: Path) -> None:
    place = MAKERS[name](tmp_path)
    (place / file).unlink()
    refused(name, tmp_path, f"{place / file} is not there", FileNotFoundError)


@pytest.mark.parametrize(
    ("name", "archive", "command"),
    [
        ("raf_db", "basic.zip", "unzip {0}/basic.zip -d {0}"),
        ("cub200", "CUB_200_2011.tgz", "tar -xf {0}/CUB_200_2011.tgz -C {0}"),
        ("mit67", "indoorCVPR_09.tar", "tar -xf {0}/indoorCVPR_09.tar -C {0}"),
        ("stanford40", "Stanford40_JPEGImages.zip", "unzip {0}/Stanford40_JPEGImages.zip -d {0}"),
        ("dogs", "images.tar", "tar -xf {0}/images.tar -C {0}"),
    ],
)
def test_an_archive_has_to_be_unpacked_by_a_command(
    name: str, archive: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / archive).touch()
    message = f"{name} is read from its folder, and {tmp_path / archive} is not unpacked: "
    refused(name, tmp_path, message + command.format(tmp_path), FileNotFoundError)


def test_aligned_faces_that_are_still_packed(tmp_path: Path) -> None:
    place = raf_db(tmp_path)
    (place / "Image/aligned").rename(place / "Image/other")
    refused("raf_db", tmp_path, f"unpack aligned.zip in {place / 'Image'}", FileNotFoundError)


def test_the_lists_of_dogs_may_lie_in_a_folder_of_theirs(tmp_path: Path) -> None:
    place = dogs(tmp_path)
    (place / "lists").mkdir()
    for part in SHARES:
        (place / f"{part}_list.mat").rename(place / "lists" / f"{part}_list.mat")
    assert len(load("dogs", tmp_path).train) == 240
    found = source("dogs").whereabouts(tmp_path)
    assert sorted(found.files) == ["lists/test_list.mat", "lists/train_list.mat"]
    assert found.lacking == ()
    (place / "lists/test_list.mat").unlink()
    assert source("dogs").whereabouts(tmp_path).lacking == ("test_list.mat",)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    place = mit67(tmp_path)
    put(tmp_path / "outside.jpg", 0)
    file = place / "Images/room_00/train 0.jpg"
    file.unlink()
    file.symlink_to(tmp_path / "outside.jpg")
    refused("mit67", tmp_path, "a list names 'room_00/train 0.jpg', which is not in")
