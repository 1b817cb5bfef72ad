"""``cohobate predict``: what it writes, what it leaves out, and what it refuses in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import fails, refused
from handed_over import NAMES, hand_over, save_picture

import cohobate
from cohobate.cli import main
from cohobate.commands import predict_options as command_line
from cohobate.data import decoded
from cohobate.data.raw import image
from cohobate.engine import checkpoint

NET = "net.safetensors"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return hand_over(tmp_path_factory.mktemp("network") / NET).read_bytes()


@pytest.fixture(autouse=True)
def here(network: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network, and pets/ of five pictures below it."""
    monkeypatch.chdir(tmp_path)
    Path(NET).write_bytes(network)
    for seed, name in enumerate(("a/1.png", "a/2.jpg", "b/deep/3.png", "b/4.bmp", "5.png")):
        save_picture(Path("pets") / name, seed, (20 + seed, 14), ("RGB", "RGB", "L", "P", "RGB")[seed])


ORDER = ["pets/5.png", "pets/a/1.png", "pets/a/2.jpg", "pets/b/4.bmp", "pets/b/deep/3.png"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    main(["predict", NET, *arguments, "--workers", "0"])
    printed = capsys.readouterr()
    return printed.out, printed.err


# ---------------------------------------------------------------- what it writes


def test_a_line_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "pets")
    assert out.splitlines()[0] == "path,label,probability"
    assert [row["path"] for row in rows(out)] == ORDER
    assert {row["label"] for row in rows(out)} <= set(NAMES)
    assert err == ""
    found = cohobate.predict(NET, "pets")
    for row, label, probability in zip(rows(out), found.label, found.probabilities[:, 0], strict=True):
        assert row["label"] == label
        assert float(row["probability"]) == pytest.approx(float(probability), rel=1e-8)


def test_probabilities_are_those_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: the picture read, normalised, and put through the network."""
    out, _ = run(capsys, "pets/a/1.png", "--top-k", "3")
    from PIL import Image

    pixels = image(Image.open("pets/a/1.png").convert("RGB"), (16, 16), cohobate.Reading())
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    with torch.no_grad():
        logits = cohobate.load(NET)(((pixels / 255 - mean) / std).permute(2, 0, 1)[None])
    probabilities, classes = logits[0].double().softmax(0).sort(descending=True)
    (row,) = rows(out)
    assert [row[f"label{end}"] for end in ("", "_2", "_3")] == [NAMES[k] for k in classes]
    found = [float(row[f"probability{end}"]) for end in ("", "_2", "_3")]
    assert found == pytest.approx(probabilities.tolist(), rel=1e-5)


def test_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "pets", "--format", "jsonl", "--top-k", "2")
    table, _ = run(capsys, "pets", "--top-k", "2")
    for line, row in zip(map(json.loads, out.splitlines()), rows(table), strict=True):
        assert list(line) == ["path", "labels"]
        assert line["path"] == row["path"]
        assert [each["label"] for each in line["labels"]] == [row["label"], row["label_2"]]
        wanted = [float(row["probability"]), float(row["probability_2"])]
        assert [each["probability"] for each in line["labels"]] == wanted


def test_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = run(capsys, "pets", "--format", "table", "--top-k", "2")
    assert "net.safetensors, 5 images" in table
    assert all(path in table for path in ORDER)
    assert "probability 2" in table
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    again, _ = run(capsys, "pets", "--top-k", "2")
    assert re.sub(r"\x1b\[\d*m", "", again) == table


@pytest.mark.parametrize(("name", "first"), [("x.csv", "path,label"), ("x.JSONL", '{"path": "pets/5.png"')])
def test_the_ending_of_a_file_tells_its_format(
    capsys: pytest.CaptureFixture[str], name: str, first: str
) -> None:
    out, _ = run(capsys, "pets", "--out", f"new/{name}")
    assert out == f"new/{name}  5 images\n"
    assert Path("new", name).read_text().startswith(first)
    assert [path.name for path in Path("new").iterdir()] == [name]


def test_a_format_that_is_given_counts(capsys: pytest.CaptureFixture[str]) -> None:
    plain, _ = run(capsys, "pets")
    run(capsys, "pets", "--out", "x.txt", "--format", "csv")
    assert Path("x.txt").read_text() == plain
    run(capsys, "pets", "--out", "y.csv", "--format", "table")
    assert "5 images" in Path("y.csv").read_text()


def test_the_bar_is_on_stderr_and_lines_are_not_drawn_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = run(capsys, "pets")
    Path("pets/bad.png").write_text("no picture")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    out, err = run(capsys, "pets")
    assert out == plain
    assert "6/6" in err
    assert "skipped pets/bad.png: it is no image" in err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    out, err = run(capsys, "pets", "--format", "csv")
    assert out == plain
    assert "/6" not in err


def test_batches_appear_as_they_are_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def read(*arguments: object) -> object:
        seen.append(capsys.readouterr().out.count("\n"))
        return original(*arguments)  # type: ignore[arg-type]

    original = decoded.decode
    monkeypatch.setattr(decoded, "decode", read)
    monkeypatch.setattr(decoded, "CHUNK", 1)
    run(capsys, "pets", "--batch-size", "2")
    assert seen == [0, 0, 3, 0, 2]  # the header and two, then two


def test_names_are_shown_as_they_were_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_picture('odd, "name"\n.png')
    save_picture("caf\udce9.png")
    save_picture(" space.png")
    save_picture("写真.png")
    names = ["./pets/5.png", str(tmp_path / "pets/a/1.png"), 'odd, "name"\n.png', "caf\udce9.png"]
    names += [" space.png", "写真.png", "pets/a/", "./pets/b"]
    out, _ = run(capsys, *names)
    found = [row["path"] for row in rows(out)]
    assert found == [
        *[*names[:3], r"caf\xe9.png", " space.png", "写真.png"],
        *["pets/a/2.jpg", "./pets/b/4.bmp", "./pets/b/deep/3.png"],
    ]


def test_a_grey_network_sees_grey(capsys: pytest.CaptureFixture[str]) -> None:
    file = hand_over("grey.safetensors", shape=(1, 16, 16), mean=(0.5,), std=(0.2,))
    main(["predict", str(file), "pets", "--workers", "0", "--top-k", "3"])
    colour, grey = rows(capsys.readouterr().out), Path("grey")
    from PIL import Image

    for path in ORDER:
        (grey / path).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            picture.convert("RGB").convert("L").save((grey / path).with_suffix(".png"))
    main(["predict", str(file), "grey/pets", "--workers", "0", "--top-k", "3"])
    for one, other in zip(colour, rows(capsys.readouterr().out), strict=True):
        assert list(one.values())[1:] == list(other.values())[1:]


def test_the_stage_at_which_an_image_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    members = ("resnet8", "resnet8")
    for i in range(12):
        save_picture(f"pets/more/{i}.png", 100 + i)
    plain = hand_over("sum.safetensors", members)
    energy = cohobate.predict(cohobate.load(plain).network.networks[0], "pets", **_known()).logits
    threshold = float(energy.double().softmax(1).square().sum(1).median())
    file = hand_over("sum.safetensors", members, found={"threshold": threshold})
    main(["predict", str(file), "pets", "--adaptive", "--workers", "0"])
    out = rows(capsys.readouterr().out)
    stages = [int(row["stage"]) for row in out]
    assert list(out[0]) == ["path", "label", "probability", "stage"]
    assert set(stages) == {0, 1}
    assert stages == cohobate.predict(file, "pets", adaptive=True).stages.tolist()  # type: ignore[union-attr]
    main(["predict", str(file), "pets", "--adaptive", "--workers", "0", "--format", "jsonl"])
    assert [json.loads(line)["stage"] for line in capsys.readouterr().out.splitlines()] == stages
    main(["predict", str(file), "pets", "--adaptive", "--workers", "0", "--format", "table"])
    assert "stage" in capsys.readouterr().out


def _known() -> dict[str, object]:
    return {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "size": 16}


def test_threads_are_those_that_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        run(capsys, "pets", "--threads", "2")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------- what cannot be read


def spoil() -> None:
    Path("pets/a/0.png").write_bytes(b"no picture")
    content = Path("pets/a/2.jpg").read_bytes()
    Path("pets/a/2.jpg").write_bytes(content[: len(content) // 2])
    Path("pets/b/gone.png").symlink_to("nowhere.png")


def test_what_cannot_be_read_is_named_and_nothing_else_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = run(capsys, "pets")
    spoil()
    out, err = run(capsys, "pets")
    assert [row["path"] for row in rows(out)] == [path for path in ORDER if path != "pets/a/2.jpg"]
    kept = [row for row in rows(before) if row["path"] != "pets/a/2.jpg"]
    for one, other in zip(rows(out), kept, strict=True):
        assert one["label"] == other["label"]
        assert float(one["probability"]) == pytest.approx(float(other["probability"]), rel=1e-4)
    *lines, last = err.splitlines()
    assert lines[0] == "skipped pets/b/gone.png: it is a link to nowhere.png, which is not there"
    assert lines[1] == "skipped pets/a/0.png: it is no image, or of a format that Pillow does not know"
    assert lines[2].startswith("skipped pets/a/2.jpg: ")
    assert len(lines) == 3
    assert last == "3 of 7 images cannot be read and are left out"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_strict_stops_at_the_first(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    spoil()
    Path("x.csv").write_text("old")
    command = ["predict", NET, "pets", "--strict", "--out", "x.csv", "--workers", workers]
    error = refused(capsys, *command)
    assert error == (
        "error: cannot read pets/b/gone.png: it is a link to nowhere.png, which is not there; --strict stops "
        "at the first such image\n"
    )
    Path("pets/b/gone.png").unlink()
    assert refused(capsys, *command).startswith("error: cannot read pets/a/0.png: it is no image")
    assert Path("x.csv").read_text() == "old"


def test_only_unreadable_files(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad").mkdir()
    for name in ("1.png", "2.png"):
        Path("bad", name).write_bytes(b"")
    Path("x.csv").write_text("old")
    error = refused(capsys, "predict", NET, "bad", "--out", "x.csv")
    assert error.splitlines()[-1].startswith("error: none of the 2 images can be read: bad/1.png: it is no")
    error = refused(capsys, "predict", NET, "bad/1.png")
    assert error.splitlines()[-1].startswith("error: the image cannot be read: bad/1.png: ")
    assert capsys.readouterr().out == ""
    assert Path("x.csv").read_text() == "old"


def test_other_files_of_a_folder_are_counted_and_named_ones_tried(capsys: pytest.CaptureFixture[str]) -> None:
    save_picture("pets/a/1.png").rename("pets/a/picture.dat")
    Path("pets/notes.txt").write_text("no picture")
    out, err = run(capsys, "pets", "pets/a/picture.dat", "pets/5.png", "pets")
    assert [row["path"] for row in rows(out)] == [
        *(path for path in ORDER if path != "pets/a/1.png"),
        "pets/a/picture.dat",
    ]
    note = "note: not read in pets: 1 .dat (a/picture.dat), 1 .txt (notes.txt)"
    assert err.splitlines() == [note, note, "note: 5 images named more than once, predicted once"]
    _, err = run(capsys, "pets/5.png", "pets/notes.txt")
    assert err.splitlines()[0].startswith("skipped pets/notes.txt: it is no image")


def test_a_picture_of_an_absurd_shape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(*arguments: object) -> object:
        raise MemoryError

    monkeypatch.setattr("cohobate.data.raw.whole", whole)
    error = fails(capsys, "predict", NET, "pets/5.png", "--workers", "0")
    assert "skipped pets/5.png: it cannot be resized: MemoryError" in error


def test_a_worker_that_is_killed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "decode", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(decoded, "CHUNK", 2)
    error = fails(capsys, "predict", NET, "pets", "--workers", "1")
    assert error.startswith("error: a process that decodes images has failed: DataLoader worker")
    assert error.endswith("give --workers 0, or a smaller --batch-size\n")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NET], "no images: name files or folders of them"),
        ([NET, "pets/6.png"], "pets/6.png is not there; the nearest in pets: 5.png"),
        ([NET, "pets/5.png", "petz", "pest"], "petz is not there, nor 1 other; the nearest in .: pets"),
        ([NET, "/dev/null"], "/dev/null is neither a file nor a folder"),
        ([NET, "empty"], "no image in empty or below; looked for .jpg, .jpeg"),
        ([NET, "pets", "--top-k", "4"], "top_k must be 1 to 3, got 4: net.safetensors predicts 3 classes"),
        ([NET, "pets", "--top-k", "0"], "top_k: Input should be greater than or equal to 1 (got 0)"),
        ([NET, "pets", "--out", "pets"], "--out pets is a folder; name a file"),
        ([NET, "pets", "--out", "x.txt"], "--out x.txt does not tell the format"),
        ([NET, "pets", "--out", "pets/5.png/x.csv"], "cannot write pets/5.png/x.csv"),
        ([NET, "pets", "--format", "xml"], "xml"),
        ([NET, "pets", "--weights", "best"], "--weights best is for the folder of a run"),
        ([NET, "pets", "--adaptive"], "net.safetensors is one network, resnet8, and no sum of several"),
        ([NET, "pets", "--device", "cuda:9"], "no device 'cuda:9' here"),
        (["pets/5.png", NET], "pets/5.png is an image, and the network comes first"),
        (["pets", NET], "pets is not the folder of a run"),
        (["nat.safetensors", "pets"], "the nearest in .: net.safetensors"),
        # Whether there is a network is said before anything about --out.
        (["runs/nosuch", "pets", "--out", "masks"], "runs/nosuch is not there; give the folder of a run"),
        (["empty", "pets", "--out", "masks"], "empty is not the folder of a run: it has no run.yaml"),
    ],
)
def test_one_line_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    error = refused(capsys, "predict", *arguments)
    assert message in error
    if "xml" not in arguments:
        assert error.count("\n") == 1


def test_nothing_that_is_read_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a picture, by whatever name, nor the network's file, nor a file of its run."""
    Path("run/export").mkdir(parents=True)
    for name in (
        *("run.yaml", "result.json", "deployed.safetensors", "metrics.jsonl", "export/model.onnx"),
        "mine.csv",
    ):
        Path("run", name).write_bytes(b"")
    Path("link.csv").symlink_to("pets/5.png")
    for network, out, what in [
        (NET, "pets/../pets/5.png", "one of the images"),
        (NET, "link.csv", "one of the images"),
        (NET, NET, "a file of the network"),
        *(("run", f"run/{name}", "a file of the network") for name in ("run.yaml", "deployed.safetensors")),
        *(("run", f"run/{name}", "a file of the network") for name in ("metrics.jsonl", "export/model.onnx")),
    ]:
        before = Path(out).read_bytes()
        error = refused(capsys, "predict", network, "pets", "--out", out, "--format", "csv")
        assert error == f"error: --out {out} would replace {what}; give another name\n"
        assert Path(out).read_bytes() == before
    error = fails(capsys, "predict", "run", "pets", "--out", "run/mine.csv")
    assert "would replace" not in error
    save_picture("pets/6.png")
    error = refused(capsys, "predict", "gone", "pets", "--out", "run/mine.csv")
    assert error.startswith("error: gone is not there")


def test_only_pictures_may_have_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "predict", "caf\udce9", "pets")
    assert r"run caf\xe9 is not UTF-8" in error
    error = refused(capsys, "predict", NET, "pets", "--out", "caf\udce9.csv")
    assert r"out caf\xe9.csv is not UTF-8" in error


def test_its_help_names_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage: cohobate predict [-h] [OPTIONS] RUN [IMAGES ...]")
    assert "Lines of csv and jsonl appear as batches are done, a table at the end" in said


def test_a_network_of_a_cascade_alone(capsys: pytest.CaptureFixture[str]) -> None:
    hand_over("stage.safetensors", stage=(2, 3))
    error = refused(capsys, "predict", "stage.safetensors", "pets")
    assert error.startswith("error: stage.safetensors is network 2 of the 3 of a cascade")


def test_a_sum_without_a_stored_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    hand_over("sum.safetensors", ("resnet8", "resnet8"))
    error = refused(capsys, "predict", "sum.safetensors", "pets", "--adaptive")
    assert "stores no threshold for its cascade: `cohobate evaluate RUN --adaptive`" in error


def test_a_network_that_diverged(capsys: pytest.CaptureFixture[str]) -> None:
    state = checkpoint.read_state(Path(NET))
    state.tensors["fc.bias"][1] = float("nan")
    checkpoint.write_state(Path(NET), state)
    error = refused(capsys, "predict", NET, "pets", "--out", "x.csv", "--workers", "0")
    assert error.startswith("error: the logits of pets/5.png are not finite: the network has diverged")


def test_a_file_is_written_whole_or_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("x.csv").write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        error = fails(capsys, "predict", NET, "pets", "--out", "x.csv", "--workers", "0")
    assert error.startswith("error: cannot write x.csv (0.0 MiB): No space left on device")
    assert Path("x.csv").read_text() == "old"

    def answers(*arguments: object) -> None:
        raise ValueError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr("cohobate.commands.predict_files.csv_row", answers)
        fails(capsys, "predict", NET, "pets", "--out", "x.csv", "--workers", "0")
    assert Path("x.csv").read_text() == "old"


def test_a_folder_without_rights_is_found_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cohobate.engine.errors import RunError

    monkeypatch.setattr(command_line.os, "access", lambda path, mode: False)
    command = command_line.Command(run=Path(NET), images=("pets",), out=Path("locked/x.csv"))
    with pytest.raises(RunError, match=r"cannot write locked/x\.csv"):
        command_line.destination(command)


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    for i in range(40):
        save_picture(f"many/{i}.png", i)
    command = f"{sys.executable} -m cohobate.cli predict {NET} many --batch-size 4 | head -2"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0] == "path,label,probability"
    assert done.stdout.count("\n") == 2
    assert done.stderr == ""


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    command = [sys.executable, "-m", "cohobate.cli", "predict", NET, "pets"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the output cannot be written: No space left on device\n",
    )


def test_an_onnx_file_without_its_libraries_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = refused(capsys, "predict", "net.onnx", "pets")
    assert error == "error: an ONNX file needs onnx, onnxruntime and onnxscript; install them: " + (
        "pip install 'cohobate[export]'\n"
    )
