"""``cohobate export --int8`` on a network that has learned digits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import refused
from torch import Tensor

from cohobate.cli import main
from cohobate.commands import export_int8
from cohobate.commands.export import export
from cohobate.commands.export_forms import Forms
from cohobate.commands.export_options import Asked, Command
from cohobate.commands.export_source import Source, source_of
from cohobate.commands.subject import own_images
from cohobate.config import extras
from cohobate.core import Classifier
from cohobate.data.dataset import Dataset
from cohobate.data.raw import pixels, spread
from cohobate.inference.onnx_network import OnnxNetwork
from cohobate.runs.exported import About, Int8

TRAIN = ["--data", "digits", "--model", "resnet8", "--epochs", "8", "--quiet"]

FEW = ["--calibration-images", "60"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ``run``, exported in int8, and what the command printed in ``printed``."""
    folder = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["train", "baseline", *TRAIN, "--out", "run"])
        printed: list[str] = []
        export("run", int8=True, calibration_images=100, say=printed.append)
        (folder / "printed").write_text("\n".join(printed))
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return source_of(Asked(Command(run=folder / "run")))


@pytest.fixture(scope="module")
def dataset(source: Source) -> Dataset:
    found = own_images(source.of, print)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def floats(folder: Path) -> bytes:
    return (folder / "run/export/model.onnx").read_bytes()


def predicted(file: bytes, images: Tensor) -> Tensor:
    return OnnxNetwork(file)(images).argmax(dim=1)


def about_of(file: str) -> About:
    return About.from_metadata(OnnxNetwork(Path(file)).metadata, file)


def test_int8_is_as_good_as_floats_and_says_so(dataset: Dataset, floats: bytes) -> None:
    assert dataset.test is not None
    test = dataset.test()
    images = pixels(test, range(len(test)))
    made = Path("run/export/model.int8.onnx").read_bytes()
    float_classes, classes = predicted(floats, images), predicted(made, images)
    record = about_of("run/export/model.int8.onnx").int8
    assert record is not None
    assert record == Int8(
        choices=record.choices,
        calibrated_on="digits, val split",
        calibration_images=100,
        measured_on="digits, test split",
        images=len(test),
        error=100 * int((classes != test.y).sum()) / len(test),
        float_error=100 * int((float_classes != test.y).sum()) / len(test),
        other_labels=int((classes != float_classes).sum()),
    )
    assert record.float_error < 10
    assert abs(record.points) <= 1
    assert "7 bits" in record.choices
    assert len(made) < 0.5 * len(floats)
    assert "warning" not in Path("printed").read_text()


def test_its_metadata_is_that_of_the_floats_and_what_int8_made_of_them() -> None:
    floats, made = about_of("run/export/model.onnx"), about_of("run/export/model.int8.onnx")
    assert floats.int8 is None
    assert made.int8 is not None
    assert made.model_copy(update={"int8": None}) == floats
    assert json.loads(OnnxNetwork(Path("run/export/model.int8.onnx")).metadata["int8"])["images"] == 359


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --format onnx the file in floats is made and checked, and not written."""
    main(["export", "run", "--int8", "--format", "safetensors", "--out", "other", *FEW])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "model.int8.onnx" in line)
    record = about_of("other/model.int8.onnx").int8
    assert record is not None
    assert f"top-1 error {record.error:.2f} %, in floats {record.float_error:.2f} %" in line
    assert f"digits, test split, 359 images; {record.other_labels} other label" in line
    assert "calibrated on digits, val split, 60 images" in line
    assert sorted(path.name for path in Path("other").iterdir() if path.suffix not in (".md", ".json")) == [
        "model.int8.onnx",
        "model.safetensors",
    ]


@pytest.mark.parametrize(("images", "expected"), [(None, None), (7, 7), (10_000, None)])
def test_calibration_sees_validation_images_only(
    source: Source,
    dataset: Dataset,
    floats: bytes,
    monkeypatch: pytest.MonkeyPatch,
    images: int | None,
    expected: int | None,
) -> None:
    assert dataset.val is not None
    assert dataset.test is not None
    read: list[str] = []
    tested = dataset.test()

    def test_split() -> Any:
        read.append("test")
        return tested

    def recorded(model: bytes, shown: Tensor, what: str, batch: int) -> bytes:
        assert not read, "the test split is read before calibration has ended"
        assert dataset.val is not None
        rows = spread(len(dataset.val), expected or len(dataset.val))
        assert torch.equal(shown, pixels(dataset.val, rows))
        read.append("calibrated")
        return model

    monkeypatch.setattr(export_int8, "quantised", recorded)
    made = export_int8.integers(source, floats, replace(dataset, test=test_split), images, print)
    assert read == ["calibrated", "test"]
    assert made.record.calibration_images == (expected or len(dataset.val))
    assert made.record.other_labels == 0


@pytest.mark.parametrize("values", ["0-1", "normalised"])
def test_other_values_are_calibrated_as_the_file_takes_them(
    source: Source, dataset: Dataset, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = source.about.model_copy(update={"values": values})
    other = source._replace(about=about)
    made = export_int8.integers(other, Forms(other, None).written("onnx"), dataset, 100, print)
    assert abs(made.record.points) <= 1
    assert made.record.other_labels <= 8
    assert about_of_bytes(made.data).values == values


def about_of_bytes(data: bytes) -> About:
    return About.from_metadata(OnnxNetwork(data).metadata, "the file")


# ---------------------------------------------------------------- other splits, and others' images


def without(dataset: Dataset, *splits: str) -> Dataset:
    return replace(dataset, **dict.fromkeys(splits))


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is quantised, where what is tested is the images."""
    monkeypatch.setattr(export_int8, "quantised", lambda model, images, what, batch: model)


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize(
    ("gone", "calibrated", "measured", "notes"),
    [
        ((), "val", "test", []),
        (("val",), "train", "test", ["training images calibrate"]),
        (("test",), "val", "val", ["both calibrate the int8 file and measure it"]),
        (("val", "test"), "train", "train", ["training images calibrate", "both calibrate"]),
    ],
)
def test_a_missing_split_is_said(
    source: Source,
    dataset: Dataset,
    floats: bytes,
    gone: tuple[str, ...],
    calibrated: str,
    measured: str,
    notes: list[str],
) -> None:
    said: list[str] = []
    record = export_int8.integers(source, floats, without(dataset, *gone), None, said.append).record
    assert record.calibrated_on == f"digits, {calibrated} split"
    assert record.measured_on == f"digits, {measured} split"
    assert len(said) == len(notes)
    assert all(note in line for note, line in zip(notes, said, strict=True))


@pytest.mark.usefixtures("as_it_is")
def test_classes_in_another_order_are_matched_by_name(
    source: Source, dataset: Dataset, floats: bytes
) -> None:
    assert dataset.test is not None
    own = export_int8.integers(source, floats, dataset, None, print).record
    test = dataset.test()
    turned = replace(test, y=(test.y + 3) % 10)
    names = tuple(dataset.classes[(i - 3) % 10] for i in range(10))
    other = replace(dataset, classes=names, test=lambda: turned)
    said: list[str] = []
    assert export_int8.integers(source, floats, other, None, said.append).record == own
    assert any("matched by name" in line for line in said)
    with pytest.raises(ValueError, match="predicts 10 classes, the data has 9"):
        export_int8.integers(source, floats, replace(dataset, classes=names[1:]), None, print)


def test_a_loss_is_a_warning_with_the_numbers(
    source: Source, dataset: Dataset, floats: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network whose first logit is always the largest."""
    broken = source.network
    head = next(m for m in reversed(list(broken.modules())) if isinstance(m, torch.nn.Linear))
    bias = head.bias.detach().clone()
    try:
        head.bias.data[0] += 1e3
        always = Forms(source, None).written("onnx")
    finally:
        head.bias.data = bias
    monkeypatch.setattr(export_int8, "quantised", lambda model, images, what, batch: always)
    said: list[str] = []
    record = export_int8.integers(source, floats, dataset, None, said.append).record
    (line,) = said
    assert record.error > 85
    for number in (record.error, record.float_error, record.points):
        assert f"{number:.2f}" in line
    assert line.startswith("warning: 8 bits cost")


# ---------------------------------------------------------------- refusals


def test_options_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--calibration-images has no effect without --int8" in refused(
        capsys, "export", "run", "--calibration-images", "9"
    )
    assert "calibration_images" in refused(capsys, "export", "run", "--int8", "--calibration-images", "0")
    assert "--adaptive writes" in refused(capsys, "export", "run", "--int8", "--adaptive")
    with pytest.raises(ValueError, match=r"calibration_images: .* 1 \(got 0\)"):
        export("run", int8=True, calibration_images=0)


def test_without_images_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohobate.commands.export_source.images_to_check", lambda *_: None)
    line = refused(capsys, "export", "run", "--int8", "--out", "nowhere").strip().splitlines()[-1]
    assert "--int8 needs images" in line
    assert "--data-root" in line
    assert "digits" in line


def test_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", gone)
    line = refused(capsys, "export", "run", "--format", "pt2", "--int8", "--out", "nowhere")
    assert "--int8 needs onnx" in line
    assert "pip install 'cohobate[export]'" in line


def test_logits_that_are_not_finite_are_refused(
    capsys: pytest.CaptureFixture[str], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: bytes, images: Tensor, what: str, batch: int) -> bytes:
        worse = source._replace(network=Classifier(Broken(source.network)).eval())
        return Forms(worse, None).written("onnx")

    monkeypatch.setattr(export_int8, "quantised", broken)
    assert "logits of the ONNX file in int8 are not finite" in refused(
        capsys, "export", "run", "--int8", "--out", "nowhere"
    )


class Broken(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits / 0
