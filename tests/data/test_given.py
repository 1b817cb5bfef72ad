"""Files and folders that a user names: which pictures they are, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
from handed_over import save_picture

from cohobate.data.folder import load_folder
from cohobate.data.given import given


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_split_is_in_the_order_of_a_data_set() -> None:
    names = ["b/2.png", "b/10.png", "b/1/x.png", "B/1.png", "ä/1.png", "b1/1.png", "a/z/y.png", "a/c.png"]
    for name in names:
        save_picture(Path("data/train") / name)
    files = load_folder(Path("data"), 80).train
    assert [file.path for file in given(["data/train"]).files] == list(files.paths)  # type: ignore[union-attr]


def test_each_name_begins_as_it_was_given(tmp_path: Path) -> None:
    save_picture("pets/a/1.png")
    for text in ("pets", "pets/", "./pets", "pets/../pets", str(tmp_path / "pets")):
        (file,) = given([text]).files
        assert file.name == f"{text.rstrip('/')}/a/1.png"
        assert file.path.samefile("pets/a/1.png")
    (file,) = given([Path("pets/a/1.png")]).files
    assert file.name == "pets/a/1.png"


def test_each_picture_is_there_once(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        save_picture(f"pets/{name}.png")
    Path("pets/4.png").symlink_to("1.png")
    found = given(["pets/2.png", "pets", "./pets/1.png", tmp_path / "pets"])
    names = [file.name for file in found.files]
    assert names == ["pets/2.png", "pets/1.png", "pets/3.png", "pets/4.png"]
    assert found.notes == ("6 images named more than once, predicted once",)


def test_links(tmp_path: Path) -> None:
    save_picture("elsewhere/1.png")
    save_picture("pets/0.png")
    Path("pets/1.png").symlink_to(tmp_path / "elsewhere/1.png")
    Path("pets/2.png").symlink_to("2.png")
    Path("pets/3.png").symlink_to("gone.png")
    Path("pets/more").symlink_to(tmp_path / "elsewhere")
    Path("linked").symlink_to("pets")
    found = given(["linked"])
    assert [file.name for file in found.files] == ["linked/0.png", "linked/1.png"]
    assert found.broken == (
        ("linked/2.png", "it is a link to 2.png, which is not there"),
        ("linked/3.png", "it is a link to gone.png, which is not there"),
    )
    assert found.notes == ("not read in linked: 1 linked folder (more)",)


def test_hidden_files_are_passed_over() -> None:
    save_picture("pets/.1.png")
    save_picture("pets/2.PNG")
    save_picture("pets/.cache/3.png")
    assert [file.name for file in given(["pets"]).files] == ["pets/2.PNG"]
    assert [file.name for file in given(["pets/.1.png"]).files] == ["pets/.1.png"]


def test_what_is_not_there_is_found_before_a_folder_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    save_picture("pets/1.png")
    monkeypatch.setattr("cohobate.data.given.below", lambda *arguments: pytest.fail("it was read"))
    with pytest.raises(FileNotFoundError, match=r"^pet is not there; the nearest in \.: pets$"):
        given(["pets", "pet"])
    with pytest.raises(FileNotFoundError, match=r"^no/where/at/all is not there, nor 2 others$"):
        given(["no/where/at/all", "x", "pets", "y"])


def test_a_folder_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir()

    def scandir(folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cohobate.data.listing.os.scandir", scandir)
    with pytest.raises(ValueError, match=r"^locked cannot be read: Permission denied$"):
        given(["locked"])
