"""A network that somebody hands over: what opens it, what it predicts, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from measured import logits_of_evaluate
from torch import Tensor

from cohobate.cli import main
from cohobate.commands.export import export
from cohobate.commands.ready_opened import Answers, ReadyNetwork, ready_network
from cohobate.data.raw import pixels
from cohobate.data.sources import load_data
from cohobate.engine.checkpoint import State, read_state, state_bytes, write_state
from cohobate.engine.errors import RunError
from cohobate.recipes.networks import load, make_network
from cohobate.runs.deployed import read_deployed
from cohobate.runs.exported import About

TRAIN = ["--data", "digits", "--model", "resnet8", "--epochs", "1", "--train-images", "200", "--lr", "0.02"]
ABOUT = About(
    classes=("ant", "bee"), shape=(3, 8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), values="0-255"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``, exported, and ``half``, the same in bf16."""
    folder = tmp_path_factory.mktemp("ready networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["train", "baseline", *TRAIN, "--device", "cpu", "--quiet", "--out", "run"])
        export(Path("run"), ("onnx", "safetensors", "pt2"))
        shutil.copytree("run", "half")
        config = yaml.safe_load(Path("half/run.yaml").read_text())
        Path("half/run.yaml").write_text(yaml.safe_dump({**config, "precision": "bf16"}))
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


def images(count: int | None = None) -> Tensor:
    """Test images of digits, as bytes."""
    dataset = load_data("digits", Path())
    assert dataset.test is not None
    split = dataset.test()
    return pixels(split, range(len(split) if count is None else count))


def written(path: str, facts: dict[str, Any], models: tuple[str, ...] = ("resnet8",)) -> Path:
    """A file of weights as a run deploys it."""
    network = make_network(models[0], 2, ABOUT.shape)
    record = {**ABOUT.model_dump(mode="json"), "model": models[0], **facts}
    write_state(Path(path), State(network.state_dict(), record))
    return Path(path)


# ---------------------------------------------------------------- what it predicts


@pytest.mark.parametrize("run", ["run", "half"])
def test_a_run_predicts_what_evaluate_measures(run: str) -> None:
    expected, _ = logits_of_evaluate(Path(run), weights="best")
    ready = ready_network(Path(run), weights="best")
    assert torch.equal(ready.logits(images()), expected)
    assert (ready.form, ready.precision) == ("run", {"run": "fp32", "half": "bf16"}[run])
    assert ready.network is not None
    assert not ready.network.training
    # In another precision they differ, so that equal logits mean something.
    other = ready_network(Path({"run": "half", "half": "run"}[run]), weights="best")
    assert not torch.equal(other.logits(images()), expected)


@pytest.mark.parametrize("file", ["run/deployed.safetensors", "run/export/model.safetensors"])
def test_a_file_of_weights_predicts_as_its_run_does(file: str) -> None:
    ready = ready_network(Path(file))
    assert torch.equal(ready.logits(images(50)), ready_network(Path("run")).logits(images(50)))
    assert (ready.form, ready.run, ready.name) == ("safetensors", None, file)


@pytest.mark.parametrize("values", ["0-255", "0-1", "normalised"])
def test_an_onnx_file_predicts_as_its_run_does(values: Any) -> None:
    export(Path("run"), ("onnx",), Path("out"), values=values)
    ready = ready_network(Path("out/model.onnx"), threads=1)
    expected = ready_network(Path("run")).logits(images(50))
    torch.testing.assert_close(ready.logits(images(50)), expected, rtol=1e-4, atol=1e-4)
    assert (ready.form, ready.network, ready.about.values) == ("onnx", None, values)


def test_what_it_says_of_itself() -> None:
    for path in ("run", "run/deployed.safetensors", "run/export/model.safetensors", "run/export/model.onnx"):
        ready = ready_network(Path(path))
        assert ready.about.classes == tuple("0123456789")
        assert ready.about.shape == (3, 8, 8)
        assert ready.about.mean == ready_network(Path("run")).about.mean
        assert (ready.reading.fit, ready.reading.channels) == ("crop", 3)


def test_the_reading_is_that_of_the_training() -> None:
    ready = ready_network(written("mine.safetensors", {"fit": "pad", "background": "#102030"}))
    assert (ready.reading.fit, ready.reading.colour) == ("pad", (16, 32, 48))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"background": "mauve"}, r"mine\.safetensors: a colour is white, .* got 'mauve'"),
        ({"shape": [2, 8, 8], "mean": [0, 0], "std": [1, 1]}, r"mine\.safetensors: .* in 3 channels"),
    ],
)
def test_pictures_that_cannot_be_read_so(facts: dict[str, Any], message: str) -> None:
    about = ABOUT.model_copy(update=facts)
    ready = ReadyNetwork(Path("mine.safetensors"), "safetensors", about, Answers, torch.device("cpu"), "fp32")
    with pytest.raises(ValueError, match=message):
        _ = ready.reading


def test_images_leave_a_sum_early() -> None:
    facts = {"members": ["resnet8", "resnet8"], "found": {"threshold": 0.5}}
    from cohobate.core import Sum

    networks = Sum([make_network("resnet8", 2, ABOUT.shape) for _ in range(2)])
    write_state(
        Path("sum.safetensors"),
        State(networks.state_dict(), {**ABOUT.model_dump(mode="json"), "model": "resnet8", **facts}),
    )
    x = images(40)
    ready = ready_network(Path("sum.safetensors"), adaptive=True)
    answers = ready.answers(x)
    cascade = load(Path("sum.safetensors"), adaptive=True, threshold=0.5)
    from cohobate.inference.deployable import Normalisation

    with torch.no_grad():
        expected = cascade.exits(Normalisation(ABOUT.mean, ABOUT.std).of_bytes(x, "normalised"))
    assert answers.stages is not None
    assert torch.equal(answers.stages, expected.exits)
    torch.testing.assert_close(answers.logits, expected.logits)
    assert ready_network(Path("sum.safetensors")).answers(x).stages is None


def test_what_was_checked_is_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is another one at a second reading."""
    from handed_over import hand_over

    file = hand_over("sum.safetensors", ["resnet8", "resnet8"], found={"threshold": 0.5})
    read = []

    def once(path: Path) -> Any:
        read.append(path)
        return read_deployed(path)

    for place in ("cohobate.commands.ready_opened", "cohobate.recipes.networks"):
        monkeypatch.setattr(f"{place}.read_deployed", once)
    ready_network(file, adaptive=True)
    assert read == [file]


def test_onnxruntime_may_fail_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohobate.inference.onnx_network import OnnxNetwork

    def fails(self: object, images: Tensor) -> Tensor:
        raise RuntimeError

    monkeypatch.setattr(OnnxNetwork, "__call__", fails)
    with pytest.raises(RunError, match=r"does not take images of 3 x 8 x 8 .*, as it says: RuntimeError$"):
        ready_network(Path(ONNX))


def test_words_that_are_none() -> None:
    from cohobate.commands.adaptive import evaluate_adaptive
    from cohobate.commands.evaluate import evaluate_run

    wrong: Any = "bset"
    with pytest.raises(ValueError, match="unknown weights 'bset'; there are last, best, "):
        ready_network(Path("run"), weights=wrong)
    with pytest.raises(ValueError, match=r"weights: Input should be 'last' or 'best' \(got 'bset'\)"):
        export(Path("run"), ("onnx",), Path("new"), weights=wrong)
    for evaluated in (evaluate_run, evaluate_adaptive):
        with pytest.raises(ValueError, match="unknown weights 'bset'"):
            evaluated(Path("run"), weights=wrong)
    with pytest.raises(ValueError, match="unknown split 'tset'; there are test, val, train, "):
        evaluate_run(Path("run"), split="tset")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown energy 'addde'; .* the nearest is added"):
        evaluate_adaptive(Path("run"), energy="addde")  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is refused


def _cut(path: str) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def _changed(path: str, **facts: Any) -> None:
    state = read_state(Path(path))
    write_state(Path(path), State(state.tensors, {**state.facts, **facts}))


def _foreign_onnx(**metadata: str) -> None:
    import onnx

    model = onnx.load("run/export/model.onnx")
    kept = {each.key: each.value for each in model.metadata_props} if metadata else {}
    del model.metadata_props[:]
    for key, value in {**kept, **metadata}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, "run/export/model.onnx")


def _other_weights() -> None:
    other = make_network("resnet8", 2, ABOUT.shape)
    facts = read_state(Path("run/deployed.safetensors")).facts
    Path("run/deployed.safetensors").write_bytes(state_bytes(State(other.state_dict(), facts)))


DEPLOYED, WEIGHTS, ONNX = "run/deployed.safetensors", "run/export/model.safetensors", "run/export/model.onnx"
REFUSED: list[tuple[Callable[[], Any], str, type[Exception], str]] = [
    (lambda: None, "runn", FileNotFoundError, "runn is not there; the nearest in .: run"),
    (lambda: None, "run/export/model.onx", FileNotFoundError, "model.onnx"),
    (lambda: None, "away/further/run", FileNotFoundError, "away/further/run is not there; give the folder"),
    (lambda: None, "run/export", FileNotFoundError, f"give one of them: {ONNX}, {WEIGHTS}"),
    (lambda: None, "run/train", FileNotFoundError, "run/train is not the folder of a run"),
    (lambda: None, ".", FileNotFoundError, "it holds 2 runs"),
    (lambda: None, "run/export/model.pt2", ValueError, "can run code that a file holds"),
    (lambda: Path("w.pt").write_bytes(b""), "w.pt", ValueError, "cohobate.load_weights(network, FILE)"),
    (lambda: Path("a.jpg").write_bytes(b""), "a.jpg", ValueError, "is an image, and the network comes first"),
    (lambda: Path("a.txt").write_text(""), "a.txt", ValueError, "a.txt is no network: give the folder"),
    (lambda: Path("run/result.json").unlink(), "run", RunError, "has not finished"),
    (lambda: _cut(DEPLOYED), "run", RunError, f"{DEPLOYED} is truncated"),
    (lambda: _cut(WEIGHTS), WEIGHTS, RunError, f"{WEIGHTS} is truncated"),
    (lambda: _cut(ONNX), ONNX, ValueError, f"{ONNX} is cut, damaged, or no ONNX file"),
    (lambda: Path(ONNX).write_bytes(b""), ONNX, ValueError, f"{ONNX} cannot be read by onnxruntime"),
    (lambda: _changed(DEPLOYED, model=None), DEPLOYED, RunError, "cohobate.load_weights(network, path)"),
    (lambda: _changed(WEIGHTS, model=None, readout="peer_1"), WEIGHTS, RunError, "the weights of peer_1, "),
    (lambda: _changed(DEPLOYED, mean=[0.5]), DEPLOYED, RunError, "no image has these"),
    (lambda: _changed(DEPLOYED, classes=["a"]), DEPLOYED, RunError, "does not hold the weights"),
    (lambda: _changed(DEPLOYED, model="net.py:make"), DEPLOYED, ValueError, "is of the network net.py:make"),
    (lambda: _changed(DEPLOYED, model="resnet9"), DEPLOYED, ValueError, "the nearest are resnet8"),
    (_other_weights, "run", RunError, "does not hold the weights of the network that it names, resnet8"),
    (_foreign_onnx, ONNX, RunError, "does not say classes, shape, mean, std, values"),
    (lambda: _foreign_onnx(classes='["a"]'), ONNX, RunError, "names 1 class and predicts 10"),
    (lambda: _foreign_onnx(shape="[3, 9, 8]"), ONNX, RunError, "are 3 x 9 x 8 and takes 3 x 8 x 8"),
    (lambda: _foreign_onnx(values="0-1"), ONNX, RunError, "does not take images of 3 x 8 x 8 with values"),
    (lambda: _foreign_onnx(mean="x"), ONNX, RunError, "mean: Input should be a valid tuple"),
]


@pytest.mark.parametrize(("spoil", "path", "kind", "message"), REFUSED)
def test_one_line_says_what_is_wrong(
    spoil: Callable[[], Any], path: str, kind: type[Exception], message: str
) -> None:
    spoil()
    with pytest.raises(kind) as error:
        ready_network(Path(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_code_that_a_file_names_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("net.py").write_text("open('was_here', 'w').close()\ndef make(classes): ...\n")
    for model in ("net.py:make", "xml.sax:make_parser"):
        _changed(DEPLOYED, model=model, members=[model])
        with pytest.raises(ValueError, match=model):
            ready_network(Path(DEPLOYED))
    _changed(DEPLOYED, model="resnet8", members=["resnet8", "net.py:make"])
    with pytest.raises(ValueError, match=r"net\.py:make"):
        ready_network(Path(DEPLOYED))
    assert not Path("was_here").exists()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (DEPLOYED, {"weights": "best"}, "--weights best is for the folder of a run"),
        (ONNX, {"device": "cuda"}, "on the CPU, not on cuda"),
        (ONNX, {"adaptive": True}, "adaptive is for a run"),
        ("run", {"device": "cuda:7"}, "no device 'cuda:7' here"),
        ("run", {"adaptive": True}, "is one network, resnet8, and no sum"),
    ],
)
def test_options_that_do_not_go_with_it(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ready_network(Path(path), **options)


def test_no_best_weights_without_a_validation_split() -> None:
    result = json.loads(Path("run/result.json").read_text())
    Path("run/result.json").write_text(json.dumps({**result, "best": None}))
    with pytest.raises(RunError, match="has no best weights, since it has no validation split"):
        ready_network(Path("run"), weights="best")


def test_a_run_of_a_device_that_is_not_here() -> None:
    config = yaml.safe_load(Path("run/run.yaml").read_text())
    Path("run/run.yaml").write_text(yaml.safe_dump({**config, "device": "cuda:7"}))
    with pytest.raises(ValueError, match=r"run was trained on cuda:7: no device .*; give --device$"):
        ready_network(Path("run"))
    assert ready_network(Path("run"), device="cpu").device.type == "cpu"
