"""Networks by name and of the user's own, as the command line takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import fails
from safetensors.torch import save_file

from cohobate.cli import main
from cohobate.engine.checkpoint import read_state
from cohobate.models.build import build
from cohobate.models.registry import parse
from cohobate.recipes.networks import load, make_network, without

OWN = """
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Mine(nn.Sequential):
    pass


def make(classes, width=8):
    body = nn.Conv2d(3, width, 3, padding=1), BasicBlock(width), nn.MaxPool2d(2), BasicBlock(width)
    return Mine(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def nine(classes):
    return make(9)


class Pair(Mine):
    def forward(self, x):
        return super().forward(x), x


def pair(classes):
    return Pair(*make(classes))


def number(classes):
    return 3


def full(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))
"""

QUICK = ["--epochs", "1", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    Path("mine.py").write_text(OWN)


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("resnet20", "resnet20", {}),
        ("resnet20:shortcut=padding", "resnet20", {"shortcut": "padding"}),
        ("timm:resnet18", "timm:resnet18", {}),
        ("timm:resnet18:pretrained:drop_rate=0.1", "timm:resnet18", {"pretrained": True, "drop_rate": 0.1}),
        ("mine.py:make:width=4", "mine.py:make", {"width": 4}),
        ("package.module:make", "package.module:make", {}),
    ],
)
def test_parse(spec: str, name: str, options: dict[str, object]) -> None:
    assert parse(spec) == (name, options)


def test_parse_refuses_an_option_without_a_name() -> None:
    with pytest.raises(ValueError, match=r"has an option without a name; write resnet20:option=value"):
        parse("resnet20:=3")


def test_a_spec_without_some_options() -> None:
    spec = "timm:resnet18:pretrained:drop_rate=0.1:weights=a=b.pth"
    assert without(spec, "weights", "pretrained") == ("timm:resnet18:drop_rate=0.1", ["", "a=b.pth"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet21", r"unknown model 'resnet21'; the nearest are .*resnet20.*, .*, "),
        ("resnet20:depth=3", r"resnet20 has no option 'depth'; it has shortcut, channels, weights"),
        ("resnet20:shortcut=conv", r"shortcut is one of projection, padding, got 'conv'"),
        ("vgg8", r"VGG does not take images of 3 x 4 x 4: .*Output size is too small"),
        ("mine.py:full", r"Sequential does not take images of 3 x 4 x 4: mat1 and mat2 shapes"),
        ("mine.py:nine", r"mine.py:nine predicts 9 classes, the data has 10"),
        ("mine.py:pair", r"Pair: a network returns cohobate.Output or a tensor of logits, got tuple"),
        ("mine.py:number", r"mine.py:number returned int, not a torch.nn.Module"),
        ("mine.py:none", r"mine.py has no 'none'; it has .*make"),
        ("mine.py:make:depth=3", r"mine.py:make cannot be called .*unexpected keyword argument 'depth'"),
    ],
)
def test_a_wrong_network_is_refused_by_name(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_network(spec, 10, (3, 4, 4))


def test_a_network_of_ones_own_is_gated_trained_and_loaded_again() -> None:
    main(["train", "self_guidance", *QUICK, "--model", "mine.py:make:width=4", "--out", "run"])
    state = read_state(Path("run/deployed.safetensors"))
    plain = make_network("mine.py:make:width=4", 10, (3, 8, 8))
    assert state.tensors.keys() == plain.state_dict().keys() == plain.network.state_dict().keys()
    network = load("run")
    output = network.features(torch.zeros(2, 3, 8, 8))
    assert torch.equal(output.logits, network(torch.zeros(2, 3, 8, 8)))
    assert [stage.shape for stage in output.stages] == [(2, 4, 8, 8), (2, 4, 4, 4)]
    facts = json.loads(Path("run/result.json").read_text())
    assert facts["parameters_deployed"] == sum(p.numel() for p in plain.parameters())


def test_a_teacher_with_weights_is_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    teacher = build("resnet14", 10)
    save_file(teacher.state_dict(), "teacher.safetensors")
    command = ["train", "kd", "--epochs", "1", "--device", "cpu", "--teacher"]
    main([*command, "resnet14:weights=teacher.safetensors", "--out", "run"])
    assert "loaded" in capsys.readouterr().err
    assert not Path("run/teacher").exists()
    assert Path("run/student").is_dir()


def test_init_takes_a_checkpoint_and_says_what_matched(capsys: pytest.CaptureFixture[str]) -> None:
    network = build("resnet8", 10)
    torch.save({"epoch": 3, "model": network.state_dict()}, "old.pth")
    main(["train", "baseline", "--epochs", "1", "--device", "cpu", "--init", "old.pth", "--out", "run"])
    assert f"loaded {len(network.state_dict())} tensors" in capsys.readouterr().err


def test_list_models(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "models"])
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if " resnet20 " in line)
    for cell in ("278,324", "40.8", "16 32 64", "shortcut", "He et al., CVPR 2016"):
        assert cell in line
    assert "timm:NAME" in printed
    assert "torchvision:NAME" in printed


def test_inspect_shows_stages_branch_points_and_gates(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "resnet32"])
    printed = capsys.readouterr().out
    assert "resnet32: 472,756 parameters, 69.1 MMACs (100 classes, images 3 x 32 x 32)" in printed
    rows = [line for line in printed.splitlines() if "stages." in line and "│" in line]
    assert len(rows) == 3
    # 4 tails make OKDDip's 1,554,272 less its attention (1,024), 3 tails ONE's 1,193,189 less its gate (105).
    assert 112_592 + 4 * 360_164 == 1_554_272 - 1_024
    assert 112_592 + 3 * 360_164 == 1_193_189 - 105
    assert "112,592" in rows[1]
    assert "360,164" in rows[1]
    assert "15 gates (blocks that can be dropped), stages.0.0.gate to stages.2.4.gate" in printed
    main(["inspect", "mine.py:make", "--classes", "5", "--image-size", "16"])
    printed = capsys.readouterr().out
    assert "images 3 x 16 x 16" in printed
    assert "2 gates (blocks that can be dropped), 1.bn2.gate to 3.bn2.gate" in printed


def test_list_models_names_dense_networks(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "models"])
    said = " ".join(capsys.readouterr().out.split())
    own = "levels width layers extra convs upsampling head"
    assert (
        f"dense:MODEL a class for every pixel, on any of these; options of its pyramid and head: {own}"
        in said
    )
    for number in (0, 1):
        assert f"efficientdet_d{number} dense:timm:efficientnet_b{number}, Tan et al., CVPR 2020" in said


def test_inspect_shows_the_levels_of_a_dense_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "dense:resnet8:width=8:extra=1"])
    said = capsys.readouterr().out
    assert "pyramid level 4" in said
    assert "a class for every pixel, at the size of the images" in said
    assert (
        "3 gates (blocks that can be dropped), backbone.stages.0.0.gate to backbone.stages.2.0.gate" in said
    )
    assert "classifier" not in said
    assert "no branch" not in said
    # Nothing is said of trunks and tails: no branch begins in a dense network.
    assert "stage           ┃ channels ┃    size ┃ stride ┃\n" in said
    assert "MMACs ┃" not in said


@pytest.mark.parametrize("size", ["45,60", "45x60"])
def test_inspect_takes_height_and_width(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "dense:resnet8", "--classes", "4", "--image-size", size])
    said = " ".join(capsys.readouterr().out.split())
    assert "4 classes, images 3 x 45 x 60)" in said
    assert "pyramid level 2 │ 64 │ 23 x 30 │ 1.96 │" in said


def test_inspect_says_what_a_size_is(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "inspect", "resnet8", "--image-size", "wide")
    assert said == (
        "error: cohobate inspect: image_size: a size is a side in pixels, as 32, or height,width, as 90,120; "
        "got wide\n"
    )
    assert "classes: Input should be greater" in fails(capsys, "inspect", "resnet8", "--classes", "0")
