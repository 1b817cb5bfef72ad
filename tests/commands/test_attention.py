"""Attention maps of a run folder: whose weights, which images, what is refused."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.cli import main
from cohobate.commands.images import read_data
from cohobate.commands.looking import attention_of_run, chosen_rows, outputs, write_attention
from cohobate.commands.train import fit
from cohobate.config.groups import Training
from cohobate.core import Frozen, Method, Output
from cohobate.engine.checkpoint import read_state, write_state
from cohobate.engine.errors import RunError
from cohobate.methods.supervised import Supervised
from cohobate.recipes.networks import make_network

OWN = '''
from torch import nn
from cohobate.core import Classifier, Method, Output, as_output, cross_entropy

class Refine(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 4, 1) for c in (16, 32, 64))
        self.fc = nn.Linear(4, 10)

    def forward(self, stages):
        maps = tuple(conv(x) for conv, x in zip(self.convs, stages, strict=True))
        return Output(self.fc(maps[-1].mean(dim=(2, 3))), None, maps)

class Taught(Method):
    """Learns with a self-teacher."""
    def __init__(self, network):
        super().__init__()
        self.network, self.self_teacher = network, Refine()

    def forward(self, batch, turn=0):
        output = as_output(self.network(batch.x))
        own = self.self_teacher(output.stages).logits
        return {"ce": cross_entropy(output.logits, batch.y), "ce_self": cross_entropy(own, batch.y)}

    def predictors(self):
        return {"network": Classifier(self.network)}

    def readouts(self, x):
        return {"network": as_output(self.network(x)).logits}
'''
SMALL = ["--train-images", "150", "--batch-size", "50", "--device", "cpu", "--quiet"]


def train(method: str, *options: str, epochs: int = 2) -> None:
    main(["train", method, *SMALL, "--epochs", str(epochs), *options])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs that no test changes: of two epochs the first is kept."""
    root = tmp_path_factory.mktemp("attention")
    (root / "own.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train("own.py:Taught", "--keep-epochs", "1", "--out", "run")
        train("one", "--ema", "0.5", "--out", "peers", epochs=1)
    return root


@pytest.fixture(autouse=True)
def elsewhere(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "120")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["attention", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


# ---------------------------------------------------------------- from end to end


def test_the_command_draws_and_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "new" / "maps.png"
    main(["attention", "run", "--epochs", "1,2", "--rows=5,9", "--out", str(picture)])
    printed = capsys.readouterr().out
    files = [picture, picture.with_suffix(".npz"), picture.with_suffix(".csv")]
    assert printed.splitlines()[-3:] == [str(path) for path in files]
    with Image.open(picture) as opened:
        assert opened.width > 900
    with np.load(files[1]) as kept:
        assert kept["rows"].tolist() == [5, 9]
        assert kept["epochs"].tolist() == [1, 2]
    lines = list(csv.DictReader(files[2].read_text().splitlines()))
    assert [line["network"] for line in lines] == (["classifier"] * 3 + ["self-teacher"] * 3) * 2
    for line in lines:
        assert f"{float(line['concentration_percent']):.1f}" in printed
        assert 25 <= float(line["concentration_percent"]) <= 100


def test_the_picture_lies_in_the_runs_folder(tmp_path: Path) -> None:
    shutil.copytree("run", tmp_path / "run")
    main(["attention", str(tmp_path / "run"), "--split", "test", "--images", "1"])
    assert (tmp_path / "run" / "attention-test.png").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["attention", "--help"])
    said = capsys.readouterr().out
    assert "cohobate train METHOD --keep-epochs 1,10,30" in said
    assert "self-teacher" in said


# ---------------------------------------------------------------- whose weights


def test_the_whole_method_of_the_epoch_is_loaded() -> None:
    found = attention_of_run(Path("run"), [1])
    state = read_state(Path("run/train/epoch-0001.safetensors")).tensors
    network = make_network("resnet8", 10, (3, 8, 8)).eval()
    network.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("network.")})
    dataset = read_data(Training(train_images=150))
    assert dataset.val is not None
    assert isinstance(found.rows, tuple)
    pixels = dataset.val.x[list(found.rows)] / 255  # type: ignore[union-attr]
    x = ((pixels - torch.tensor(dataset.mean)) / torch.tensor(dataset.std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        output = network(x)
        classifier, teacher = found.looks
        assert (classifier.network, teacher.network) == ("classifier", "self-teacher")
        for i, stage in enumerate(output.stages):
            torch.testing.assert_close(classifier.maps[i], stage.square().mean(1), rtol=1e-4, atol=1e-5)
            weight, bias = (state[f"self_teacher.convs.{i}.{name}"] for name in ("weight", "bias"))
            refined = torch.nn.functional.conv2d(stage, weight, bias)
            torch.testing.assert_close(teacher.maps[i], refined.square().mean(1), rtol=1e-4, atol=1e-5)
        named = [dataset.classes[k] for k in output.logits.argmax(1).tolist()]
    assert list(classifier.predicted) == named
    torch.testing.assert_close(found.images, pixels, rtol=0, atol=1e-5)
    assert found.labels == tuple(dataset.classes[k] for k in dataset.val.y[list(found.rows)].tolist())


def test_epochs_that_were_kept_are_the_default() -> None:
    assert attention_of_run(Path("run"), images=1).epochs == [1]


def test_the_last_epoch_can_be_asked_for_and_differs() -> None:
    found = attention_of_run(Path("run"), [2, 1])
    assert found.epochs == [1, 2]
    one, two = found.of("self-teacher", 1), found.of("self-teacher", 2)
    assert one is not None
    assert two is not None
    assert not torch.equal(one.maps[0], two.maps[0])


def test_without_kept_epochs_the_last_one_is_shown_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    found = attention_of_run(Path("peers"), say=said.append)
    assert found.epochs == [1]
    assert "epoch 1, the last one" in said[0]
    assert "--keep-epochs" in said[0]
    assert found.networks == ["peer 1", "peer 2", "peer 3"]
    # Of a run with a moving average, the averages: they are what was deployed.
    shutil.copytree("peers", tmp_path / "peers")
    last = tmp_path / "peers/train/last.safetensors"
    state = read_state(last)
    live = {k: torch.zeros_like(v) if k.startswith("method.") else v for k, v in state.tensors.items()}
    write_state(last, state._replace(tensors=live))
    again = attention_of_run(tmp_path / "peers")
    torch.testing.assert_close(again.looks[0].maps[2], found.looks[0].maps[2])


def test_a_plan_of_several_phases_shows_the_last_one_and_its_teacher(tmp_path: Path) -> None:
    shared = ["--teacher", "resnet8", "--teachers", str(tmp_path / "teachers")]
    train("fitnet_stages", *shared, "--keep-epochs", "1", "--out", str(tmp_path / "run"))
    found = attention_of_run(tmp_path / "run")
    assert found.networks == ["student", "teacher"]
    assert found.about.endswith("phase student")
    shutil.rmtree(tmp_path / "teachers")
    with pytest.raises(RunError, match=r"the teacher resnet8 of this run is not in .*teachers"):
        attention_of_run(tmp_path / "run")


# ---------------------------------------------------------------- which images


def test_the_first_image_of_each_class_comes_first() -> None:
    y = torch.tensor([2, 2, 0, 4, 0, 2, 4])
    assert chosen_rows(y, 3).tolist() == [2, 0, 3]
    assert chosen_rows(y, 7).tolist() == [2, 0, 3, 4, 1, 6, 5]


@pytest.mark.parametrize("images", [0, 8])
def test_images_that_there_are_not_are_refused(images: int) -> None:
    with pytest.raises(ValueError, match=f"images must be 1 to 7, the size of the split; got {images}"):
        chosen_rows(torch.zeros(7, dtype=torch.int64), images)


# ---------------------------------------------------------------- what is refused


def test_an_epoch_that_was_not_kept_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "run", "--epochs", "1,7")
    assert "run did not keep the weights of epoch 7; it has those of epoch 1 (kept), 2 (" in said
    assert "--keep-epochs 7" in said


def test_rows_out_of_range_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "run", "--rows", "5,100000,-1")
    assert re.search(r"the val split has rows 0 to \d+, not 100000, -1", said)
    assert "not both" in fails(capsys, "run", "--rows", "5", "--images", "2")
    assert "images must be 1 to" in fails(capsys, "run", "--images", "0")


def test_another_kind_of_picture_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "its name ends in .png; got maps.svg" in fails(capsys, "run", "--out", "maps.svg")
    with pytest.raises(ValueError, match=r"ends in \.png"):
        write_attention(attention_of_run(Path("run"), [1], images=1), tmp_path / "maps")


def test_a_network_without_stages_is_refused() -> None:
    method = Supervised(torch.nn.Flatten())
    with pytest.raises(ValueError, match=r"Flatten gives no stages.*cohobate\.adapt"):
        outputs(method, torch.rand(2, 3, 4, 4))


def test_a_folder_without_a_run_or_weights_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "is not the folder of a run" in fails(capsys, str(tmp_path))
    (tmp_path / "run").mkdir()
    shutil.copy("run/run.yaml", tmp_path / "run")
    said = fails(capsys, str(tmp_path / "run"))
    assert "no weights of the whole method yet" in said
    assert "--keep-epochs" in said


def test_weights_of_another_network_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree("run", tmp_path / "run")
    config = (tmp_path / "run/run.yaml").read_text()
    (tmp_path / "run/run.yaml").write_text(config.replace("model: resnet8", "model: resnet14"))
    said = fails(capsys, str(tmp_path / "run"))
    assert "holds the weights of another method or network" in said


def test_a_method_made_in_python_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    training = Training(train_images=60, val_fraction=0.5)
    given = {"epochs": 1, "batch_size": 20, "device": "cpu"}
    network = make_network("resnet8", 10, (3, 8, 8))
    fit(Supervised(network), read_data(training), tmp_path / "run", quiet=True, **given)
    said = fails(capsys, str(tmp_path / "run"))
    assert "from Python by a method or on a network of your own (Supervised)" in said


class Stages(torch.nn.Module):
    """Shows the images themselves, or its input's stages doubled."""

    def forward(self, x: torch.Tensor | tuple[torch.Tensor, ...]) -> Output:
        stages = (x,) if isinstance(x, torch.Tensor) else tuple(2 * stage for stage in x)
        return Output(stages[0].mean(dim=(2, 3)), None, stages)


class Plain(Method):
    def __init__(self, **networks: torch.nn.Module) -> None:
        super().__init__()
        for name, network in networks.items():
            self.add_module(name, network)

    def predictors(self) -> dict[str, torch.nn.Module]:
        return {"student": Stages(), "other": torch.nn.Flatten()}


def test_every_network_with_stages_is_shown() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert list(outputs(Plain(teacher=Frozen(Stages())), x)) == ["student", "teacher"]
    # A method inside another one keeps its self-teacher.
    found = outputs(Plain(inner=Plain(self_teacher=Stages())), x)
    assert list(found) == ["student", "self_teacher"]
    torch.testing.assert_close(found["self_teacher"].stages[0], 2 * x)
