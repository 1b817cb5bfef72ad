"""Teachers, initial weights and evaluated networks are matched with the data by the names of the classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused
from PIL import Image
from torch import Tensor

import cohobate
from cohobate.cli import main
from cohobate.commands import evaluate as evaluation
from cohobate.commands.evaluate import evaluate_run
from cohobate.commands.images import read_data
from cohobate.engine.checkpoint import State, read_state, write_state
from cohobate.models.build import build
from cohobate.models.surgery.normalised import Renormalised
from cohobate.recipes.job import Job
from cohobate.recipes.options import options
from cohobate.recipes.teachers import teacher

CLASSES = ("ant", "bee", "cat")
QUICK = ["--epochs", "1", "--device", "cpu", "--quiet", "--batch-size", "8", "--data", "pictures"]
QUICK += ["--model", "resnet8", "--workers", "0"]
ORDER = [2, 0, 1]


def write_pictures(root: Path) -> None:
    """Three classes, each brighter in one channel."""
    draw = np.random.RandomState(0)
    for part, count in (("train", 10), ("test", 4)):
        for k, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.randint(0, 120, (8, 8, 3), np.uint8)
                pixels[..., k] += 90
                Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a run, and the same run with its classes in another order: the same network."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_pictures(root / "pictures")
        main(["train", "baseline", *QUICK, "--epochs", "3", "--out", "run"])
    shutil.copytree(root / "run", root / "turned")
    state = read_state(root / "run" / "deployed.safetensors")
    tensors = {k: v[ORDER] if k.startswith("fc.") else v for k, v in state.tensors.items()}
    facts = {**state.facts, "classes": [CLASSES[i] for i in ORDER]}
    write_state(root / "turned" / "deployed.safetensors", State(tensors, facts))
    return root


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "run", "turned"):
        shutil.copytree(made / name, tmp_path / name)


def weights(run: str) -> dict[str, Tensor]:
    return read_state(Path(run) / "deployed.safetensors").tensors


def same(one: str, two: str) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[key], second[key]) for key in first)


def rename(old: str, new: str) -> None:
    for part in ("train", "test"):
        Path("pictures", part, old).rename(Path("pictures", part, new))


# ---------------------------------------------------------------- teachers


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("kd", []),
        ("kd", ["--augmentations", "1", "--cache-teacher", "on"]),
        ("kd+at", []),
        ("crd", ["--negatives", "8"]),
        ("slkd", []),
        ("slkd", ["--form", "sequential"]),
        ("takd", ["--assistants", "resnet8"]),
        ("dgkd", ["--assistants", "resnet8"]),
        ("born_again", ["--generations", "2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value).replace("--", ""),
)
def test_a_teacher_in_another_order_teaches_the_same(
    method: str, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("run", "turned"):
        loud = [option for option in QUICK if option != "--quiet"]
        main(["train", method, *loud, *own, "--teacher", run, "--out", f"by-{run}"])
        said = capsys.readouterr().err
        assert ("matched by name" in said) == (run == "turned")
    assert same("by-run", "by-turned")


@pytest.mark.parametrize(
    "spec", ["turned/deployed.safetensors", "resnet8:weights=turned/deployed.safetensors"]
)
def test_the_file_of_a_run_names_its_classes_too(spec: str) -> None:
    main(["train", "kd", *QUICK, "--teacher", "run", "--out", "by-run"])
    main(["train", "kd", *QUICK, "--teacher", spec, "--out", "by-file"])
    assert same("by-run", "by-file")


def test_averaged_teachers_of_different_orders() -> None:
    main(["train", "kd", *QUICK, "--teacher", "run", "run", "--out", "alike"])
    main(["train", "kd", *QUICK, "--teacher", "run", "turned", "--out", "different"])
    assert same("alike", "different")


def test_a_renamed_class_is_refused_and_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    rename("ant", "zebu")
    kd = ["train", "kd", *QUICK, "--teacher", "run", "--val-fraction", "0"]
    said = refused(capsys, *kd, "--out", "after")
    assert "the teacher run has other classes than the data: ant there, zebu here" in said
    assert "--renamed-classes OLD=NEW" in said
    assert "--match-classes by_position" in said
    said = refused(capsys, *kd, "--out", "after", "--renamed-classes", "bat=zebu")
    assert "class 'bat' is renamed 'zebu', but the teacher run has ant, bee, cat" in said
    assert "OLD=NEW, each old name once, got 'bat'" in refused(capsys, *kd, "--renamed-classes", "bat")
    # The right order: the same images have the same targets, whatever the classes are called.
    config = options("kd", {"data": "pictures", "teacher": ("run",), "renamed_classes": ("ant=zebu",)})
    work = Job(config, read_data(config))
    assert work.dataset.classes == ("bee", "cat", "zebu")
    x = torch.randn(4, 3, 8, 8)
    facts = read_state(Path("run/deployed.safetensors")).facts
    # Other images are held out, so that their mean is not that of the teacher's training.
    theirs, ours = (facts["mean"], facts["std"]), (work.dataset.mean, work.dataset.std)
    shown = Renormalised(cohobate.load("run"), ours, theirs)(x).logits
    torch.testing.assert_close(teacher(work)(x).logits, shown[:, [1, 2, 0]])
    main([*kd, "--out", "after", "--renamed-classes", "ant=zebu"])
    main([*kd, "--out", "position", "--match-classes", "by_position"])
    assert not same("after", "position")


def test_weights_without_names_are_taken_on_trust(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build("resnet8", 3).state_dict(), "foreign.pth")
    loud = [option for option in QUICK if option != "--quiet"]
    main(["train", "kd", *loud, "--teacher", "resnet8:weights=foreign.pth", "--out", "taught"])
    assert "the network of foreign.pth does not name its classes; their order is taken on trust" in (
        capsys.readouterr().err
    )


# ---------------------------------------------------------------- initial weights


def test_initial_weights_in_another_order(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--init", "run/deployed.safetensors", "--out", "a"])
    main(["train", "baseline", *QUICK, "--init", "turned", "--out", "b"])
    main(
        ["train", "baseline", *QUICK, "--model", "resnet8:weights=turned/deployed.safetensors", "--out", "c"]
    )
    assert same("a", "b")
    assert same("a", "c")
    rename("cat", "cow")
    said = refused(capsys, "train", "baseline", *QUICK, "--init", "run/deployed.safetensors", "--out", "d")
    assert "has other classes than the data: cat there, cow here" in said
    main(["train", "baseline", *QUICK, "--init", "run", "--match-classes", "by_position", "--out", "d"])


# ---------------------------------------------------------------- evaluation


def test_evaluation_after_a_class_folder_was_renamed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "run"])
    assert "note" not in capsys.readouterr().out
    right, _, split = evaluate_run(Path("run"))
    assert split == "test"
    turned, _, _ = evaluate_run(Path("turned"))
    assert turned["class_error"] == right["class_error"]
    assert turned["nll"] == pytest.approx(right["nll"])
    rename("ant", "zebu")
    assert "has other classes than the data: ant there, zebu here" in refused(capsys, "evaluate", "run")
    main(["evaluate", "run", "--renamed-classes", "ant=zebu"])
    said = " ".join(capsys.readouterr().out.split())
    assert "matched by name" in said
    assert "pictures does not hold the images that the run was trained on, or no longer" in said
    again, classes, _ = evaluate_run(Path("run"), on=evaluation.On(renamed=("ant=zebu",)))
    assert classes == ("bee", "cat", "zebu")
    assert again["top1_error"] == right["top1_error"]
    wrong, _, _ = evaluate_run(Path("run"), on=evaluation.On(by_position=True))
    assert wrong["top1_error"] != right["top1_error"]
    with pytest.raises(ValueError, match="has no val split; a run holds its own out"):
        evaluate_run(Path("run"), "val", on=evaluation.On(renamed=("ant=zebu",)))


def test_evaluation_on_images_that_have_moved_and_on_others(capsys: pytest.CaptureFixture[str]) -> None:
    right, _, _ = evaluate_run(Path("run"))
    val, _, _ = evaluate_run(Path("run"), "val")
    Path("pictures").rename("elsewhere")
    main(["evaluate", "run", "--data", "elsewhere"])
    assert "note" not in capsys.readouterr().out
    assert evaluate_run(Path("run"), on=evaluation.On("elsewhere"))[0] == right
    assert evaluate_run(Path("run"), "val", on=evaluation.On("elsewhere"))[0] == val
    # Others, with a train split alone and too few to hold one out, are normalised as the run's were.
    shutil.rmtree("elsewhere/train")
    Path("elsewhere/test").rename("elsewhere/train")
    said: list[str] = []
    others, _, split = evaluate_run(Path("run"), on=evaluation.On("elsewhere"), say=said.append)
    assert split == "train"
    assert others["top1_error"] == right["top1_error"]
    assert others["nll"] == pytest.approx(right["nll"])
    assert said == ["note: elsewhere does not hold the images that the run was trained on, or no longer"]


def test_a_folder_that_is_no_finished_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the folder nowhere does not exist" in refused(capsys, "evaluate", "nowhere")
    said = refused(capsys, "evaluate", ".")
    assert "has no run.yaml: it holds 2 runs; name one of them: run" in said
    assert "pictures is not the folder of a run: it has no run.yaml" in refused(
        capsys, "evaluate", "pictures"
    )
    Path("run/result.json").unlink()
    assert "run has not finished" in refused(capsys, "evaluate", "run")


# ---------------------------------------------------------------- Python


def test_a_loaded_teacher_is_matched_with_the_data_of_fit() -> None:
    data = cohobate.load_data("pictures", Path())
    runs = []
    for folder in ("run", "turned"):
        torch.manual_seed(0)
        loaded = cohobate.load(folder)
        assert loaded.class_names == tuple(read_state(Path(folder) / "deployed.safetensors").facts["classes"])
        method = cohobate.Distillation(cohobate.build("resnet8", 3), loaded, {"kd": cohobate.KD()})
        result = cohobate.fit(method, data, epochs=1, batch_size=8, device="cpu", quiet=True)
        runs.append(result.network.state_dict())
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    x = torch.randn(4, 3, 8, 8)
    assert cohobate.load("turned", data.classes)(x).equal(cohobate.load("run")(x))
    one, other = cohobate.load("run"), cohobate.load("turned")
    both = cohobate.Mean([one, other])(x)
    torch.testing.assert_close(both.logits, one(x))
    assert len(both.stages) == 3
    rename("ant", "zebu")
    method = cohobate.Distillation(cohobate.build("resnet8", 3), one, {"kd": cohobate.KD()})
    with pytest.raises(ValueError, match="the teacher has other classes than the data: ant there, zebu here"):
        cohobate.fit(method, cohobate.load_data("pictures", Path()), epochs=1, quiet=True)
    with pytest.raises(ValueError, match="other classes"):
        cohobate.load("run", ("bee", "cat", "zebu"))


def test_numbers_are_no_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Data of arrays names its classes 0, 1, 2 unless it is told their names."""
    data = cohobate.arrays(np.zeros((30, 8, 8, 3), np.uint8), np.arange(30) % 3)
    method = cohobate.Distillation(
        cohobate.build("resnet8", 3), cohobate.load("turned"), {"kd": cohobate.KD()}
    )
    cohobate.fit(method, data, epochs=1, batch_size=10, device="cpu")
    assert "numbers are no names, so their order is taken on trust" in capsys.readouterr().err
