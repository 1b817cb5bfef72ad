"""One data set as a folder of pictures, an archive and a table: options of pictures go with the first."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cohobate.cli import main
from cohobate.commands.images import extra_images, read_data
from cohobate.data.dataset import Images
from cohobate.data.pictures import Reading
from cohobate.data.sets import cinic10, fer2013
from cohobate.data.sources import are_pictures, load_data
from cohobate.data.views import whole
from cohobate.recipes.options import options

FACES = fer2013.CLASSES
SHORT = ["--epochs", "1", "--batch-size", "14", "--device", "cpu", "--quiet", "--model", "resnet8"]


def grey(label: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    return Image.new("L", size, 30 * label)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """``csv/fer2013.csv``: each expression once in each split."""
    file = tmp_path / "csv/fer2013.csv"
    file.parent.mkdir()
    rows = [
        f"{label},{' '.join([str(30 * label)] * 48 * 48)},{usage}"
        for usage in fer2013.USAGES
        for label in range(7)
    ]
    file.write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    return file.parent


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder of the same expressions, two of each in train, of pictures that are not square."""
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        for label, name in enumerate(FACES):
            for number in range(count):
                file = tmp_path / "faces" / part / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                grey(label, (40, 30)).save(file)
    return tmp_path / "faces"


def archive(root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "CINIC-10.tar.gz", "w:gz") as tar:
        for part in ("train", "valid", "test"):
            for label, name in enumerate(cinic10.CLASSES):
                content = io.BytesIO()
                grey(label, (32, 32)).save(content, "png")
                member = tarfile.TarInfo(f"./{part}/{name}/{part}_0.png")
                member.size = content.tell()
                content.seek(0)
                tar.addfile(member, content)
    return root


def test_pictures_are_told_by_what_is_there(table: Path, faces: Path, tmp_path: Path) -> None:
    packed = archive(tmp_path / "packed")
    (tmp_path / "unpacked/CINIC-10/train/airplane").mkdir(parents=True)
    assert not are_pictures("fer2013", table)
    assert not are_pictures(str(table), Path())
    assert not are_pictures("cinic10", packed)
    assert not are_pictures(str(packed), Path())
    assert are_pictures("cinic10", tmp_path / "unpacked")
    assert are_pictures(str(tmp_path / "unpacked"), Path())
    assert are_pictures(str(faces), Path())
    assert not are_pictures("digits", tmp_path)


def test_a_table_is_learned_from_beside_unlabelled_pictures_that_are_padded(table: Path, faces: Path) -> None:
    given = {"data": "fer2013", "data_root": table, "unlabelled": str(faces), "fit": "pad", "device": "cpu"}
    config = options("kd", {**given, "teacher": ("resnet8",)})
    dataset = read_data(config)
    extra, _ = extra_images(dataset, config)
    assert dataset.name == "fer2013"
    assert isinstance(extra, Images)
    expected = whole(grey(0, (40, 30)).convert("RGB"), (32, 32), Reading("pad"))
    assert (extra.x[0].numpy() == np.asarray(expected)).all()


@pytest.mark.parametrize(
    "how", [["--fit", "pad", "--no-check"], ["--eval-resize", "40", "--skip-unreadable"]]
)
def test_a_run_on_pictures_is_evaluated_on_a_table(
    how: list[str], table: Path, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "baseline", "--data", str(faces), "--image-size", "32", *how, *SHORT, "--out", "run"])
    capsys.readouterr()
    main(["evaluate", "run", "--data", "fer2013", "--data-root", str(table)])
    said = capsys.readouterr()
    assert "7 images" in said.out + said.err
    assert "--no-check" not in said.out + said.err


@pytest.mark.parametrize("data", ["digits", "fer2013", "mine.npz", "packed"])
def test_a_check_that_is_declined_where_there_is_none_is_said_to_change_nothing(
    data: str, table: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.array([0, 1, 0, 1]))
    spec = data if data in ("digits", "fer2013") else str(tmp_path / data)
    archive(tmp_path / "packed")
    for check in (True, False):
        notes = read_data(options("baseline", {"data": spec, "data_root": table, "check": check})).notes
        assert any(note.startswith("--no-check changes nothing: ") for note in notes) is not check


def test_the_list_of_data_has_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "data"])
    said = " ".join(capsys.readouterr().out.split())
    for form in ("FOLDER", "train/<class>/", "images/ and masks/", "FILE.npz", "hf:NAME", "hf:./FOLDER"):
        assert form in said


def test_what_an_archive_lacks_it_has_unpacked(tmp_path: Path) -> None:
    packed = archive(tmp_path / "packed")
    with pytest.raises(ValueError, match=r"crop resized is for pictures in files; CINIC-10.tar.*: unpack it"):
        load_data("cinic10", packed, in_memory=False)
    with pytest.raises(ValueError, match=r"fit pad is for pictures in files; CINIC-10.tar.*: unpack it"):
        load_data("cinic10", packed, reading=Reading("pad"))


def test_unlabelled_images_in_memory_are_averaged_and_said_to_be(table: Path) -> None:
    given = {"data": "digits", "image_size": 6, "unlabelled": "fer2013", "data_root": table, "device": "cpu"}
    config = options("kd", {**given, "teacher": ("resnet8",)})
    extra, notes = extra_images(read_data(config), config)
    assert isinstance(extra, Images)
    assert extra.shape == (3, 6, 6)
    assert extra.x[:, 0, 0, 0].tolist() == [30 * label for label in range(7)]
    assert "unlabelled images: images are averaged from 48 x 48 to 6 x 6 pixels" in notes
