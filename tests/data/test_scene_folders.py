"""A user's folder of pictures and masks: its arrangements, its classes, its mistakes by their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import COLOURS, blocks, write
from PIL import Image

from cohobate.data import masks, scene_classes
from cohobate.data.dataset import Dataset, Files, fingerprint, hold_out, limit
from cohobate.data.folder import Care
from cohobate.data.pictures import Reading
from cohobate.data.scenes import VOID, Scenes
from cohobate.data.sources import load_data

SIZE = (32, 40)
NONE = Care(check=False)


def read(root: Path, care: Care | None = None) -> Dataset:
    return load_data(str(root), Path(), SIZE, care=care)


def scenes(dataset: Dataset, part: str = "train") -> Scenes:
    split = dataset.test() if part == "test" and dataset.test else getattr(dataset, part)
    assert isinstance(split, Scenes)
    return split


def names(dataset: Dataset, part: str = "train") -> list[str]:
    split = scenes(dataset, part)
    assert [path.stem for path in split.paths] == [path.stem for path in split.masks]
    return [path.stem for path in split.paths]


def put(file: Path, value: int, size: tuple[int, int] = (48, 60)) -> None:
    Image.fromarray(np.full(size, value, np.uint8)).save(file)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """images/ and masks/ with 6 pictures, named 000 to 005."""
    write(tmp_path / "images", tmp_path / "masks", 6)
    return tmp_path


# ---------------------------------------------------------------- arrangements


def test_splits_with_images_and_masks_in_each(tmp_path: Path) -> None:
    for number, part in enumerate(["train", "Val", "testing"]):
        write(tmp_path / part / "images", tmp_path / part / "masks", 3 + number)
    data = read(tmp_path)
    assert data.task == "segmentation"
    assert data.shape == (3, *SIZE)
    assert [len(names(data, part)) for part in ("train", "val", "test")] == [3, 4, 5]
    assert data.name == tmp_path.name
    assert data.flip
    assert not any("test split" in note for note in data.notes)


def test_images_and_masks_with_the_splits_in_each(tmp_path: Path) -> None:
    for number, part in enumerate(["train", "val"]):
        write(tmp_path / "images" / part, tmp_path / "Masks" / part, 3 + number)
    data = read(tmp_path)
    assert [len(names(data, part)) for part in ("train", "val")] == [3, 4]
    assert data.test is None
    assert "there is no test split" in data.notes


def test_images_and_masks_alone_are_all_for_training(flat: Path) -> None:
    data = read(flat)
    assert names(data) == [f"{number:03d}" for number in range(6)]
    assert data.val is None
    assert data.test is None
    assert "there is no test split" in data.notes


def test_pictures_lie_in_folders_of_their_own_and_have_other_endings(tmp_path: Path) -> None:
    write(tmp_path / "images/a", tmp_path / "masks/a", 2, ending=".jpg")
    write(tmp_path / "images/b", tmp_path / "masks/b", 2, seed=1, ending=".jpg")
    assert names(read(tmp_path)) == ["000", "001", "000", "001"]


def test_lists_of_names_divide_them(flat: Path) -> None:
    (flat / "train.txt").write_text("004\n001.png\n\n")
    (flat / "valid.txt").write_text("000\r\n")
    (flat / "test.txt").write_text("002\n")
    data = read(flat)
    assert names(data) == ["004", "001"]
    assert names(data, "val") == ["000"]
    assert names(data, "test") == ["002"]
    assert "2 pictures in no list (train.txt, valid.txt, test.txt), and not read" in data.notes


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train.txt": "000\n../../secret\n"}, "train.txt lists '../../secret', and there is no such"),
        ({"train.txt": "000", "test.txt": "001\n000"}, "000 is in train.txt and again in test.txt"),
        ({"train.txt": "000\n000"}, "000 is in train.txt and again in train.txt"),
        ({"test.txt": "000"}, "test.txt and no train.txt"),
        ({"train.txt": "000", "val.txt": "\n"}, "val.txt lists no picture"),
        ({"train.txt": "000", "val.txt": "001", "valid.txt": "002"}, "two lists of one split"),
    ],
)
def test_lists_that_are_wrong(flat: Path, lists: dict[str, str], message: str) -> None:
    for name, text in lists.items():
        (flat / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read(flat, NONE)


def test_a_list_that_is_no_text(flat: Path) -> None:
    (flat / "train.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(ValueError, match=r"train\.txt cannot be read as text in UTF-8"):
        read(flat, NONE)


def test_classes_of_images_stay_classes(tmp_path: Path) -> None:
    for name in ("images", "cat"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (70, 70)).save(tmp_path / "train" / name / "0.png")
    data = load_data(str(tmp_path), Path(), 66)
    assert isinstance(data.train, Files)
    assert data.classes == ("cat", "images")


def test_a_folder_that_could_be_either_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train/images", tmp_path / "train/masks", 2)
    (tmp_path / "train/cat").mkdir()
    with pytest.raises(ValueError, match="train has images and masks, and cat beside them: it could be"):
        read(tmp_path)


def test_splits_of_two_forms_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train/images", tmp_path / "train/masks", 2)
    (tmp_path / "val/cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="val has no images and masks, and train has"):
        read(tmp_path)
    write(tmp_path / "images", tmp_path / "masks", 2)
    with pytest.raises(ValueError, match="has images and masks, and train beside them"):
        read(tmp_path)


def test_images_without_masks_are_told_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    with pytest.raises(ValueError, match=r"has the folder Images and no folder masks: put the .*/masks; "):
        read(tmp_path)
    (tmp_path / "Labels").mkdir()
    (tmp_path / "videos").mkdir()
    with pytest.raises(
        ValueError, match=r"no folder masks \(but Labels\): if Labels has the masks, rename it to masks; "
    ):
        read(tmp_path)
    (tmp_path / "Images").rename(tmp_path / "pictures")
    with pytest.raises(ValueError, match="or with masks in images/ and masks/"):
        read(tmp_path)
    (tmp_path / "Labels").rename(tmp_path / "masks")
    with pytest.raises(ValueError, match=r"folder masks and no folder images: put the pictures of"):
        read(tmp_path)


def test_a_split_of_images_without_masks_is_told_too(tmp_path: Path) -> None:
    write(tmp_path / "train/images", tmp_path / "train/annotations", 2)
    with pytest.raises(
        ValueError, match=r"train has the folder images .*\(but annotations\).*if it is a class"
    ):
        read(tmp_path)
    (tmp_path / "train/annotations").rename(tmp_path / "train/dogs")
    assert load_data(str(tmp_path), Path(), 48).classes == ("dogs", "images")


def test_a_split_without_masks_is_named(tmp_path: Path) -> None:
    write(tmp_path / "images/train", tmp_path / "masks/train", 2)
    (tmp_path / "images/val").mkdir()
    with pytest.raises(ValueError, match="has the split val in images or masks alone"):
        read(tmp_path)


def test_no_training_split(tmp_path: Path) -> None:
    write(tmp_path / "images/val", tmp_path / "masks/val", 2)
    with pytest.raises(ValueError, match="no training pictures with masks; found val"):
        read(tmp_path)
    write(tmp_path / "empty/images", tmp_path / "empty/masks", 0)
    with pytest.raises(ValueError, match="empty/images has no picture in it or below it"):
        read(tmp_path / "empty")


def test_links_do_not_leave_the_folder(flat: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "mask.png"
    put(outside, 0)
    (flat / "masks/000.png").unlink()
    (flat / "masks/000.png").symlink_to(outside)
    with pytest.raises(ValueError, match=r"000\.png is a link that leaves"):
        read(flat)
    outside.unlink()
    with pytest.raises(ValueError, match=r"000\.png cannot be read: it is a link to"):
        read(flat)


# ---------------------------------------------------------------- pairs


def test_a_missing_mask_and_a_missing_picture_are_named(flat: Path) -> None:
    (flat / "masks/003.png").unlink()
    with pytest.raises(ValueError, match=r"1 picture has no mask of .*masks: .*images/003\.png"):
        read(flat, NONE)
    (flat / "images/003.png").unlink()
    (flat / "images/001.png").unlink()
    with pytest.raises(ValueError, match=r"^1 mask has no picture .*images: .*masks/001\.png; .* it"):
        read(flat, NONE)
    (flat / "images/002.png").unlink()
    with pytest.raises(ValueError, match=r"^2 masks have no picture of .*remove them"):
        read(flat, NONE)


def test_two_pictures_of_one_name(flat: Path) -> None:
    Image.new("RGB", (60, 48)).save(flat / "images/003.jpg")
    with pytest.raises(ValueError, match=r"003\.jpg and .*003\.png are two images of one name"):
        read(flat, NONE)


def test_what_is_not_read_is_told(flat: Path) -> None:
    (flat / "masks/notes.txt").write_text("x")
    (flat / "videos").mkdir()
    (flat / "readme.md").write_text("x")
    notes = read(flat).notes
    assert "not read in masks: 1 .txt (notes.txt)" in notes
    assert "not read beside images and masks: 1 .md (readme.md), 1 folder (videos)" in notes


def test_what_is_not_read_beside_splits_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a/images/train", tmp_path / "a/masks/train", 2)
    (tmp_path / "a/images/extra").mkdir()
    assert "not read in images, beside the splits: 1 folder (extra)" in read(tmp_path / "a").notes
    write(tmp_path / "b/train/images", tmp_path / "b/train/masks", 2)
    (tmp_path / "b/train/notes.md").write_text("x")
    (tmp_path / "b/classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    (tmp_path / "b/more.csv").write_text("x")
    notes = read(tmp_path / "b").notes
    assert "not read in train: 1 .md (notes.md)" in notes
    assert "not read beside the splits: 1 .csv (more.csv)" in notes


# ---------------------------------------------------------------- classes


def test_without_a_file_the_numbers_are_the_classes(flat: Path) -> None:
    put(flat / "masks/000.png", 4)
    put(flat / "masks/001.png", VOID)
    data = read(flat)
    assert data.classes == ("0", "1", "2", "3", "4")
    assert scenes(data).coding.ids == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, VOID: VOID}
    assert any("no classes.csv: the classes are the numbers 0 to 4" in note for note in data.notes)


@pytest.mark.parametrize(
    ("odd", "lacking"),
    [(200, "no mask holds 4 to 199"), (5, "no mask holds 4;"), (300, "numbers from 0 to 254;")],
)
def test_numbers_that_leave_some_out_are_refused(flat: Path, odd: int, lacking: str) -> None:
    mask = np.array(Image.open(flat / "masks/002.png")).astype(np.uint16 if odd > VOID else np.uint8)
    mask[7, 11] = mask[9, 0] = odd
    Image.fromarray(mask).save(flat / "masks/002.png")
    with pytest.raises(ValueError, match=lacking) as refused:
        read(flat, NONE)
    said = str(refused.value)
    assert f"masks/002.png: it holds the number {odd} (column 11, row 7; 2 such pixels)" in said
    assert "mend the mask if the number is a mistake, else write a classes.csv" in said
    (flat / "classes.csv").write_text(f"id,name\n0,a\n1,b\n2,c\n3,d\n{odd},e\n")
    assert read(flat).classes == ("a", "b", "c", "d", "e")


def test_the_first_file_with_a_number_is_named(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_classes, "CHUNK", 1)
    for name in ("001", "004", "005"):
        put(flat / f"masks/{name}.png", 200)
    with pytest.raises(ValueError, match=r"masks/001\.png: it holds the number 200 "):
        read(flat)


def test_a_class_that_no_mask_holds_needs_a_file(tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "masks", 3)
    for name, value in (("000", 1), ("001", 2), ("002", 2)):
        put(tmp_path / f"masks/{name}.png", value)
    with pytest.raises(ValueError, match=r"000\.png: it holds the number 1 .*no mask holds 0; without"):
        read(tmp_path)


def test_masks_of_0_and_255_need_a_file(tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "masks", 2)
    for name, value in (("000", 0), ("001", 255)):
        put(tmp_path / f"masks/{name}.png", value)
    with pytest.raises(
        ValueError,
        match=r"only the numbers 0 and 255, and without a classes\.csv 255 is no class: its pixels are "
        r".*write a classes\.csv .*id,name and for example 0,background and 255,object",
    ):
        read(tmp_path)
    put(tmp_path / "masks/001.png", 0)
    with pytest.raises(ValueError, match=r"nothing but the number 0; .* 0,background and 1,object"):
        read(tmp_path)
    put(tmp_path / "masks/001.png", 255)
    (tmp_path / "classes.csv").write_text("id,name\n0,background\n255,object\n")
    data = read(tmp_path)
    assert data.classes == ("background", "object")
    assert scenes(data).coding.ids == {0: 0, 255: 1}


def test_masks_of_nothing_but_void(tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "masks", 1)
    put(tmp_path / "masks/000.png", VOID)
    with pytest.raises(ValueError, match="no class is found in the masks; they hold nothing but 255"):
        read(tmp_path)
    (tmp_path / "masks/000.png").write_bytes(b"no mask")
    with pytest.raises(ValueError, match=r"no class is found in the masks: .*000\.png: it is no image"):
        read(tmp_path)


def test_a_file_names_numbers_and_colours(flat: Path) -> None:
    (flat / "classes.csv").write_text(
        "ID, Name, Color\n 3 ,road,#804080\n7,sky,#0000ff\n8,sky,\n0,ignored,black\n"
    )
    data = read(flat, NONE)
    coding = scenes(data).coding
    assert data.classes == ("road", "sky")
    assert coding.ids == {3: 0, 7: 1, 8: 1, 0: VOID, 255: VOID}
    assert coding.colours == {(128, 64, 128): 0, (0, 0, 255): 1, (0, 0, 0): VOID}
    assert not any("classes.csv" in note for note in data.notes)


def test_masks_in_colours(flat: Path) -> None:
    for number in range(6):
        mask = np.array(Image.open(flat / f"masks/{number:03d}.png"))
        Image.fromarray(COLOURS[mask]).save(flat / f"masks/{number:03d}.png")
    with pytest.raises(ValueError, match=r"masks hold colours \(#.*no classes\.csv says which class each is"):
        read(flat)
    lines = [f"{k},class {k},#{bytes(colour).hex()}" for k, colour in enumerate(COLOURS)]
    (flat / "classes.csv").write_text("\n".join(["id,name,colour", *lines]))
    assert read(flat).classes == ("class 0", "class 1", "class 2", "class 3")
    (flat / "classes.csv").write_text("\n".join(["id,name,colour", *lines[:2]]))
    with pytest.raises(ValueError, match=r"of 6 masks .*it holds the colour #(1414e6|e6e614) \(column"):
        read(flat)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line of .*classes.csv must be id,name or id,name,colour, got ''"),
        ("name,id\na,0", "must be id,name or id,name,colour, got 'name,id'"),
        ("id,name\n0", "line 2 of .* must have 2 entries and a name, got '0'"),
        ("id,name\n0,a\n1,", "line 3 of .* must have 2 entries and a name"),
        ("id,name\n-1,a", "line 2 of .*: an id is a whole number, 0 to 65535, got '-1'"),
        ("id,name\n0,a\n0,b", "line 3 of .* gives 0 to a second class"),
        ("id,name,colour\n0,a,#000000\n1,b,#000000", "line 3 of .* gives #000000 to a second class"),
        ("id,name,colour\n0,a,blue", "line 2 of .*: a colour is white.*got 'blue'"),
        ("id,name\n0,ignored", "names 0 classes; masks have 1 to 255"),
        ("id,name\n" + "\n".join(f"{n},c{n}" for n in range(256)), "names 256 classes"),
    ],
)
def test_files_of_classes_that_are_wrong(flat: Path, text: str, message: str) -> None:
    (flat / "classes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(flat, NONE)


def test_a_file_of_classes_that_is_no_text(flat: Path) -> None:
    (flat / "classes.csv").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(ValueError, match=r"classes\.csv cannot be read as text in UTF-8"):
        read(flat, NONE)


# ---------------------------------------------------------------- the check


def test_a_number_out_of_range_is_named_with_its_place(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    mask = blocks(np.random.default_rng(0), 48, 60)
    mask[7, 11] = 9
    Image.fromarray(mask).save(flat / "masks/002.png")
    with pytest.raises(
        ValueError,
        match=r"1 of 6 masks of train cannot be used: .*002\.png: it holds the number 9 \(column 11, row 7",
    ):
        read(flat)


def test_one_cause_is_told_once_with_what_mends_it(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    for number in (1, 2, 3):
        put(flat / f"masks/00{number}.png", 9)
    put(flat / "masks/004.png", 0, (60, 48))
    put(flat / "masks/005.png", 0, (60, 48))
    with pytest.raises(ValueError, match=r"^5 of 6 masks of train cannot be used: ") as refused:
        read(flat)
    said = str(refused.value)
    assert "masks/001.png: it holds the number 9 (column 0, row 0; 2,880 such pixels), and no class" in said
    assert "are 0, 1, 2, 3, 255 (and 2 others likewise); " in said
    assert "(and 1 other likewise); if it is a class, add the line 9,NAME to " in said
    assert said.endswith(
        "/classes.csv; else mend the masks, or remove them with their pictures, or leave such pairs out by "
        "--skip-unreadable"
    )
    assert said.count("number 9") == 1
    assert said.count("high") + said.count("(height x width)") == 1


def test_what_would_leave_nothing_is_not_advised(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n")
    for number in range(6):
        put(flat / f"masks/00{number}.png", 8 + number % 2)
    with pytest.raises(ValueError, match=r"^6 of 6 .*(\(and 2 others likewise\).*){2}") as refused:
        read(flat)
    said = str(refused.value)
    assert "if they are classes, add the line 8,NAME and the line 9,NAME to " in said
    assert said.endswith("classes.csv; else mend the masks")


def test_masks_that_are_all_jpeg_are_told_once(flat: Path) -> None:
    for file in sorted((flat / "masks").iterdir()):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    with pytest.raises(ValueError, match=r"masks/000\.jpg: it is JPEG, .*PNG \(and 5 others likewise\)$"):
        read(flat)
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    with pytest.raises(ValueError, match=r"as PNG \(and 5 others likewise\); mend the masks$"):
        read(flat)


def test_colours_without_a_column_of_colours(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    Image.new("RGB", (60, 48), "#800040").save(flat / "masks/002.png")
    with pytest.raises(
        ValueError,
        match=r"ID,NAME,#800040 to .*csv, under the line id,name,colour; else mend the mask, or rem",
    ):
        read(flat)


def test_other_numbers_that_are_wrong_are_counted_apart(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    mask = blocks(np.random.default_rng(0), 48, 60)
    mask[7, 11:14] = 9, 9, 12
    Image.fromarray(mask).save(flat / "masks/002.png")
    with pytest.raises(ValueError, match=r"row 7; 2 such pixels, and 1 of other numbers that are wrong\)"):
        read(flat)


def test_a_mask_of_another_size_is_named(flat: Path) -> None:
    put(flat / "masks/004.png", 0, (60, 48))
    with pytest.raises(ValueError, match=r"masks/004\.png: it is 60 x 48 .*images/004\.png 48 x 60"):
        read(flat)


def test_unreadable_files_are_named(flat: Path) -> None:
    (flat / "masks/004.png").write_bytes((flat / "masks/004.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1 of 6 masks of train cannot be used: .*masks/004\.png: "):
        read(flat)
    (flat / "images/001.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 6 image files cannot be .*images/001\.png: it is empty"):
        read(flat)


def test_what_cannot_be_used_can_be_skipped(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    (flat / "images/001.png").write_bytes(b"")
    put(flat / "masks/002.png", 7)
    put(flat / "masks/003.png", 0, (9, 9))
    data = read(flat, Care(skip=True))
    assert names(data) == ["000", "004", "005"]
    note = next(note for note in data.notes if "skipped" in note)
    assert "3 files of train skipped" in note
    assert all(file in note for file in ("images/001.png", "masks/002.png", "masks/003.png"))
    for number in (0, 4, 5):
        put(flat / f"masks/{number:03d}.png", 7)
    with pytest.raises(ValueError, match="none of the pictures in train can be used with its mask"):
        read(flat, Care(skip=True))


def test_the_check_can_be_left_out_and_says_so(flat: Path) -> None:
    put(flat / "masks/004.png", 0, (60, 48))
    assert any("not checked" in note for note in read(flat, NONE).notes)


def test_the_check_tells_how_far_it_is(flat: Path) -> None:
    told: list[tuple[int, int]] = []
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    read(flat, Care(progress=lambda done, files: told.append((done, files))))
    assert told[-1] == (12, 12)
    assert told == sorted(told)


@pytest.mark.parametrize("text", [None, "id,name\n0,a\n1,b\n2,c\n3,d\n"])
def test_every_mask_is_decoded_once(flat: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    if text is not None:
        (flat / "classes.csv").write_text(text)
    decoded: list[str] = []
    numbers = masks._numbers

    def counted(picture: Image.Image) -> np.ndarray:
        decoded.append(picture.format or "")
        return numbers(picture)

    monkeypatch.setattr(masks, "_numbers", counted)
    assert len(read(flat).train) == 6
    assert len(decoded) == 6
    read(flat, NONE)
    assert len(decoded) == (6 if text else 12)  # without a file the classes are in the masks


def test_a_picture_that_a_camera_turned_has_an_upright_mask(tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "masks", 2, ending=".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 48)).save(tmp_path / "images/000.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"000\.png: it is 48 x 60 .*000\.jpg 60 x 48"):
        read(tmp_path)
    put(tmp_path / "masks/000.png", 0, (60, 48))
    assert len(read(tmp_path).train) == 2


# ---------------------------------------------------------------- as any data set


def test_a_share_is_held_out_and_a_number_kept(flat: Path) -> None:
    data = read(flat)
    divided = hold_out(data, 0.34, seed=0)
    assert len(names(divided)) == 4
    assert len(names(divided, "val")) == 2
    assert not set(names(divided)) & set(names(divided, "val"))
    assert names(hold_out(data, 0.34, seed=0)) == names(divided)
    assert len(names(limit(data, 3, seed=0))) == 3


def test_the_fingerprint_knows_masks_and_what_they_mean(flat: Path) -> None:
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    before = fingerprint(read(flat))
    assert fingerprint(read(flat)) == before
    (flat / "classes.csv").write_text("id,name\n1,a\n0,b\n2,c\n3,d\n")
    assert fingerprint(read(flat)) != before
    (flat / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
    put(flat / "masks/004.png", 0)
    assert fingerprint(read(flat)) != before


def test_a_size_before_a_central_crop_is_refused(flat: Path) -> None:
    with pytest.raises(ValueError, match="eval_resize 40 is for images of which evaluation shows the middle"):
        load_data(str(flat), Path(), SIZE, reading=Reading(eval_resize=40))


def test_the_size_is_told_where_it_is_not_given(flat: Path) -> None:
    data = load_data(str(flat), Path(), reading=Reading(fit="squash"))
    assert data.shape == (3, 224, 224)
    assert any("224 x 224" in note for note in data.notes)
