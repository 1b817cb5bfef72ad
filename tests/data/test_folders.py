"""What a folder may look like, and that what is not read is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from cohobate.data.dataset import fingerprint
from cohobate.data.sources import load_data


def paint(file: Path, grey: int = 9, size: int = 12) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (grey, grey, grey)).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate(("cat", "dog")):
        for i in range(3):
            paint(tmp_path / "pets" / "train" / name / f"{i}.png", 10 * k + i)
    return tmp_path / "pets"


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val"])
def test_the_usual_names_of_a_validation_split(name: str, folder: Path) -> None:
    paint(folder / name / "dog" / "x.png")
    assert load_data(str(folder), Path()).val.y.tolist() == [1]


@pytest.mark.parametrize(("train", "test"), [("training", "testing"), ("Train", "TEST")])
def test_other_names_of_the_other_splits(train: str, test: str, folder: Path) -> None:
    (folder / "train").rename(folder / train)
    paint(folder / test / "dog" / "x.png")
    dataset = load_data(str(folder), Path())
    assert (len(dataset.train), dataset.test().y.tolist()) == (6, [1])


def test_two_folders_for_one_split_are_refused(folder: Path) -> None:
    for name in ("val", "valid"):
        paint(folder / name / "dog" / "x.png")
    with pytest.raises(ValueError, match="pets has both val and valid, and either could be its val split"):
        load_data(str(folder), Path())


# ---------------------------------------------------------------- what is read, and what is not


def test_images_below_a_class_are_read(folder: Path) -> None:
    paint(folder / "train" / "cat" / "a" / "b" / "x.png", 77)
    paint(folder / "train" / "cat" / "z.png", 78)
    dataset = load_data(str(folder), Path())
    assert dataset.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 77, 78, 10, 11, 12]
    assert dataset.train.y.tolist() == [0] * 5 + [1] * 3
    assert dataset.notes == ()


@pytest.mark.parametrize("name", ["x.tif", "x.TIFF", "x.gif", "x.jfif", "x.pgm", "x.jp2", "x.webp"])
def test_other_extensions_are_read(name: str, folder: Path) -> None:
    Image.new("L", (12, 12)).save(folder / "train" / "dog" / name)
    assert len(load_data(str(folder), Path()).train) == 7


def test_what_is_not_read_is_counted_by_kind_and_named(folder: Path) -> None:
    paint(folder / "val" / "dog" / "1.png")
    for name in (
        "train/cat/a.txt",
        "train/dog/b.TXT",
        "train/dog/deep/c.txt",
        "train/x.heic",
        "val/dog/README",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no image")
    paint(folder / "train" / "of-no-class.png")
    for name in ("masks", "extra"):
        paint(folder / name / "1.png")
    (folder / "labels.csv").write_text("a")
    (folder / "train" / "cat" / "again").symlink_to(folder / "train" / "dog", target_is_directory=True)
    assert load_data(str(folder), Path()).notes == (
        "not read beside the splits: 2 folders (extra, masks), 1 .csv (labels.csv)",
        "not read in train: 3 .txt (cat/a.txt, dog/b.TXT ...), 1 .heic (x.heic), 1 .png (of-no-class.png), "
        "1 linked folder (cat/again)",
        "not read in val: 1 without an extension (dog/README)",
    )


def test_a_pipe_that_is_named_like_an_image_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "train" / "cat" / "pipe.png")
    dataset = load_data(str(folder), Path())
    assert dataset.notes == ("not read in train: 1 special file (cat/pipe.png)",)


def test_what_systems_leave_behind_is_passed_over(folder: Path) -> None:
    for name in (".DS_Store", "train/.DS_Store", "train/cat/Thumbs.db", "train/cat/._1.png", "desktop.ini"):
        (folder / name).write_bytes(b"\0")
    dataset = load_data(str(folder), Path())
    assert (len(dataset.train), dataset.notes) == (6, ())


def test_a_size_that_is_guessed_from_the_first_images_is_said(folder: Path) -> None:
    for i in range(40):
        paint(folder / "train" / "cat" / f"a{i}.png")
    paint(folder / "train" / "dog" / "z.png", size=30)
    (note,) = load_data(str(folder), Path()).notes
    assert note.startswith("1 of 47 images are not 12 x 12 pixels as the others are")
    assert load_data(str(folder), Path(), 12).notes == ()


def test_long_pictures_are_pointed_out(folder: Path) -> None:
    Image.new("RGB", (300, 60)).save(folder / "train" / "dog" / "long.png")
    (note,) = load_data(str(folder), Path(), 32).notes
    assert note.startswith(
        "1 of 7 images have one side more than 2 times the other (the longest is 300 x 60)"
    )
    assert "--fit pad" in note


# ---------------------------------------------------------------- names that are no text, links to nowhere


@pytest.mark.parametrize("size", [12, 72])
def test_a_file_name_that_is_not_utf_8_is_read(size: int, folder: Path) -> None:
    paint(folder / "train" / "dog" / "caf\udce9.png", 200)
    dataset = load_data(str(folder), Path(), size)
    assert len(dataset.train) == 7
    before = fingerprint(dataset)
    paint(folder / "train" / "dog" / "caf\udcea.png", 200)
    assert fingerprint(load_data(str(folder), Path(), size)) != before


def test_a_damaged_file_whose_name_is_not_utf_8_is_named_in_letters(folder: Path) -> None:
    (folder / "train" / "dog" / "caf\udce9.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"dog/caf\\xe9.png: it is no image") as caught:
        load_data(str(folder), Path())
    assert str(caught.value).encode()


def test_a_class_whose_name_is_not_utf_8_is_refused(folder: Path) -> None:
    paint(folder / "train" / "caf\udce9" / "1.png")
    with pytest.raises(ValueError, match=r"class folder .*train/caf\\xe9 is not UTF-8.*; rename it"):
        load_data(str(folder), Path())


@pytest.mark.parametrize("place", ["train/dog/x.png", "train/emu", "valid", "train/dog/deep/x.png"])
def test_a_broken_link_is_named(place: str, folder: Path) -> None:
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).symlink_to("gone.png")
    with pytest.raises(ValueError, match=rf"{place}: it is a link to gone.png, which is not there"):
        load_data(str(folder), Path())


def test_a_link_to_itself_is_named(folder: Path) -> None:
    (folder / "train" / "dog" / "x.png").symlink_to("x.png")
    with pytest.raises(ValueError, match=r"dog/x.png: it is a link to x.png"):
        load_data(str(folder), Path())


# ---------------------------------------------------------------- the check


def damaged(folder: Path) -> Path:
    """In the test split, a picture that is cut short, and one that is damaged in its middle only."""
    for part in ("train", "test"):
        paint(folder / part / "dog" / "good.png", size=40)
    noise = Image.effect_noise((64, 64), 90)
    noise.save(folder / "test" / "dog" / "cut.jpg")
    whole = (folder / "test" / "dog" / "cut.jpg").read_bytes()
    (folder / "test" / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    noise.save(folder / "test" / "dog" / "inside.png")
    whole = (folder / "test" / "dog" / "inside.png").read_bytes()
    middle = len(whole) // 2
    (folder / "test" / "dog" / "inside.png").write_bytes(
        whole[: middle - 200] + bytes(400) + whole[middle + 200 :]
    )
    return folder


@pytest.mark.parametrize("size", [12, 72])
def test_files_that_are_cut_short_are_found_at_the_start(size: int, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"1 of 10 image files .*test/dog/cut.jpg: .*trunc") as caught:
        load_data(str(damaged(folder)), Path(), size)
    assert "--skip-unreadable" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "tif"])
def test_a_picture_with_something_behind_its_end_is_read(ending: str, folder: Path) -> None:
    file = folder / "train" / "dog" / f"x.{ending}"
    paint(file)
    file.write_bytes(file.read_bytes() + b"trailing" * 100)
    assert len(load_data(str(folder), Path()).train) == 7


@pytest.mark.parametrize(("content", "why"), [(b"", "it is empty"), (b"<html>", "it is no image")])
def test_a_file_that_is_no_image_is_named(content: bytes, why: str, folder: Path) -> None:
    (folder / "train" / "dog" / "x.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=f"dog/x.jpg: {why}"):
        load_data(str(folder), Path())


def test_many_are_listed_as_the_first_few(folder: Path) -> None:
    for i in range(8):
        (folder / "train" / "dog" / f"x{i}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"8 of 14 image files .*x4.jpg: it is empty; and 3 more; mend"):
        load_data(str(folder), Path())


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match="train/dog cannot be read: Permission denied"):
        load_data(str(folder), Path())


def test_without_the_check_only_the_test_split_of_files_is_read_late(folder: Path) -> None:
    from cohobate.data.reader import Care

    dataset = load_data(str(damaged(folder)), Path(), 12, care=Care(check=False))
    assert dataset.notes[-1] == "the images were not checked before the training (--no-check)"
    with pytest.raises(ValueError, match=r"test/dog/cut.jpg cannot be decoded: .*; mend or remove it"):
        dataset.test()


@pytest.mark.parametrize("size", [12, 72])
def test_files_that_cannot_be_decoded_are_skipped_on_request_and_said(size: int, folder: Path) -> None:
    from cohobate.data.reader import Care

    (damaged(folder) / "train" / "cat" / "x.png").symlink_to("gone.png")
    dataset = load_data(str(folder), Path(), size, care=Care(skip=True))
    assert (len(dataset.train), dataset.test().y.tolist()) == (7, [1])
    note = next(note for note in dataset.notes if "skipped" in note)
    assert note.startswith("3 unreadable files skipped: ")
    for name in ("cat/x.png: it is a link", "dog/cut.jpg: ", "dog/inside.png: "):
        assert name in note


def test_a_class_of_which_nothing_can_be_read_is_refused(folder: Path) -> None:
    from cohobate.data.reader import Care

    for i in range(3):
        (folder / "train" / "cat" / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the images of class 'cat' in train can be read"):
        load_data(str(folder), Path(), care=Care(skip=True))
    with pytest.raises(ValueError, match="skip_unreadable finds such files by the check"):
        Care(check=False, skip=True)


def test_the_check_says_how_far_it_is(folder: Path) -> None:
    from cohobate.data.reader import Care

    for i in range(100):
        paint(folder / "train" / "cat" / f"a{i}.png")
    seen: list[tuple[int, int]] = []
    load_data(str(folder), Path(), care=Care(progress=lambda *done: seen.append(done)))
    assert seen == [(64, 106), (106, 106)]
