"""Folders of pictures from the command line: awkward ones are trained on, bad ones are named in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from awkward import KINDS, awkward_folder, fill, picture

from cohobate.cli import main
from cohobate.commands.evaluate import evaluate_run
from cohobate.commands.ready_opened import ready_network
from cohobate.commands.rebuild import prepared_of
from cohobate.data.loaders import eval_loader
from cohobate.data.pictures import Reading
from cohobate.data.sources import load_data
from cohobate.engine.checkpoint import read_state

QUICK = ["--epochs", "1", "--batch-size", "16", "--device", "cpu", "--out", "run"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line that a command which is refused writes."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("size", ["32", "80"])
def test_a_folder_of_every_awkward_kind(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = awkward_folder(Path("frogs"))
    assert count == 58
    command = ["train", "baseline", "--data", "frogs", "--image-size", size, "--workers", "1", *QUICK]
    line = refused(capsys, *command)
    assert line.startswith(f"error: 3 of {count + 3} image files cannot be read: ")
    for name in ("link.png: it is a link to gone.png", "cut.jpg: ", r"non\xe9.png: it is no image"):
        assert f"train/dark/{name}" in line
    assert not Path("run").exists()

    main([*command, "--skip-unreadable"])
    facts = json.loads(Path("run/result.json").read_text())
    assert facts["train_images"] == 2 * len(KINDS)
    assert [facts["last"][part]["network"]["images"] for part in ("val", "test")] == [10, 10]
    notes = json.loads(Path("run/provenance.json").read_text())["data_notes"]
    assert notes[0] == "not read beside the splits: 1 folder (masks)"
    assert notes[1] == (
        "not read in train: 1 .csv (labels.csv), 1 .heic (dark/phone.heic), 1 .txt (dark/notes.txt)"
    )
    assert notes[2].startswith("3 unreadable files skipped: frogs/train/dark/link.png: ")
    assert notes[3] == (
        "of 58 images: 8 of 16 bits scaled to 8; 10 turned upright (EXIF); 10 with transparency, on white "
        "(--background); 4 with several frames or pages, of which the first is read; 2 one-bit, converted; "
        "6 palette, converted; 2 CMYK, converted"
    )
    assert notes[4].startswith("6 of 58 images have one side more than 2 times the other")
    said = capsys.readouterr().err
    page = Path("run/report.html").read_text()
    for note in notes:
        assert f"note: {note}" in said
    assert "4 with several frames or pages" in page
    measured, classes, _ = evaluate_run(Path("run"))
    assert (measured["images"], classes) == (10, ("bright", "dark"))
    main(["evaluate", "run"])


@pytest.mark.parametrize("size", [32, 80])
def test_every_kind_is_as_dark_or_bright_as_people_see_it(size: int) -> None:
    from cohobate.data.pictures import Reading

    for class_, name in enumerate(("dark", "bright")):
        fill(Path("frogs/train") / name, class_)
    dataset = load_data("frogs", Path(), size, reading=Reading("squash", "grey"))
    (batch,) = eval_loader(dataset.train, dataset, device=torch.device("cpu"), workers=0).epoch(0)
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    levels = (255 * (batch.x.mean((2, 3)) * std + mean)).mean(1)
    for class_, level in zip(batch.y.tolist(), levels.tolist(), strict=True):
        # Noise of 0 to 80, 160 brighter in the class "bright", which comes first; a quarter may be grey.
        plain = 40 + 160 * (1 - class_)
        assert min(plain, 0.75 * plain + 0.25 * 128) - 8 < level < max(plain, 0.75 * plain + 0.25 * 128) + 8


def plain(root: Path) -> Path:
    """Two classes of 12 pictures to learn from, 2 to choose by and 2 to test on."""
    for part, count in (("train", 12), ("val", 2), ("test", 2)):
        for class_, name in enumerate(("dark", "bright")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                picture(class_, i).save(root / part / name / f"{i}.png")
    return root


def damage(file: Path) -> None:
    """In the middle, so that neither the header nor the end shows it."""
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[: middle - 100] + bytes(200) + whole[middle + 100 :])


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_picture_damaged_in_the_middle_is_a_line_with_its_name(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is met after the first epoch, in a process of its own if there are workers."""
    root = plain(Path("frogs"))
    damage(root / "val" / "dark" / "1.png")
    with pytest.raises(SystemExit):
        main(
            ["train", "baseline", "--data", "frogs", "--image-size", "80", "--workers", workers, *QUICK],
        )
    *before, line = capsys.readouterr().err.splitlines()
    assert all(each.startswith("baseline seed 0 ") for each in before)
    assert line.startswith("error: frogs/val/dark/1.png cannot be decoded: ")
    assert "mend or remove it and give the same command again" in line
    assert "--skip-unreadable" in line


@pytest.mark.parametrize("size", ["32", "80"])
def test_a_bad_test_picture_is_found_before_the_training(
    size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = plain(Path("frogs"))
    file = root / "test" / "dark" / "1.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    command = ["train", "baseline", "--data", str(root), "--image-size", size, "--workers", "1", *QUICK]
    line = refused(capsys, *command)
    assert "1 of 32 image files cannot be read: frogs/test/dark/1.png: " in line
    assert not Path("run").exists()
    # Without the check it is found at the end; mended, the same command needs no training to finish.
    line = refused(capsys, *command, "--no-check")
    assert "frogs/test/dark/1.png cannot be decoded: " in line
    assert "mend or remove it and give the same command again" in line
    assert not Path("run/result.json").exists()
    weights = [path for path in Path("run").rglob("*.safetensors") if "deployed" not in path.name]
    assert weights
    before = [path.stat().st_mtime_ns for path in weights]
    file.write_bytes(whole)
    main(command)
    assert json.loads(Path("run/result.json").read_text())["last"]["test"]["network"]["images"] == 4
    assert [path.stat().st_mtime_ns for path in weights] == before


def test_fit_and_background_reach_the_images_and_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    root = plain(Path("frogs"))
    options = ["--image-size", "32", "--fit", "pad", "--background", "#010203"]
    main(["train", "baseline", "--data", str(root), *options, *QUICK])
    (about,) = [read_state(path)[1] for path in Path("run").glob("deployed.safetensors")]
    assert (about["fit"], about["background"]) == ("pad", "#010203")
    prepared = prepared_of(Path("run"))
    # 40 x 30 pixels become 32 x 24, with 4 lines of background above and below.
    assert prepared.dataset.train.x[:, :4].reshape(-1, 3).unique(dim=0).tolist() == [[1, 2, 3]]
    inside = prepared.dataset.train.x[:, 4:28].reshape(-1, 3)
    assert (inside != torch.tensor([1, 2, 3])).any(1).float().mean() > 0.99


def test_unlabelled_pictures_are_read_and_spoken_of_alike(capsys: pytest.CaptureFixture[str]) -> None:
    root = plain(Path("frogs"))
    fill(Path("more"), 0)
    Path("more/notes.txt").write_text("of the frog")
    main(
        [
            *("train", "kd", "--teacher", "resnet8", "--data", str(root), "--image-size", "32", *QUICK),
            *("--unlabelled", "more", "--unlabelled-share", "0.5", "--teachers", "teachers"),
        ]
    )
    notes = json.loads(Path("run/provenance.json").read_text())["data_notes"]
    assert notes[0] == "unlabelled images: not read in more: 1 .txt (notes.txt)"
    assert notes[1].startswith("unlabelled images: of 19 images: 2 of 16 bits scaled to 8; 3 turned upright")


@pytest.mark.parametrize("flag", ["--data", "--unlabelled", "--out"])
def test_an_option_that_is_not_utf_8_is_refused_by_name(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "train", "kd", "--teacher", "resnet8", *QUICK, flag, "./caf\udce9")
    assert f"{flag[2:]} caf\\xe9 is not UTF-8" in line.replace("./", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fit", "pad"], "fit pad is for pictures in files; digits is read as it is"),
        (["--skip-unreadable"], "skip_unreadable is for pictures in files"),
        (["--background", "blue"], "background: a colour is white, black, grey or #rrggbb, got 'blue'"),
    ],
)
def test_options_of_folders_are_refused_elsewhere(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "train", "baseline", "--train-images", "100", *QUICK, *options)
    assert not Path("run").exists()


def test_bad_pictures_of_another_folder_are_left_out_of_an_evaluation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain(Path("frogs"))
    damage(plain(Path("others")) / "train" / "dark" / "1.png")
    main(["train", "baseline", "--data", "frogs", "--image-size", "32", *QUICK])
    assert "others/train/dark/1.png" in refused(capsys, "evaluate", "run", "--data", "others")
    main(["evaluate", "run", "--data", "others", "--skip-unreadable"])
    assert "1 unreadable file skipped: others/train/dark/1.png" in " ".join(capsys.readouterr().out.split())


def test_a_resized_picture_is_one_in_training_evaluation_and_prediction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = plain(Path("frogs"))
    options = ["--image-size", "32", "--eval-resize", "40"]
    main(["train", "baseline", "--data", str(root), *options, *QUICK])
    (about,) = [read_state(path)[1] for path in Path("run").glob("deployed.safetensors")]
    assert about["eval_resize"] == 40
    for opened in ("run", "run/deployed.safetensors"):
        assert ready_network(Path(opened)).reading == Reading(eval_resize=40)
    assert prepared_of(Path("run")).dataset.train.x.shape == (24, 32, 32, 3)


def test_random_parts_of_small_pictures_in_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    root = plain(Path("frogs"))
    options = ["--image-size", "32", "--crop", "resized", "--workers", "0"]
    main(["train", "baseline", "--data", str(root), *options, *QUICK])
    said = json.loads(Path("run/provenance.json").read_text())["augmentation"]
    assert said == "random crops, resized, mirrored at random"
    # Arrays can be evaluated by its network, though its own crops are not for them.
    np.savez("mine.npz", x=np.zeros((2, 32, 32, 3), np.uint8), y=np.array([0, 1]))
    main(["evaluate", "run", "--data", "mine.npz", "--split", "train"])
    assert "mine.npz" in capsys.readouterr().out
