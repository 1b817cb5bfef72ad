"""``--image-size`` on images in memory: in names of runs and teachers, and wherever pictures are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measured import logits_of_evaluate
from PIL import Image

import cohobate
from cohobate.cli import main
from cohobate.commands.ready_opened import ready_network
from cohobate.commands.subject import On
from cohobate.data.pictures import Reading
from cohobate.data.sources import load_data
from cohobate.runs.names import data_name, data_words

BASE = ["--data", "toy.npz", "--model", "resnet8", "--epochs", "1", "--batch-size", "20", "--device", "cpu"]
QUIET = [*BASE, "--quiet"]
RUN = Path("runs/toy.npz-16x16-resnet8/baseline/seed-0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 32 x 32, a run at 16 x 16 and one with a teacher of its own, and the test images as files."""
    root = tmp_path_factory.mktemp("smaller")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.integers(0, 120, (60, 32, 32, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
    np.savez(root / "toy.npz", x=x, y=y, x_test=x[:30], y_test=y[:30])
    np.savez(root / "other.npz", x=x[::-1], y=y[::-1], x_test=x[30:], y_test=y[30:])
    (root / "files").mkdir()
    for row in range(30):
        Image.fromarray(x[row]).save(root / "files" / f"{row:03}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        main(["train", "baseline", *QUIET, "--image-size", "16"])
        main(["train", "kd", "--teacher", "resnet8", *QUIET, "--image-size", "16"])
        main(["train", "kd", "--teacher", "resnet8", *QUIET])
    return root


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def outcome(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def test_a_size_is_in_the_name_of_data() -> None:
    assert data_name("some/cifar10", None) == data_words("cifar10", None) == "cifar10"
    assert data_name("some/cifar10", 16) == data_name("cifar10", (16, 16)) == "cifar10-16x16"
    assert data_name("cifar10", (24, 16)) == "cifar10-24x16"
    assert data_words("cifar10", (24, 16)) == "cifar10 at 24 x 16"


def test_two_sizes_share_no_folder_and_no_teacher() -> None:
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "teachers",
        "toy.npz-16x16-resnet8",
        "toy.npz-resnet8",
    ]
    teachers = sorted(path.name.rpartition("-")[0] for path in Path("runs/teachers").glob("toy*"))
    assert teachers == ["toy.npz-16x16-resnet8", "toy.npz-resnet8"]


def test_tables_pages_and_the_deployed_file_know_the_size() -> None:
    assert outcome(RUN)["data"] == "toy.npz at 16 x 16"
    assert "toy.npz at 16 x 16" in (RUN / "report.html").read_text()
    network = ready_network(RUN)
    assert network.about.shape == (3, 16, 16)
    assert network.reading == Reading(averaged_from=(32, 32))


def test_predict_reads_larger_pictures_as_evaluation_did() -> None:
    expected, _ = logits_of_evaluate(RUN, on=On())
    assert len(expected.unique(dim=0)) == 30
    torch.testing.assert_close(cohobate.predict(RUN, "files").logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_picture_of_the_stored_size_becomes_the_image_of_memory(fit: Any) -> None:
    from cohobate.data.pictures import decode
    from cohobate.data.views import whole

    images = load_data("toy.npz", Path(), (16, 20)).test
    assert images is not None
    reading = Reading(fit, averaged_from=(32, 32))
    for row in range(3):
        shown = whole(decode(Path(f"files/{row:03}.png"), reading), (16, 20), reading)
        assert torch.equal(torch.from_numpy(np.array(shown)), images().x[row])


def test_other_images_are_averaged_to_the_size_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(RUN), "--data", "other.npz"])
    assert "note: images are averaged from 32 x 32 to 16 x 16 pixels" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", str(RUN), "--data", "digits"])
    assert "images of digits are 3 x 8 x 8, the network is made for 3 x 16 x 16" in capsys.readouterr().err


def test_a_run_is_resumed_at_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "baseline", *QUIET, "--out", str(RUN)])
    assert "image_size" in capsys.readouterr().err
    before = (RUN / "deployed.safetensors").read_bytes()
    main(["train", "baseline", *QUIET, "--image-size", "16"])
    assert (RUN / "deployed.safetensors").read_bytes() == before
