"""``cohobate export RUN --adaptive``: the files of a cascade, and the runner that knows no PyTorch."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import fails, refused

import cohobate
from cohobate.cli import main
from cohobate.commands import export_cascade
from cohobate.commands.export import export
from cohobate.commands.export_forms import Forms
from cohobate.config.forms import Form, Values
from cohobate.data.sources import load_data
from cohobate.engine.checkpoint import State, read_state, temporary_of, write_state
from cohobate.engine.errors import RunError
from cohobate.inference import cascade_runner
from cohobate.inference.cascade_runner import Cascade
from cohobate.inference.deployable import Normalisation
from cohobate.runs.deployed import StoredThreshold, read_deployed, store_threshold
from cohobate.runs.exported import About

TRAIN = ["--data", "digits", "--model", "resnet8", "--train-images", "400", "--batch-size", "50"]
OWN = ["--networks", "3", "--learn", "labels", "--epochs", "3", "--lr", "0.05", "--device", "cpu"]
FILES = [
    "README.md",
    "cascade.json",
    "cascade.py",
    "export.json",
    "stage-0.onnx",
    "stage-1.onnx",
    "stage-2.onnx",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, written_once: None) -> Path:
    """A run of three networks, exported to its folder; about half of the images leave after the first."""
    run = tmp_path_factory.mktemp("cascade") / "run"
    main(["train", "ensemble", *TRAIN, *OWN, "--quiet", "--out", str(run)])
    store(run, threshold=middle(run))
    export(run, adaptive=True)
    return run


@pytest.fixture(scope="module", autouse=True)
def written_once() -> Iterator[None]:
    """Each network is written as ONNX once; that takes a second, and here the same ones are written often."""
    held: dict[Any, bytes] = {}
    written = Forms.written

    def once(forms: Forms, form: Form) -> bytes:
        weights = tuple(float(each.double().sum()) for each in forms.source.network.state_dict().values())
        key = form, forms.opset, weights, forms.source.about.model_dump_json()
        if key not in held:
            held[key] = written(forms, form)
        return held[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Forms, "written", once)
        yield


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


@pytest.fixture
def folder(run: Path) -> Path:
    return run / "export"


def store(run: Path, threshold: float, energy: str = "sum") -> None:
    deployed = read_deployed(run)
    store_threshold(deployed, StoredThreshold(threshold, energy, "a rule"))


def digits() -> torch.Tensor:
    """All test images, uint8."""
    test = load_data("digits", Path()).test()  # type: ignore[misc]
    return test.x.permute(0, 3, 1, 2).contiguous()  # type: ignore[no-any-return, union-attr]


def normalised(run: Path) -> torch.Tensor:
    return Normalisation(*read_deployed(run).statistics).of_bytes(digits(), "normalised")


@torch.no_grad()
def middle(run: Path) -> float:
    first = cohobate.load(run).network.prefixes(normalised(run))[0]  # type: ignore[operator]
    return float(first.double().softmax(1).square().sum(1).median()) + 1e-6


def change(folder: Path, **changed: Any) -> None:
    file = folder / "cascade.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


# ---------------------------------------------------------------- what it predicts


def test_the_folder_holds_the_networks_the_record_and_the_runner(run: Path, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert (folder / "cascade.py").read_bytes() == Path(cascade_runner.__file__).read_bytes()
    record = json.loads((folder / "cascade.json").read_text())
    deployed = read_deployed(run)
    assert record["threshold"] == deployed.threshold.threshold  # type: ignore[union-attr]
    assert record["threshold_rule"] == "a rule"
    assert record["classes"] == deployed.classes
    assert record["members"] == ["resnet8"] * 3
    assert (record["mean"], record["std"]) == deployed.statistics
    assert record["cohobate"] == version("cohobate")
    assert set(record["errors"]) == {"val", "test"}
    for i, stage in enumerate(record["stages"]):
        data = (folder / stage["file"]).read_bytes()
        assert stage == {"file": f"stage-{i}.onnx", "sha256": hashlib.sha256(data).hexdigest()}
        about = About.from_metadata(
            {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}, "stage"
        )
        assert (about.model, about.members, about.errors) == ("resnet8", (), {})
        assert about.readout == f"network {i + 1} of 3, whose logits are summed"
        assert about.stage == (i + 1, 3)
        with pytest.raises(ValueError, match=f"is network {i + 1} of the 3 of a cascade"):
            cohobate.predict(folder / stage["file"], np.zeros((1, 8, 8, 3), np.uint8))
        assert 3 * about.parameters == record["parameters"]  # type: ignore[operator]


@pytest.mark.parametrize("energy", ["sum", "added"])
@torch.no_grad()
def test_it_predicts_what_the_cascade_of_the_run_predicts(run: Path, folder: Path, energy: str) -> None:
    store(run, 0.5, energy)
    export(run, adaptive=True)
    exported, own = Cascade(folder, threads=1), cohobate.load(run, adaptive=True)
    assert (exported.threshold, exported.energy) == (0.5, energy) == (own.threshold, own.energy)
    images, x = digits().numpy(), normalised(run)
    assert len(images) == 359
    prefixes = exported.prefixes(images)
    sums = cohobate.load(run).network.prefixes(x)  # type: ignore[operator]
    np.testing.assert_allclose(prefixes, torch.stack(sums), rtol=1e-4, atol=1e-5)
    energies = np.stack([cascade_runner.energy(each) for each in (prefixes, np.diff(prefixes, axis=0))[0]])
    used = set()
    for threshold in (0.0, middle(run), 0.5, 0.9, 1.0, math.inf):
        exported.threshold = own.threshold = threshold
        logits, exits = exported.predict(images)
        theirs = own.exits(x)
        near = (abs(energies - threshold) < 1e-5).any(axis=0)
        same = exits == theirs.exits.numpy()
        assert (same | near).all()
        assert near.sum() < 5
        np.testing.assert_allclose(logits[same], theirs.logits.numpy()[same], rtol=1e-4, atol=1e-5)
        # Of a prefix of the sum, to the bit where the batch is of one size.
        expected = prefixes[exits, np.arange(len(exits))]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        used |= set(exits.tolist())
        if threshold == 0:
            assert set(exits.tolist()) == {0}
        if threshold == 1 and energy == "added":
            assert 1 in exits
        elif threshold >= 1:
            assert set(exits.tolist()) == {2}
    assert used == {0, 1, 2}


def test_one_image_and_none_and_only_those_left_are_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade, images = Cascade(folder), digits().numpy()
    whole = cascade.predict(images)
    for i in (0, 5):
        alone = cascade.predict(images[i : i + 1])
        assert alone.exits.shape == (1,)
        assert alone.exits[0] == whole.exits[i]
        np.testing.assert_allclose(alone.logits[0], whole.logits[i], rtol=1e-4, atol=1e-5)
    none = cascade.predict(images[:0])
    assert (none.logits.shape, none.exits.shape) == ((0, 10), (0,))
    assert (none.logits.dtype, none.exits.dtype) == (np.float32, np.int64)
    seen: list[int] = []

    def counting(network: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: (seen.append(len(x)), network(x))[1]

    monkeypatch.setattr(cascade, "_stages", [counting(each) for each in cascade._stages])
    _, exits = cascade.predict(images)
    assert seen == [int((exits >= i).sum()) for i in range(3)]
    assert seen[0] > seen[1] > seen[2] > 0
    seen.clear()
    cascade.threshold = 0
    cascade.predict(images)
    assert seen == [len(images)]


def test_an_energy_at_the_threshold_is_not_above_it(folder: Path) -> None:
    cascade, images = Cascade(folder), digits().numpy()
    at = cascade_runner.energy(cascade.prefixes(images)[0])
    cascade.threshold = float(np.sort(at)[len(at) // 2])
    _, exits = cascade.predict(images)
    assert (exits[at <= cascade.threshold] > 0).all()
    assert (exits[at > cascade.threshold] == 0).all()


def test_the_energy_is_that_of_the_networks_to_the_last_digits() -> None:
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)) * 20
    energies = cascade_runner.energy(logits.numpy())
    assert energies.dtype == np.float64
    naive = [sum((math.exp(z) / sum(map(math.exp, row))) ** 2 for z in row) for row in logits.tolist()]
    np.testing.assert_allclose(energies, np.minimum(naive, 1), rtol=1e-12)
    assert cascade_runner.energy(np.array([[2e4, -2e4]], np.float32)).tolist() == [1]


def test_images_of_other_values(run: Path, folder: Path) -> None:
    values: Values = "normalised"
    before = Cascade(folder).predict(digits().numpy())
    export(run, adaptive=True, values=values)
    cascade = Cascade(folder)
    x = Normalisation(*read_deployed(run).statistics).of_bytes(digits(), values).numpy()
    for images in (x, x.astype(np.float64)):
        after = cascade.predict(images)
        np.testing.assert_allclose(after.logits, before.logits, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=rf"of float32, values {values}; got \(359, 3, 8, 8\) of uint8"):
        cascade.predict(digits().numpy())


def test_another_threshold(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["export", str(run), "--adaptive", "--threshold", "0.25"])
    said = capsys.readouterr().out
    assert "cascade.json" in said
    assert "threshold 0.25 (given by --threshold); 143 images, largest difference of a logit" in said
    assert said.count("%") == 3
    assert Cascade(folder).threshold == 0.25
    export(run, adaptive=True, threshold=math.inf)
    assert json.loads((folder / "cascade.json").read_text())["threshold"] == "never"
    assert Cascade(folder).threshold == math.inf
    with pytest.raises(ValueError, match=r"deployed-best\.safetensors stores no threshold .*--weights best"):
        export(run, adaptive=True, weights="best")


# ---------------------------------------------------------------- without PyTorch

FORBIDDING = """
import importlib.abc, runpy, sys


class Forbidding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"torch", "cohobate", "onnx", "onnxscript", "PIL", "scipy"}:
            raise ImportError(name + " is forbidden")


sys.meta_path.insert(0, Forbidding())
sys.argv = ["cascade.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_runner_needs_numpy_and_onnxruntime_only(folder: Path, tmp_path: Path) -> None:
    images = digits().numpy()
    np.save(tmp_path / "images.npy", images)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-I", "-c", FORBIDDING, str(tmp_path / "images.npy")],
        capture_output=True,
        text=True,
        cwd=elsewhere,
    )
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header == "image,label,probability,exit"
    logits, exits = Cascade(folder).predict(images)
    assert [int(line.split(",")[3]) for line in lines] == exits.tolist()
    assert [int(line.split(",")[1]) for line in lines] == logits.argmax(1).tolist()
    shares = torch.from_numpy(logits).softmax(1).max(1).values.tolist()
    assert [float(line.split(",")[2]) for line in lines] == pytest.approx(shares, abs=1e-4)


def test_it_imports_nothing_else_anywhere() -> None:
    tree = ast.parse(Path(cascade_runner.__file__).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module).partition(".")[0])
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def run_main(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cascade_runner.main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_its_command_line_refuses_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--folder", str(folder)]
    np.save("images.npy", digits().numpy())
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    np.save("number.npy", np.array(3))
    np.savez("two.npz", digits().numpy())
    Path("cut.npy").write_bytes(Path("images.npy").read_bytes()[:5000])
    assert "No such file or directory: 'no.npy'" in run_main(capsys, "no.npy", *where)
    Path("cut.npz").write_bytes(Path("two.npz").read_bytes()[:5000])
    Path("text.npy").write_text("images")
    for name in ("objects.npy", "cut.npy", "cut.npz", "two.npz", "number.npy", "text.npy"):
        assert f"{name} is no array of images as numpy.save writes it, or it is cut" in run_main(
            capsys, name, *where
        )
    assert "got 3.0" in run_main(capsys, "images.npy", *where, "--threshold", "3")
    assert "threads is 1 or more, got -1" in run_main(capsys, "images.npy", *where, "--threads", "-1")
    cascade_runner.main(["images.npy", *where, "--threshold", "inf", "--threads", "1"])
    assert {line.split(",")[3] for line in capsys.readouterr().out.splitlines()[1:]} == {"2"}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((2, 3, 9, 8), np.uint8), r"arrays \(B, 3, 8, 8\) of uint8, .*got \(2, 3, 9, 8\) of uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got \(2, 8, 8, 3\) of uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"got \(3, 8, 8\) of uint8"),
        (np.zeros((2, 3, 8, 8), np.float32), r"of uint8, values 0-255; got \(2, 3, 8, 8\) of float32"),
        (np.zeros((2, 3, 8, 8), np.uint16), r"got \(2, 3, 8, 8\) of uint16"),
        ([[1]], r"got <class 'list'>"),
    ],
)
def test_images_of_another_kind_are_refused(folder: Path, images: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cascade(folder).predict(images)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": "cohobate cascade 9"}, "format 'cohobate cascade 9', this cascade.py reads"),
        ({"stages": []}, r"cannot have \[\] as stages; export the run again"),
        ({"threshold": 1.5}, "cannot have 1.5 as threshold"),
        ({"threshold": math.nan}, "cannot have nan as threshold"),
        ({"threshold": math.inf}, "cannot have inf as threshold"),
        ({"threshold": None}, "cannot have None as threshold"),
        ({"energy": "product"}, "cannot have 'product' as energy"),
        ({"classes": ["one", 2]}, r"cannot have \['one', 2\] as classes"),
        (
            {"classes": ["one"]},
            r"stage-0.onnx is no network of this cascade, .* gives 1 logits; the file has",
        ),
        ({"shape": [3, 8]}, r"cannot have \[3, 8\] as shape"),
        ({"shape": [3, 8, 9]}, r"stage-0.onnx is no network of this cascade, which takes images \(3, 8, 9\)"),
        ({"values": "0-1"}, "with values 0-1 .* the file has images tensor"),
        ({"values": ["0-1"]}, r"cannot have \['0-1'\] as values"),
    ],
)
def test_a_changed_record_is_refused(folder: Path, changed: dict[str, Any], said: str) -> None:
    change(folder, **changed)
    with pytest.raises(ValueError, match=said):
        Cascade(folder)


@pytest.mark.parametrize(
    "file", ["../stage-0.onnx", "/stage-0.onnx", "a/stage-0.onnx", "C:stage-0.onnx", "a\\b.onnx", "..", ""]
)
def test_no_file_outside_of_the_folder_is_read(folder: Path, file: str) -> None:
    data = (folder / "stage-0.onnx").read_bytes()
    (folder.parent / "stage-0.onnx").write_bytes(data)
    change(folder, stages=[{"file": file, "sha256": hashlib.sha256(data).hexdigest()}])
    with pytest.raises(ValueError, match="as stages; export the run again"):
        Cascade(folder)


def test_missing_damaged_and_foreign_files(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run.cascade\.json: give the folder that"):
        Cascade(run)
    record = (folder / "cascade.json").read_text()
    (folder / "cascade.json").write_text(record[:200])
    with pytest.raises(ValueError, match=r"cascade\.json is cut or damaged .*; export the run again"):
        Cascade(folder)
    (folder / "cascade.json").write_text("[1]")
    with pytest.raises(ValueError, match="is of the format None"):
        Cascade(folder)
    (folder / "cascade.json").write_text(record)
    stage = folder / "stage-1.onnx"
    data = stage.read_bytes()
    stage.write_bytes(data[:-10])
    with pytest.raises(ValueError, match=r"stage-1\.onnx is not the file that the cascade was written with"):
        Cascade(folder)
    stages = json.loads(record)["stages"]
    stages[1]["sha256"] = hashlib.sha256(data[:100]).hexdigest()
    stage.write_bytes(data[:100])
    change(folder, stages=stages)
    with pytest.raises(ValueError, match=r"stage-1\.onnx cannot be read by onnxruntime: "):
        Cascade(folder)
    stage.unlink()
    with pytest.raises(FileNotFoundError, match=r"stage-1\.onnx, a network of the cascade, is missing"):
        Cascade(folder)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        Cascade(folder)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan, "0.5", None])
def test_a_threshold_that_is_none_is_refused(folder: Path, threshold: Any) -> None:
    cascade = Cascade(folder)
    before = cascade.threshold
    with pytest.raises(ValueError, match=f"an energy in .*got {threshold!r}"):
        cascade.threshold = threshold
    assert cascade.threshold == before


# ---------------------------------------------------------------- the command


def test_what_cannot_be_exported_so_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "export", "run", "--adaptive", "--format", "pt2")
    assert "no pt2: leave --format out, or give --format pt2 without --adaptive for the whole sum" in said
    said = refused(capsys, "export", "run", "--adaptive", "--readout", "S_0")
    assert "and not of its read-out S_0: give one of the two" in said
    said = refused(capsys, "export", "run", "--adaptive", "--int8")
    assert "networks of a cascade one by one, and --int8 the whole sum: give one of the two" in said
    assert "--threshold has no effect without --adaptive" in refused(
        capsys, "export", "run", "--threshold", "0.5"
    )
    assert "threshold: an energy is from 0 to 1, or inf" in refused(
        capsys, "export", "run", "--adaptive", "--threshold", "1.5"
    )
    with pytest.raises(ValueError, match="export your own without adaptive"):
        export(run, adaptive=True, network=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"an energy is from 0 to 1, .* got 1.5"):
        export(run, adaptive=True, threshold=1.5)


def test_without_a_stored_threshold_the_message_says_how_to_get_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "deployed.safetensors"
    state = read_state(file)
    write_state(file, State(state.tensors, {k: v for k, v in state.facts.items() if k != "found"}))
    said = refused(capsys, "export", "run", "--adaptive")
    assert "stores no threshold for its cascade: `cohobate evaluate RUN --adaptive`" in said
    main(["export", "run", "--adaptive", "--threshold", "0.5"])
    assert Cascade(run / "export").threshold == 0.5


def test_a_plain_network_is_no_cascade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "baseline", *TRAIN, "--epochs", "1", "--device", "cpu", "--quiet", "--out", "plain"])
    capsys.readouterr()
    said = refused(capsys, "export", "plain", "--adaptive")
    assert "is one network, resnet8, and no sum of several" in said


def test_files_that_predict_otherwise_are_not_written(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export_cascade.cascade_files

    def swapped(*arguments: Any) -> dict[str, bytes]:
        """The second network twice."""
        files = made(*arguments)
        record = json.loads(files["cascade.json"])
        record["stages"][0] = record["stages"][1]
        return {**files, "cascade.json": json.dumps(record).encode()}

    def bolder(*arguments: Any) -> dict[str, bytes]:
        """Another threshold in the file."""
        files = made(*arguments)
        return {
            **files,
            "cascade.json": json.dumps({**json.loads(files["cascade.json"]), "threshold": 0}).encode(),
        }

    before = {path: path.read_bytes() for path in (run / "export").iterdir()}
    for fault, said in (
        (swapped, "the exported cascade does not predict what that of run predicts: the largest difference"),
        (bolder, "leave the exported cascade after another network than that of run, by more than rounding"),
    ):
        monkeypatch.setattr("cohobate.commands.export_cascade.cascade_files", fault)
        with pytest.raises(RunError, match=said):
            export(run, adaptive=True)
    assert {path: path.read_bytes() for path in (run / "export").iterdir()} == before


def test_a_full_disk_leaves_what_was_there(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / "export"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    opened = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == temporary_of(folder / "stage-1.onnx"):
            raise OSError(28, "No space left on device")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    said = fails(capsys, "export", "run", "--adaptive", "--threshold", "0.25")
    assert "cannot write run/export/stage-1.onnx" in said
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
