"""``cohobate export`` and ``cohobate.export``: what is written, what is refused, and what stays untouched."""

from __future__ import annotations

import builtins
import contextlib
import errno
import inspect
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refused
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from zoo import CLASSES, SIZE, HandWritten, seeded, toy, toy_data

import cohobate
from cohobate.cli import main
from cohobate.commands import bench_networks, export_forms
from cohobate.commands import export_options as asking
from cohobate.commands.export_metadata import about_at
from cohobate.commands.ready_opened import ready_network
from cohobate.commands.rebuild import prepared_of, rebuild
from cohobate.config.opsets import newest_opset
from cohobate.engine.checkpoint import read_state, weights_digest, write_json, write_state
from cohobate.engine.errors import RunError
from cohobate.inference.agreement import agreement
from cohobate.inference.deployable import Deployable, Normalisation
from cohobate.inference.exporting import METADATA
from cohobate.inference.onnx_network import OnnxNetwork
from cohobate.runs.exported import About
from cohobate.runs.kept import load_kept

DIGITS = ["--data", "digits", "--epochs", "1", "--train-images", "150", "--batch-size", "50", "--lr", "0.01"]
QUICK = ["--device", "cpu", "--quiet", "--model", "resnet8"]


def trained(folder: Path, *arguments: str) -> Path:
    main(["train", *arguments, *QUICK, "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this file lie; no test writes into them but into ``export``."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def baseline(runs: Path) -> Path:
    return trained(runs / "baseline", "baseline", *DIGITS)


@pytest.fixture(scope="module")
def dml(runs: Path) -> Path:
    return trained(runs / "dml", "dml", *DIGITS)


@pytest.fixture(scope="module")
def reskd(runs: Path, baseline: Path) -> Path:
    stages = ["--res-students", "resnet8", "--stop-share", "none"]
    return trained(runs / "reskd", "reskd", "--teacher", str(baseline), *stages, *DIGITS)


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder but those of exports."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "export" not in path.parts)
    return {str(path): path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def networks(*arguments: Any, **options: Any) -> list[Any]:
    """The networks of an export, without the record and the model card beside them."""
    written = cohobate.export(*arguments, **options)
    assert [each.path.name for each in written[-2:]] == ["export.json", "README.md"]
    return written[:-2]


def some(count: int, shape: tuple[int, ...] = (3, 8, 8)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)


def normalised(about: About, pixels: Tensor) -> Tensor:
    return Normalisation(about.mean, about.std).of_bytes(pixels, "normalised")


# ---------------------------------------------------------------- what is written


@pytest.fixture(scope="module")
def exported(baseline: Path) -> tuple[Path, str]:
    """A folder with every form, and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()) as notes:
        main(["export", str(baseline), "--format", "onnx", "pt2", "safetensors"])
    assert notes.getvalue() == ""
    return baseline / "export", printed.getvalue()


def test_each_form_is_written_checked_and_described(exported: tuple[Path, str], baseline: Path) -> None:
    folder, printed = exported
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "model.pt2", "model.safetensors", "README.md", "export.json"}
    assert printed.count("; on digits, val split\n") == 2
    for form in ("onnx", "pt2"):
        assert f"{folder / f'model.{form}'}  0." in printed
    assert printed.count("143 images, largest difference of a logit ") == 2
    assert "weights equal bit by bit" in printed
    extra = {METADATA: ""}
    module = torch.export.load(str(folder / "model.pt2"), extra_files=extra).module()
    network = OnnxNetwork(folder / "model.onnx")
    abouts = [
        About.from_metadata(network.metadata, "onnx"),
        About.from_metadata(json.loads(extra[METADATA]), "pt2"),
        About.of(read_state(folder / "model.safetensors").facts, "safetensors"),
    ]
    assert abouts[0] == abouts[1] == abouts[2]
    outcome = json.loads((baseline / "result.json").read_text())
    measured = outcome["last"]["test"]["network"]
    assert abouts[0].errors["test"] == {k: v for k, v in measured.items() if not isinstance(v, list)}
    assert abouts[0].classes == tuple("0123456789")
    assert (abouts[0].model, abouts[0].values, abouts[0].shape) == ("resnet8", "0-255", (3, 8, 8))
    assert (abouts[0].parameters, abouts[0].macs) == (outcome["parameters_deployed"], outcome["macs"])
    run = cohobate.load(baseline)
    with torch.no_grad():
        logits = run(normalised(abouts[0], some(7)))
    assert agreement(logits, network(some(7))).same
    assert agreement(logits, module(some(7)).detach()).same


def test_weights_alone_are_the_run_s_network_again(exported: tuple[Path, str], baseline: Path) -> None:
    folder, _ = exported
    file = folder / "model.safetensors"
    again, own = cohobate.load(file), cohobate.load(baseline)
    assert again.class_names == own.class_names
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x), own(x))
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["facts"])["values"] == "0-255"


def test_exporting_again_writes_the_same_bytes_and_leaves_the_run_alone(
    exported: tuple[Path, str], baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = exported[0], files(baseline)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    main(["export", str(baseline), "--format", "onnx,pt2,safetensors"])
    assert files(baseline) == before
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(", replaced") for line in lines if "model." in line] == [True] * 3


def test_a_peer_of_dml_is_a_network_by_name_and_the_mean_is_none(dml: Path) -> None:
    again = rebuild(dml, prepared_of(dml))
    load_kept(again.method, again.states[1])
    predictors = again.method.eval().predictors()
    (written,) = networks(dml, ["safetensors"], "peer", readout="peer_2")
    peer = cohobate.load(written.path)
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(peer(x), predictors["peer_2"](x))
        assert not torch.equal(peer(x), predictors["peer_1"](x))
    with pytest.raises(ValueError, match=r"the read-out 'ensemble' of .* is no network .* onnx or pt2"):
        cohobate.export(dml, ["onnx", "safetensors"], "mean", readout="ensemble")
    assert not Path("mean").exists()
    (mean,) = networks(dml, ["onnx"], "mean", readout="ensemble", values="0-1")
    network = OnnxNetwork(mean.path)
    about = About.from_metadata(network.metadata, mean.path)
    assert (about.model, about.readout, about.values) == (None, "ensemble", "0-1")
    with torch.no_grad():
        logits = predictors["ensemble"](normalised(about, some(5)))
    assert agreement(logits, network(some(5).float() / 255)).same
    measured = json.loads((dml / "result.json").read_text())["last"]["test"]["ensemble"]
    assert about.errors["test"]["top1_error"] == measured["top1_error"]


def test_a_sum_keeps_its_threshold_and_its_first_network_has_none(reskd: Path) -> None:
    (written,) = networks(reskd, ["safetensors"], "sum")
    facts = read_state(written.path).facts
    assert facts["members"] == ["resnet8", "resnet8"]
    cascade, own = cohobate.load(written.path, adaptive=True), cohobate.load(reskd, adaptive=True)
    assert cascade.threshold == own.threshold
    x = torch.randn(9, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(cohobate.load(written.path)(x), cohobate.load(reskd)(x))
    (first,) = networks(reskd, ["safetensors"], "first", readout="S_0")
    assert "found" not in read_state(first.path).facts
    whole = cohobate.load(reskd).network.get_submodule("networks.0")
    with torch.no_grad():
        assert torch.equal(cohobate.load(first.path)(x), whole(x).logits)


def test_weights_of_the_best_epoch(baseline: Path) -> None:
    (written,) = networks(baseline, ["safetensors", "safetensors"], "best", weights="best")
    state = read_state(written.path)
    best = read_state(baseline / "deployed-best.safetensors")
    assert all(torch.equal(state.tensors[key], best.tensors[key]) for key in best.tensors)
    assert state.facts["weights"] == "best"
    assert state.facts["epoch"] == best.facts["epoch"]


def test_a_run_on_a_gpu_in_bf16_is_exported_on_the_cpu_in_fp32(dml: Path) -> None:
    shutil.copytree(dml, "run", ignore=shutil.ignore_patterns("export"))
    text = Path("run/run.yaml").read_text()
    changed = text.replace("device: cpu", "device: cuda").replace("precision: fp32", "precision: bf16")
    assert changed.count("device: cuda") == changed.count("precision: bf16") == 1
    Path("run/run.yaml").write_text(changed)
    (written,) = networks("run", "pt2", readout="peer_2")
    extra = {METADATA: ""}
    program = torch.export.load(str(written.path), extra_files=extra)
    assert {tensor.dtype for tensor in program.state_dict.values()} == {torch.float32, torch.int64}
    assert json.loads(extra[METADATA])["precision"] == "bf16"


def test_on_a_terminal_it_says_what_takes_its_time(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    cohobate.export(baseline, ["safetensors"], "out")
    said = capsys.readouterr().err
    for line in ("reading the run", "writing the network as safetensors", "comparing the safetensors file"):
        assert line in said


# ---------------------------------------------------------------- images of the check


@pytest.fixture(scope="module")
def pictures(runs: Path) -> Path:
    """A run on a folder of large grey pictures."""
    generator = np.random.default_rng(0)
    for split, each in (("train", 8), ("val", 4)):
        for name in ("cat", "dog"):
            (runs / "zoo" / split / name).mkdir(parents=True)
            for i in range(each):
                pixels = generator.integers(100, size=(80, 90), dtype=np.uint8) + (
                    100 if name == "cat" else 0
                )
                Image.fromarray(pixels).save(runs / "zoo" / split / name / f"{i}.png")
    options = ["--data", str(runs / "zoo"), "--image-size", "72", "--channels", "1", "--epochs", "1"]
    return trained(runs / "pictures", "baseline", *options, "--batch-size", "8", "--workers", "0")


def test_large_grey_pictures_that_moved_and_others(
    pictures: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(pictures), "--format", "pt2", "--out", "a"])
    assert "; on zoo, val split\n" in capsys.readouterr().out
    (runs / "zoo").rename(runs / "moved")
    try:
        main(["export", str(pictures), "--format", "pt2", "--out", "b"])
        said, notes = capsys.readouterr()
        assert "note: the images of the run" in notes
        assert "checked on 256 images of noise; --data-root and --data say where there are images" in notes
        assert "256 images, largest difference" in said
        assert "; on noise\n" in said
        names = [line.partition("  ")[0] for line in said.splitlines()]
        assert names == ["b/model.pt2", "b/export.json", "b/README.md"]
        main(["export", str(pictures), "--format", "pt2", "--out", "c", "--data", str(runs / "moved")])
        said, notes = capsys.readouterr()
        assert "; on moved, val split\n" in said
        assert notes == ""
        gone = refused(capsys, "export", str(pictures), "--out", "d", "--data", str(runs / "nowhere"))
        assert "nowhere" in gone
        assert not Path("d").exists()
    finally:
        (runs / "moved").rename(runs / "zoo")
    program = torch.export.load("c/model.pt2")
    assert program.module()(some(2, (1, 72, 72))).shape == (2, 2)
    said = refused(capsys, "export", str(pictures), "--format", "pt2", "--out", "d", "--data", "digits")
    assert "images of digits are 1 x 8 x 8, the network is made for 1 x 72 x 72" in said


def test_a_read_out_needs_the_images_of_the_run_and_takes_them_from_where_they_are(
    dml: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(dml, "run", ignore=shutil.ignore_patterns("export"))
    text = Path("run/run.yaml").read_text()
    Path("run/run.yaml").write_text(text.replace("data: digits", "data: ./gone.npz"))
    said = refused(capsys, "export", "run", "--readout", "ensemble", "--format", "pt2")
    assert "the read-out 'ensemble' is built again with the whole method" in said
    assert "--data-root and --data say where they are" in said
    main(["export", "run", "--readout", "ensemble", "--format", "pt2", "--data", "digits"])
    assert "; on digits, val split\n" in capsys.readouterr().out


# ---------------------------------------------------------------- runs from Python


@pytest.fixture(scope="module")
def python_run(runs: Path) -> tuple[Path, nn.Module]:
    network = seeded(lambda: cohobate.SelfGuidance(cohobate.adapt(HandWritten(), shape=(3, SIZE, SIZE))))
    settings = {"epochs": 1, "batch_size": 16, "device": "cpu", "lr": 0.05, "quiet": True}
    result = cohobate.fit(network, toy_data(), runs / "python", **settings)  # type: ignore[arg-type]
    assert result.network is not None
    return result.folder, result.network


def test_a_run_from_python_is_refused_with_the_remedy(
    python_run: tuple[Path, nn.Module], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "export", str(python_run[0]))
    assert "was trained from Python (cohobate.fit with SelfGuidance)" in said
    assert f"cohobate.export('{python_run[0]}', network=network)" in said


def test_a_network_of_ones_own_gets_the_weights(python_run: tuple[Path, nn.Module]) -> None:
    folder, deployed = python_run
    torch.manual_seed(5)
    mine = cohobate.adapt(HandWritten(), shape=(3, SIZE, SIZE)).double().train()
    before = {key: tensor.clone() for key, tensor in mine.state_dict().items()}
    notes: list[str] = []
    written = networks(
        folder, ["onnx", "pt2", "safetensors"], "out", network=mine, data=toy_data(), say=notes.append
    )
    assert [each.path.name for each in written] == ["model.onnx", "model.pt2", "model.safetensors"]
    assert notes == []
    assert mine.training
    assert all(torch.equal(before[key], tensor) for key, tensor in mine.state_dict().items())
    network = OnnxNetwork(written[0].path)
    about = About.from_metadata(network.metadata, "x")
    assert (about.model, about.method, about.classes) == (None, "SelfGuidance", tuple("01234"))
    with torch.no_grad():
        logits = deployed(normalised(about, some(5)))
    assert agreement(logits, network(some(5))).same
    other = cohobate.adapt(HandWritten(), shape=(3, SIZE, SIZE))
    cohobate.load_weights(other, written[2].path)
    with pytest.raises(RunError, match=r"build it, then cohobate\.load_weights\(network, path\)"):
        cohobate.load(written[2].path)


def test_other_images_in_memory_are_said_to_be_others(python_run: tuple[Path, nn.Module]) -> None:
    mine, notes = cohobate.adapt(HandWritten(), shape=(3, SIZE, SIZE)), list[str]()
    x, y = np.zeros((80, SIZE, SIZE, 3), np.uint8), np.arange(80) % CLASSES
    data = cohobate.arrays(x, y, name="mine")
    cohobate.export(python_run[0], "safetensors", "out", network=mine, data=data, say=notes.append)
    assert notes[0] == "note: mine does not hold the images that the run was trained on"
    cohobate.export(python_run[0], "safetensors", "out", network=mine, say=notes.append)
    assert "are not there, or are others by now, so the files are checked on 256 images of noise" in notes[-1]


def test_a_network_that_is_another_is_refused(python_run: tuple[Path, nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"do not fit ResNet"):
        cohobate.export(python_run[0], out="out", network=toy())
    with pytest.raises(ValueError, match=r"wrapped by DataParallel"):
        cohobate.export(python_run[0], out="out", network=nn.DataParallel(toy()))
    with pytest.raises(ValueError, match=r"network= is the network as it was built .* got function"):
        cohobate.export(python_run[0], out="out", network=toy)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has no read-out 'peer_1'; it has network"):
        cohobate.export(python_run[0], out="out", network=toy(), readout="peer_1")
    assert not Path("out").exists()


def test_a_network_from_a_file_of_ones_own(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.py").write_text(
        "from zoo import HandWritten\nfrom torch import nn\n\n"
        "def make(classes):\n    network = HandWritten()\n    network.head = nn.Linear(8, classes)\n"
        "    return network\n"
    )
    options = [*DIGITS, "--device", "cpu", "--quiet", "--model", f"{Path('own.py').absolute()}:make"]
    main(["train", "self_guidance", *options, "--out", "run"])
    written = networks("run", ["onnx", "safetensors"])
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        again = cohobate.load(written[1].path, trust=True)
        assert torch.equal(again(x), cohobate.load("run")(x))
    # It leaves the folder of its run, and so is anybody's file.
    with pytest.raises(ValueError, match="a file does not decide which code is run"):
        cohobate.load(written[1].path)
    assert written[0].agreement is not None
    assert written[0].agreement.same


# ---------------------------------------------------------------- what is refused


def test_names_are_checked_first(
    baseline: Path, dml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(baseline)
    for arguments, said in (
        (["--readout", "ensemble"], f"{run} has no read-out 'ensemble'; it has network"),
        (["--opset", "17"], "opset 17 cannot be written and checked: torch's exporter writes 18 and newer, "),
        (["--opset", "999"], f"runs up to {newest_opset()}"),
        (["--format", "pt2", "--opset", "18"], "--opset has no effect without --format onnx"),
        (["--format", "onnx,pt", "--out", "x"], "pt2"),
        (["--format"], "no format is given; there are onnx, pt2, safetensors"),
    ):
        assert said in " ".join(refused(capsys, "export", run, *arguments).split()), arguments
    assert "it has peer_1, peer_2, ensemble" in refused(capsys, "export", str(dml), "--readout", "peer_3")
    for given, said in (
        ({"forms": ["onx"]}, r"^cohobate\.export: format\.0: .*'pt2' or 'safetensors' \(got 'onx'\)$"),
        ({"forms": "onx"}, r"format\.0: .* \(got 'onx'\)$"),
        ({"forms": []}, "no format is given; there are onnx, pt2, safetensors"),
        ({"values": "normalized"}, r"values: .*'0-1' or 'normalised' \(got 'normalized'\)$"),
        ({"weights": "lats"}, r"weights: .*'last' or 'best' \(got 'lats'\)$"),
        ({"opset": "new"}, r"opset: .* \(got 'new'\)$"),
        ({"int8": True, "calibration_images": 0}, r"calibration_images: .* 1 \(got 0\)$"),
        ({"adaptive": True, "threshold": 1.5}, r"threshold: an energy is from 0 to 1, or inf .*, got 1.5$"),
        (
            {"adaptive": True, "threshold": math.nan},
            r"threshold: an energy is from 0 to 1, or inf .*, got nan$",
        ),
        ({"adaptive": True, "threshold": -0.5}, r"threshold: an energy is from 0 to 1, or inf .*, got -0.5$"),
    ):
        with pytest.raises(ValueError, match=said):
            cohobate.export(baseline, **given)  # type: ignore[arg-type]


def test_the_function_has_the_options_of_the_command() -> None:
    """With the same defaults; it takes objects too, and what prints."""
    parameters = dict(inspect.signature(cohobate.export).parameters)
    fields = dict(asking.Command.model_fields)
    assert parameters.pop("run").default is inspect.Parameter.empty
    assert fields.pop("run").is_required()
    assert {"network", "say"} <= parameters.keys()
    names = {"forms": "format"}
    given = {names.get(n, n): each.default for n, each in parameters.items() if n not in ("network", "say")}
    assert given == {name: field.default for name, field in fields.items()}


def test_a_run_that_cannot_be_exported_says_why(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the folder gone does not exist" in refused(capsys, "export", "gone")
    shutil.copytree(baseline, "run", ignore=shutil.ignore_patterns("export"))
    result = json.loads(Path("run/result.json").read_text())
    write_json(Path("run/result.json"), {**result, "best": None})
    said = refused(capsys, "export", "run", "--weights", "best")
    assert "run has no best weights, since it has no validation split; give --weights last" in said
    whole = Path("run/deployed.safetensors").read_bytes()
    Path("run/deployed.safetensors").write_bytes(whole[:5000])
    assert "run/deployed.safetensors is truncated" in refused(capsys, "export", "run")
    Path("run/result.json").unlink()
    assert "run has not finished" in refused(capsys, "export", "run")


def test_without_onnx_only_onnx_is_refused(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(extra: str, needed_for: str) -> None:
        raise ImportError(f"{needed_for} needs {extra}")

    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.split(".")[0] in ("onnx", "onnxruntime", "onnxscript"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(asking, "require", gone)
    with pytest.raises(ImportError, match="--format onnx needs export"):
        cohobate.export(baseline, ["pt2", "onnx"], "out")
    assert not Path("out").exists()
    assert len(networks(baseline, ["pt2", "safetensors"], "out")) == 2


def test_a_folder_that_cannot_hold_files(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("mine")
    for out in ("file", "file/below"):
        said = refused(capsys, "export", str(baseline), "--out", out)
        assert f"file is a file, so the files of the export cannot lie in {out}" in said
    assert Path("file").read_text() == "mine"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = refused(capsys, "export", str(baseline), "--out", "new")
    assert "cannot be written, so nothing is exported to new; see --out" in said


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """No room for what is written after so many files."""
    real, left = os.fsync, after

    def fsync(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", [0, 1])
def test_without_room_what_was_there_stays(
    after: int, baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/model.pt2").write_text("before")
    full_disk(monkeypatch, after)
    said = refused(capsys, "export", str(baseline), "--out", "out", "--format", "pt2,safetensors")
    assert "cannot write out/model." in said
    assert "No space left on device" in said
    assert {path.name: path.read_text() for path in Path("out").iterdir()} == {"model.pt2": "before"}


Change = Callable[[Deployable], Deployable]


def other_mean(whole: Deployable) -> Deployable:
    mean, std = whole.normalisation
    return Deployable(whole.network, Normalisation([m + 0.1 for m in mean], std), whole.values).eval()


def fresh(whole: Deployable) -> Deployable:
    return Deployable(
        cohobate.build("resnet8", 10, shape=(3, 8, 8)), whole.normalisation, whole.values
    ).eval()


@pytest.mark.parametrize("fault", [other_mean, fresh])
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_file_of_another_network_is_never_written(
    fault: Change, form: str, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_forms.captured
    monkeypatch.setattr(export_forms, "captured", lambda whole, shape: real(fault(whole), shape))
    with pytest.raises(RunError, match=rf"^the {form} file does not predict what .* it was not written$"):
        cohobate.export(baseline, [form], "out")  # type: ignore[list-item]
    assert not Path("out").exists()


def test_weights_that_are_others_are_never_written(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export_forms.load

    def load(data: bytes) -> dict[str, Tensor]:
        tensors = real(data)
        tensors["conv.weight"] = tensors["conv.weight"] + 1e-7
        return tensors

    monkeypatch.setattr(export_forms, "load", load)
    with pytest.raises(RunError, match="does not hold the weights of the network; it was not written"):
        cohobate.export(baseline, ["safetensors"], "out")
    assert not Path("out").exists()


# ---------------------------------------------------------------- which weights


def test_every_file_says_which_weights_it_was_made_of(exported: tuple[Path, str], baseline: Path) -> None:
    folder, _ = exported
    expected = weights_digest(cohobate.load(baseline).state_dict())
    for form in ("onnx", "pt2", "safetensors"):
        assert about_at(folder / f"model.{form}").weights_digest == expected
    best = networks(baseline, ["safetensors"], "best", weights="best")[0].path
    of_best = read_state(baseline / "deployed-best.safetensors").tensors
    assert about_at(best).weights_digest == weights_digest(of_best)


def test_bench_does_not_take_files_of_other_weights_for_the_run_s(baseline: Path) -> None:
    shutil.copytree(baseline, "run", ignore=shutil.ignore_patterns("export"))
    (file,) = networks("run")
    ready, said = ready_network(Path("run"), device="cpu"), list[str]()
    assert bench_networks._exported(file.path, ready, said.append) is not None
    assert said == []
    state = read_state(Path("run/deployed.safetensors"))
    state.tensors["conv.weight"].mul_(1.01)
    write_state(Path("run/deployed.safetensors"), state)
    trained_again = ready_network(Path("run"), device="cpu")
    assert bench_networks._exported(file.path, trained_again, said.append) is None
    assert said == ["note: run/export/model.onnx holds other weights than run has now"]
