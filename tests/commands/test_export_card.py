"""The card beside a real export: its numbers, its code, and the files that lay there before."""

from __future__ import annotations

import io
import json
import math
import pickle
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import Seen, seen
from PIL import Image

import cohobate
from cohobate.cli import main
from cohobate.commands.export import export
from cohobate.commands.export_card import command_of, explained
from cohobate.commands.export_library import refuse_foreign
from cohobate.commands.export_metadata import about_at, about_in
from cohobate.commands.export_options import Asked, Command
from cohobate.commands.parsing import parsed_alone
from cohobate.engine.checkpoint import read_state, write_state
from cohobate.engine.errors import RunError
from cohobate.report.card import is_untouched

TRAIN = ["--data", "digits", "--model", "resnet8", "--epochs", "1", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of CS-KD, and one of the baseline."""
    root = tmp_path_factory.mktemp("runs")
    for folder, seed in (("cs_kd/seed-0", "0"), ("cs_kd/seed-1", "1"), ("baseline/seed-0", "0")):
        main(["train", folder.partition("/")[0], *TRAIN, "--seed", seed, "--out", str(root / folder)])
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy, to write into."""
    return shutil.copytree(trained, tmp_path / "runs")


@pytest.fixture
def run(runs: Path) -> Path:
    return runs / "cs_kd" / "seed-0"


def card_in(folder: Path, name: str = "README.md") -> Seen:
    return seen((folder / name).read_text(encoding="utf-8"))


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())  # type: ignore[no-any-return]


def errors(folder: Path) -> list[float]:
    """Of the last and of the best epoch, on val and test."""
    found = result(folder)
    return [found[epoch][split][found["predictor"]]["top1_error"]
            for epoch in ("last", "best") for split in ("val", "test")]  # fmt: skip


# ---------------------------------------------------------------- content


def test_the_numbers_are_those_of_the_results(run: Path) -> None:
    written = export(run, ["onnx", "pt2", "safetensors"])
    assert [each.path.name for each in written][-1] == "README.md"
    page = card_in(run / "export")
    rows = next(table for table in page.tables if table[0][0] == "runs")
    first, second = errors(run), errors(run.with_name("seed-1"))
    assert rows[1] == ["seed 0 (these files)", *(f"{value:.2f}" for value in first)]
    assert rows[2] == ["seed 1", *(f"{value:.2f}" for value in second)]
    deviations = np.std([first, second], axis=0, ddof=1)
    means = np.mean([first, second], axis=0)
    assert rows[3][1:] == [f"{m:.2f} ± {s:.2f}" for m, s in zip(means, deviations, strict=True)]
    baseline = errors(run.parent.parent / "baseline" / "seed-0")
    assert rows[4] == ["baseline, seed 0", *(f"{value:.2f}" for value in baseline)]
    gain = baseline[1] - first[1]
    assert any(f"positive is better: {gain:+.2f} (1 pair)." in item for item in page.items)


def test_what_the_card_says_of_the_run(run: Path) -> None:
    export(run, ["safetensors"])
    text = (run / "export" / "README.md").read_text(encoding="utf-8")
    found, made = result(run), json.loads((run / "provenance.json").read_text())
    page = card_in(run / "export")
    assert page.headings[0] == "resnet8 on digits, cs_kd"
    assert "The prediction for another image of the same class is the target (Yun et al., 2020)." in text
    assert f"with {found['parameters_deployed']:,} parameters. It takes images of 8 x 8 pixels" in text
    assert f"fingerprint of the data: {made['data_fingerprint']}" in page.items
    assert f"augmentation: {made['augmentation']}" in page.items
    assert f"data: digits, {found['train_images']:,} training images" in page.items
    shells = [code.strip() for language, code in page.code if language == "sh"]
    assert shells == [made["command"], f"cohobate export {run} --format safetensors"]
    assert page.items.count("7") == 1
    options = next(table for table in page.tables if table[0][0] == "option")
    assert {row[0]: row[1] for row in options[1:]} == {
        **{name: str(value) for name, value in found["options"].items()},
        "epochs": "1",
    }


def test_the_code_of_the_card_runs_and_all_files_agree(run: Path) -> None:
    """Its blocks, one after the other, in the folder of the files, with a picture there."""
    export(run, ["onnx", "pt2", "safetensors"], values="normalised")
    folder = run / "export"
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photo.jpg")
    blocks = [code for language, code in card_in(folder).code if language == "python"]
    assert len(blocks) == 4
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.split()
    assert first in set("0123456789")
    assert others == [first, first]


# ---------------------------------------------------------------- the folder


def test_files_of_an_earlier_export_stay_in_the_card(run: Path) -> None:
    export(run, ["onnx", "pt2"], values="0-1")
    export(run, ["pt2"], weights="best")
    rows = next(table for table in card_in(run / "export").tables if table[0][0] == "file")[1:]
    assert [row[0] for row in rows] == ["model.pt2", "model.onnx"]
    assert rows[0][2:4] == ["bytes, uint8, 0 to 255", "best epoch (1)"]
    assert rows[1][2:4] == ["float32, 0 to 1", "last epoch (1)"]
    assert rows[1][5] == "when it was written, by an export before this one"
    size = (run / "export" / "model.onnx").stat().st_size
    assert rows[1][4] == f"{size / 2**20:.2f} MiB"


def test_a_file_of_another_run_and_one_that_is_no_network(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(runs / "baseline" / "seed-0", ["onnx"], out)
    (out / "odd.safetensors").write_bytes(b"mine")
    (out / "model.pt2").write_bytes(b"nothing")
    export(runs / "cs_kd" / "seed-0", ["safetensors"], out)
    rows = next(table for table in card_in(out).tables if table[0][0] == "file")[1:]
    assert [row[0] for row in rows] == ["model.safetensors", "model.onnx", "model.pt2"]
    assert rows[1][3] == "of another run: baseline on digits, seed 0, last epoch (1)"
    assert rows[2][5] == "nothing is known of it: model.pt2 has no metadata of cohobate"


def test_files_of_a_training_before_are_not_those_of_this_one(run: Path) -> None:
    export(run, ["pt2"])
    state = read_state(run / "deployed.safetensors")
    state.tensors["conv.weight"].mul_(1.01)
    write_state(run / "deployed.safetensors", state)
    export(run, ["safetensors"])
    rows = next(table for table in card_in(run / "export").tables if table[0][0] == "file")[1:]
    assert [row[0] for row in rows] == ["model.safetensors", "model.pt2"]
    assert rows[0][3] == "last epoch (1)"
    assert rows[1][3] == "not known to be of this training: cs_kd on digits, seed 0, last epoch (1)"


def deep() -> bytes:
    """A header of safetensors in so many levels that reading it ends in a RecursionError."""
    header = b'{"__metadata__": {"facts": ' + b"[" * 200_000
    return len(header).to_bytes(8, "little") + header


def encrypted() -> bytes:
    """An archive that says of its entry that it is encrypted."""
    data = bytearray(archive_with("x/extra/cohobate.json", "{}"))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def test_strange_files_in_the_folder_do_not_stop_an_export(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / "export"
    folder.mkdir()
    for name, data in {
        "model.safetensors": deep(),
        "model.pt2": encrypted(),
        "model.int8.onnx": b"nothing",
        "stage-0.onnx": b"nothing",
    }.items():
        (folder / name).write_bytes(data)
    (folder / "loop").symlink_to("loop")
    real = Path.open

    def locked(self: Path, *given: Any, **options: Any) -> Any:
        if self.name in ("stage-0.onnx", "config.json"):
            raise PermissionError(13, "Permission denied")
        return real(self, *given, **options)

    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(Path, "open", locked)
    export(run, ["onnx"])
    rows = next(table for table in card_in(folder).tables if table[0][0] == "file")[1:]
    said = {row[0]: row[5] for row in rows}
    assert list(said) == ["model.onnx", "model.pt2", "model.safetensors", "model.int8.onnx", "stage-0.onnx"]
    for name in ("model.pt2", "model.safetensors"):
        assert said[name] == f"nothing is known of it: {name} has no metadata of cohobate"
    assert said["model.int8.onnx"].startswith("nothing is known of it: model.int8.onnx is cut, damaged")
    assert said["stage-0.onnx"] == "nothing is known of it: [Errno 13] Permission denied"


def test_of_weights_no_more_than_the_header_is_read(run: Path, tmp_path: Path) -> None:
    (export(run, ["safetensors"])[0]).path.rename(tmp_path / "model.safetensors")
    file = tmp_path / "model.safetensors"
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    file.write_bytes(data[:header])  # and nothing behind it
    assert about_at(file) == about_in("model.safetensors", data)
    with file.open("wb") as huge:  # a header that would fill the memory; the file has holes
        huge.write((2**40).to_bytes(8, "little"))
        huge.truncate(2**40)
    with pytest.raises(RunError, match="no metadata of cohobate"):
        about_at(file)


def test_a_cascade_of_an_earlier_export_and_files_of_ones_own(run: Path) -> None:
    (run / "export").mkdir()
    for name, text in {
        "cascade.json": '{"format": "cohobate cascade 1"}',
        "cascade.py": "",
        "config.json": '{"mine": 1}',
        "notes.txt": "",
    }.items():
        (run / "export" / name).write_text(text)
    export(run, ["safetensors"])
    rows = next(table for table in card_in(run / "export").tables if table[0][0] == "file")[1:]
    assert [row[0] for row in rows] == ["model.safetensors", "cascade.json", "cascade.py"]
    (run / "export" / "cascade.json").write_text("{}")
    (run / "export" / "config.json").write_text('{"pretrained_cfg": {}}')
    export(run, ["safetensors"])
    rows = next(table for table in card_in(run / "export").tables if table[0][0] == "file")[1:]
    assert [row[0] for row in rows] == ["model.safetensors", "config.json"]


def test_the_card_is_written_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        main(["export", str(run), "--format", "safetensors"])
    printed, notes = capsys.readouterr()
    assert notes == ""
    assert "README.md  0.01 MiB  model card, replaced" in printed
    assert sorted(path.name for path in (run / "export").iterdir()) == ["README.md", "model.safetensors"]


@pytest.mark.parametrize("foreign", ["# My project\n", "changed"])
def test_a_readme_of_ones_own_stays(run: Path, foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of another project, or a card to which a licence was added."""
    export(run, ["safetensors"])
    readme = run / "export" / "README.md"
    if foreign == "changed":
        foreign = readme.read_text(encoding="utf-8").replace("## Licence", "## Licence\n\nMIT")
    readme.write_text(foreign, encoding="utf-8")
    capsys.readouterr()
    main(["export", str(run), "--format", "safetensors"])
    assert readme.read_text(encoding="utf-8") == foreign
    assert is_untouched((run / "export" / "model-card.md").read_text(encoding="utf-8"))
    printed, notes = capsys.readouterr()
    said = f"note: {readme} is not a card as an export writes it, or was changed since, so it stays"
    assert said in notes
    assert "model-card.md  0.01 MiB  model card" in printed


def test_no_card_of_ones_own_is_overwritten(run: Path) -> None:
    folder = run / "export"
    folder.mkdir()
    for name in ("README.md", "model-card.md"):
        (folder / name).write_text(f"# My {name}\n")
    for _ in range(2):
        assert export(run, ["safetensors"])[-1].path.name == "model-card-2.md"
    for name in ("README.md", "model-card.md"):
        assert (folder / name).read_text() == f"# My {name}\n"
    (folder / "model-card-2.md").write_text("# Mine too\n")
    assert export(run, ["safetensors"])[-1].path.name == "model-card-3.md"
    assert sorted(path.name for path in folder.glob("*.md")) == [
        "README.md", "model-card-2.md", "model-card-3.md", "model-card.md"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ['{"mine": 1}', "[]", "no JSON", "[" * 200_000])
def test_a_config_that_is_none_of_timm_is_not_overwritten(text: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    refuse_foreign(config)
    config.write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
    refuse_foreign(config)
    config.write_text(text)
    with pytest.raises(RunError, match=r"config\.json is no config\.json of timm.* nothing was written$"):
        refuse_foreign(config)
    assert config.read_text() == text


def test_another_read_out(tmp_path: Path) -> None:
    main(["train", "dml", *TRAIN, "--out", str(tmp_path / "dml")])
    names = list(result(tmp_path / "dml")["readouts"])
    other = next(name for name in names if name != result(tmp_path / "dml")["predictor"])
    export(tmp_path / "dml", ["safetensors"], readout=other)
    page = card_in(tmp_path / "dml" / "export")
    rows = next(table for table in page.tables if table[0][0] == "runs")
    expected = result(tmp_path / "dml")["last"]["test"][other]["top1_error"]
    assert rows[1][2] == f"{expected:.2f}"
    files = next(table for table in page.tables if table[0][0] == "file")
    assert files[1][1] == "weights alone, for cohobate.load"
    assert files[1][3] == f"last epoch (1), read-out {other}"


# ---------------------------------------------------------------- metadata


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_foreign_pt2_file_is_not_unpickled(run: Path, tmp_path: Path) -> None:
    folder, trap = run / "export", tmp_path / "trap"
    export(run, ["pt2"])
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, pickle.dumps(Bomb(trap)) if name.endswith("model.pt") else data)
    pickle.loads(pickle.dumps(Bomb(trap)))
    assert trap.exists(), "the trap does not work"
    trap.unlink()
    export(run, ["safetensors"])
    assert not trap.exists()
    rows = next(table for table in card_in(folder).tables if table[0][0] == "file")[1:]
    assert rows[1][:1] + rows[1][3:4] == ["model.pt2", "last epoch (1)"]


def archive_with(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.onnx", b"nothing", "a.onnx is cut, damaged, or no ONNX file"),
        ("a.pt2", b"nothing", "a.pt2 has no metadata of cohobate"),
        ("a.pt2", archive_with("x/extra/other.json", "{}"), "a.pt2 has no metadata of cohobate"),
        ("a.pt2", archive_with("x/extra/cohobate.json", "[]"), "a.pt2 has no metadata of cohobate"),
        ("a.pt2", archive_with("x/extra/cohobate.json", " " * 2**25), "a.pt2 has no metadata of cohobate"),
        ("a.pt2", archive_with("x/extra/cohobate.json", "{}"), "classes: Field required"),
        ("a.pt2", archive_with("x/extra/cohobate.json", "[" * 200_000), "a.pt2 has no metadata of cohobate"),
        ("a.safetensors", b"", "a.safetensors has no metadata of cohobate"),
        ("a.safetensors", b"\x02" + b"\0" * 7 + b"{}", "a.safetensors has no metadata of cohobate"),
        ("a.h5", b"", "a.h5 is no network; there are onnx, pt2, safetensors"),
    ],
)
def test_files_without_metadata(name: str, data: bytes, message: str) -> None:
    with pytest.raises((ValueError, RunError), match=message):
        about_in(name, data)


# ---------------------------------------------------------------- words


def asked(**options: Any) -> Asked:
    return Asked(Command(**options))


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({"run": "runs/a b"}, "cohobate export 'runs/a b' --format onnx"),
        (
            {
                "run": "r",
                "format": ("onnx", "pt2"),
                "out": "o",
                "weights": "best",
                "readout": "ensemble",
                "values": "0-1",
                "opset": 20,
                "data_root": "data",
            },
            "cohobate export r --format onnx pt2 --out o --weights best --readout ensemble --values 0-1 "
            "--opset 20 --data-root data",
        ),
        (
            {"run": "r", "adaptive": True, "threshold": 0.5},
            "cohobate export r --format onnx --adaptive --threshold 0.5",
        ),
        (
            {"run": "r", "adaptive": True, "threshold": 0},
            "cohobate export r --format onnx --adaptive --threshold 0.0",
        ),
        (
            {"run": "r", "adaptive": True, "threshold": math.inf},
            "cohobate export r --format onnx --adaptive --threshold inf",
        ),
        (
            {"run": "r", "int8": True, "calibration_images": 9, "data": "digits"},
            "cohobate export r --format onnx --data digits --int8 --calibration-images 9",
        ),
    ],
)
def test_the_command_of_an_export(options: dict[str, Any], command: str) -> None:
    """It gives the same options again."""
    assert command_of(asked(**options)) == (command, "sh")
    again = parsed_alone("cohobate export", shlex.split(command)[2:], Command, "")
    assert again == asked(**options).command


def test_a_call_with_what_the_command_line_does_not_have() -> None:
    call, language = command_of(
        Asked(
            Command(run=Path("r"), out=Path("o"), adaptive=True, threshold=math.inf),
            torch.nn.Identity(),
        )
    )
    assert language == "python"
    assert call == (
        "cohobate.export('r', ('onnx',), network=network, out='o', adaptive=True, threshold=math.inf)"
    )


def test_the_call_of_an_export_from_python(tmp_path: Path) -> None:
    """Of a network in memory, trained by `fit`."""
    network = cohobate.build("resnet8", classes=4)
    x, y = np.zeros((40, 16, 16, 3), np.uint8), np.arange(40) % 4
    data = cohobate.arrays(x, y, test=(x, y))
    method = cohobate.Supervised(network)
    cohobate.fit(method, data, tmp_path / "run", epochs=1, batch_size=20, quiet=True, device="cpu")
    cohobate.export(tmp_path / "run", "safetensors", network=network, data=data, weights="best")
    page = card_in(tmp_path / "run" / "export")
    text = (tmp_path / "run" / "export" / "README.md").read_text(encoding="utf-8")
    run = tmp_path / "run"
    call = f"cohobate.export('{run}', ('safetensors',), network=network, data=data, weights='best')"
    assert page.code[-1] == ("python", f"{call}\n")
    assert "The network was trained by the method `Supervised`." in text
    assert "It was trained from Python, by this program:" in text
    parameters = sum(each.numel() for each in network.parameters())
    assert f"The network has {parameters:,} parameters." in text
    files = next(table for table in page.tables if table[0][0] == "file")
    assert files[1][1] == "weights alone, for cohobate.load_weights and a network that has them"


def test_a_method_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a user's own nothing is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('was run')")
    assert explained("mine.py:Scaled").summary == ""
    assert explained("kd+at").summary.endswith(
        "2015) + Attention maps of all stages (Zagoruyko and Komodakis, 2017)."
    )
    assert explained("kd").defaults["temperature"] == 4.0
    assert explained("kd").help["ce_weight"] == "Factor of the cross-entropy in the loss."
