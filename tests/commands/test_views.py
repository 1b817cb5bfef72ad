"""Teachers that see other images, averages of teachers, and what goes wrong with given networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import cohobate
from cohobate.cli import main
from cohobate.commands.images import read_data
from cohobate.config.grammar import parse as parse_method
from cohobate.models.build import build
from cohobate.models.registry import parse
from cohobate.recipes.catalogue import TERMS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options
from cohobate.recipes.teachers import teacher

STATISTICS = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
QUICK = ["--epochs", "1", "--device", "cpu", "--quiet", "--train-images", "150", "--batch-size", "50"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(method: str, *specs: str, said: list[str] | None = None, **given: Any) -> Job:
    config = options(method, {"teacher": specs, "device": "cpu", **given})
    return Job(config, read_data(config), (said if said is not None else []).append)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert not Path("run").exists()
    return capsys.readouterr().err


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


class Flat(nn.Module):
    """A network for images of 16 x 16 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


FLAT = """
from torch import nn
def make(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 16 * 16, classes))
def wrapped(classes):
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.DataParallel(nn.Sequential(nn.Conv2d(3, 4, 1), *pooled, nn.Linear(4, classes)))
def _hidden():
    pass
"""


# ---------------------------------------------------------------- size


def test_a_teacher_for_larger_images_in_its_name() -> None:
    network = build("resnet8", 10).eval()
    save_file(network.state_dict(), "t.safetensors")
    said: list[str] = []
    work = job("kd", "resnet8:weights=t.safetensors:size=16x12", said=said)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(teacher(work)(x).logits, network(enlarged(x, (16, 12))).logits)
    assert "sees its images resized to 16 x 12" in said[-1]
    with pytest.raises(ValueError, match=r"224, or height x width, 224x160; got 'big'"):
        teacher(job("kd", "resnet8:weights=t.safetensors:size=big"))


def test_a_teacher_that_can_only_take_images_of_its_own_size(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.py").write_text(FLAT)
    torch.save(_made().state_dict(), "flat.pth")
    kd = ["train", "kd", *QUICK, "--out", "run", "--teacher"]
    said = refused(capsys, *kd, "flat.py:make:weights=flat.pth")
    assert "the teacher flat.py:make:weights=flat.pth: Sequential does not take images of 3 x 8 x 8" in said
    assert "flat.py:make:weights=flat.pth:size=SIDE" in said
    main([*kd, "flat.py:make:weights=flat.pth:size=16"])


def _made() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))


def test_a_run_knows_the_size_of_its_images() -> None:
    from cohobate.engine.checkpoint import State, read_state, write_state

    main(["train", "baseline", *QUICK, "--out", "small"])
    state = read_state(Path("small/deployed.safetensors"))
    write_state(Path("big.safetensors"), State(state.tensors, {**state.facts, "shape": [3, 16, 16]}))
    said: list[str] = []
    work = job("kd", "big.safetensors", said=said, train_images=150)
    x = torch.randn(2, 3, 8, 8)
    expected = cohobate.load("small")(enlarged(x, (16, 16)))
    torch.testing.assert_close(teacher(work)(x).logits, expected)
    assert "the teacher big.safetensors sees its images resized to 16 x 16" in said
    kept = teacher(job("kd", "big.safetensors:size=8", train_images=150))
    torch.testing.assert_close(kept(x).logits, cohobate.load("small")(x))


@pytest.mark.parametrize("term", TERMS)
def test_terms_with_a_teacher_that_sees_larger_images(term: str, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(build("resnet8", 10).state_dict(), "t.safetensors")
    spec = ["--teacher", "resnet8:weights=t.safetensors:size=16"]
    own = {"crd": ["--negatives", "8"]}.get(term, [])
    main(["train", term, *QUICK, *spec, *own, "--out", "run"])
    assert Path("run/result.json").exists()


# ---------------------------------------------------------------- from Python


def test_a_teacher_from_python_sees_its_own_images() -> None:
    network = Flat().eval()
    ours = (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)
    mean, std = STATISTICS
    pixels = torch.rand(2, 3, 8, 8)
    x = (pixels - torch.tensor(ours[0]).view(3, 1, 1)) / torch.tensor(ours[1]).view(3, 1, 1)
    theirs = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    shown = cohobate.teacher(network, mean=mean, std=std, size=16, images=ours)
    expected = network(enlarged(theirs, (16, 16)))
    torch.testing.assert_close(shown(x).logits, expected, rtol=1e-4, atol=1e-5)
    # A grey image is shown to a network of three channels.
    grey = cohobate.teacher(network, mean=mean, std=std, size=16, images=((0.1,), (0.9,)))
    assert grey(x[:, :1]).logits.shape == (2, 10)
    unknown = cohobate.teacher(network, mean=mean, std=std, size=16)
    with pytest.raises(ValueError, match=r"cohobate.teacher\(..., images=\(mean, std\)\)"):
        unknown(x)


def test_fit_tells_a_teacher_how_its_images_are_normalised() -> None:
    data = cohobate.arrays(
        np.random.RandomState(0).randint(0, 256, (60, 8, 8, 3), np.uint8), np.arange(60) % 10, val=None
    )
    mean, std = STATISTICS
    shown = cohobate.teacher(Flat(), mean=mean, std=std, size=16)
    method = cohobate.Distillation(cohobate.build("resnet8", 10), shown, {"kd": cohobate.KD()})
    cohobate.fit(method, data, epochs=1, batch_size=20, device="cpu", quiet=True)
    divided = cohobate.hold_out(data, 0.1, 0)
    told = cohobate.teacher(Flat(), mean=mean, std=std, size=16, images=(divided.mean, divided.std))
    assert torch.equal(method.teacher.network.scale, told.scale)
    assert torch.equal(method.teacher.network.shift, told.shift)
    terms = cohobate.make_terms(
        "kd+sp",
        cohobate.build("resnet8", 10),
        cohobate.teacher(cohobate.build("resnet8", 10), mean=mean, std=std, size=16),
        data,
    )
    assert set(terms) == {"kd", "sp"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": (0.5,)}, "mean and std belong together"),
        ({"mean": (0.5,), "std": (0.5, 0.5)}, "mean and std belong together"),
        ({"mean": (0.5,), "std": (0.0,)}, "std must be above 0"),
        ({"size": 0}, "size must be at least 1, got 0"),
    ],
)
def test_what_a_teacher_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cohobate.teacher(Flat(), **wrong)


def test_fit_says_that_a_teacher_is_for_another_size() -> None:
    data = cohobate.arrays(np.zeros((60, 8, 8, 3), np.uint8), np.arange(60) % 10)
    method = cohobate.Distillation(cohobate.build("resnet8", 10), Flat(), {"kd": cohobate.KD()})
    with pytest.raises(ValueError, match=r"the teacher Flat does not take images of 3 x 8 x 8.*teacher\(net"):
        cohobate.fit(method, data, epochs=1, batch_size=20, device="cpu", quiet=True)


# ---------------------------------------------------------------- averages


def test_weights_and_the_mean_of_probabilities() -> None:
    for name in ("resnet8", "resnet14"):
        torch.manual_seed(len(name))
        save_file(build(name, 10).state_dict(), f"{name}.safetensors")
    specs = [f"{name}:weights={name}.safetensors" for name in ("resnet8", "resnet14")]
    x = torch.randn(4, 3, 8, 8)
    one, two = (teacher(job("kd", spec))(x).logits.double() for spec in specs)
    weighted = teacher(job("kd", *specs, teacher_weights=(6.0, 2.0)))(x).logits
    torch.testing.assert_close(weighted.double(), 0.75 * one + 0.25 * two, rtol=1e-5, atol=1e-5)
    said: list[str] = []
    mean = teacher(job("kd", *specs, said=said, teacher_weights=(6.0, 2.0), teacher_mean="probabilities"))(x)
    expected = 0.75 * one.softmax(1) + 0.25 * two.softmax(1)
    torch.testing.assert_close(mean.logits.double().softmax(1), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean.logits.double(), expected.log(), rtol=1e-4, atol=1e-5)
    assert said[-1] == (
        f"the probabilities of 2 teachers are averaged, weighted 6 : 2; features are those of {specs[0]}"
    )
    plain = teacher(job("kd", *specs, teacher_mean="probabilities"))(x).logits.double().softmax(1)
    torch.testing.assert_close(plain, (one.softmax(1) + two.softmax(1)) / 2, rtol=1e-5, atol=1e-6)


def test_wrong_averages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    kd = ["train", "kd", *QUICK, "--out", "run", "--teacher", "resnet8"]
    assert "got 1 for 2 teachers: 0.5" in refused(capsys, *kd, "resnet14", "--teacher-weights", "0.5")
    assert "above 0" in refused(capsys, *kd, "resnet14", "--teacher-weights", "1,-1")
    assert "is of several teachers, got 1" in refused(capsys, *kd, "--teacher-mean", "probabilities")
    for wrong in ({"weights": [1.0]}, {"weights": [1.0, 0.0]}, {"of": "votes"}):
        with pytest.raises(ValueError, match="a Mean"):
            cohobate.Mean([Flat(), Flat()], **wrong)


def test_attention_transfer_from_two_teachers() -> None:
    main(["train", "at", *QUICK, "--teacher", "resnet8", "resnet14", "--out", "run"])
    assert Path("run/result.json").exists()


# ---------------------------------------------------------------- names with colons


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("resnet14:weights=d/run:1/x.pth", "resnet14", {"weights": "d/run:1/x.pth"}),
        ("resnet14:weights=C:\\d\\x.pth:shortcut=padding", "resnet14",
         {"weights": "C:\\d\\x.pth", "shortcut": "padding"}),
        ("C:\\x\\net.py:make:width=2", "C:\\x\\net.py:make", {"width": 2}),
        ("d:1/net.py:make", "d:1/net.py:make", {}),
        ("timm:resnet18.a1_in1k:pretrained", "timm:resnet18.a1_in1k", {"pretrained": True}),
    ],
)  # fmt: skip
def test_a_colon_in_a_path(spec: str, name: str, options: dict[str, Any]) -> None:
    assert parse(spec) == (name, options)


def test_a_colon_in_the_options_of_a_method() -> None:
    assert parse_method("kd:teacher=resnet8:weights=d:1/x.pth,weight=2") == (
        "kd",
        {"teacher": "resnet8:weights=d:1/x.pth", "weight": 2},
    )
    assert parse_method("C:\\x\\m.py:Scaled:scale=2") == ("C:\\x\\m.py:Scaled", {"scale": 2})


def test_folders_and_files_with_a_colon_are_found() -> None:
    main(["train", "baseline", *QUICK, "--out", "a:1/b"])
    for spec in ("a:1/b", "a:1/b/deployed.safetensors", "resnet8:weights=a:1/b/deployed.safetensors"):
        network = teacher(job("kd", spec, train_images=150))
        x = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(network(x).logits, cohobate.load("a:1/b")(x))


# ---------------------------------------------------------------- messages


def test_a_missing_run_is_no_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "kd", *QUICK, "--out", "run", "--teacher", "nosuch/run")
    assert "there is no run's folder nosuch/run" in said
    assert "unknown model" not in said


def test_a_network_in_data_parallel_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.py").write_text(FLAT)
    said = refused(capsys, "train", "baseline", *QUICK, "--out", "run", "--model", "flat.py:wrapped")
    assert "the network is wrapped by DataParallel; give the network itself, which is its .module" in said
    wrapped = nn.DataParallel(build("resnet8", 10))
    with pytest.raises(ValueError, match="wrapped by DataParallel"):
        cohobate.Frozen(wrapped)
    with pytest.raises(ValueError, match="wrapped by DataParallel"):
        cohobate.adapt(wrapped, shape=(3, 8, 8))
    data = cohobate.arrays(np.zeros((60, 8, 8, 3), np.uint8), np.arange(60) % 10)
    with pytest.raises(ValueError, match="its module network is wrapped by DataParallel"):
        cohobate.fit(cohobate.Supervised(wrapped), data, epochs=1, quiet=True)


def test_a_wrong_name_in_a_file_lists_what_the_file_defines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.py").write_text(FLAT)
    said = refused(capsys, "train", "baseline", *QUICK, "--out", "run", "--model", "flat.py:mak")
    assert "flat.py has no 'mak'; it has make, wrapped" in said
    assert "nn" not in said.partition("it has")[2]
