"""What an exported file says of itself, written and read, also after somebody changed it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cohobate.engine.errors import RunError
from cohobate.runs.exported import About

STRANGE = ("cat", 'a "quoted" one', "null", "ключ", "5", "[1]", "a,b=c", "new\nline", "\udce9", "")


def about(**changed: Any) -> About:
    values: dict[str, Any] = {
        "classes": STRANGE,
        "shape": (3, 8, 9),
        "mean": (0.1, 0.2, 0.3),
        "std": (0.2, 0.2, 0.2),
        "values": "0-1",
        "model": "resnet8",
        "errors": {"val": {"top1_error": 12.5}},
        "seed": 0,
    }
    return About(**{**values, **changed})


@pytest.mark.parametrize(
    "made",
    [
        about(),
        about(stage=(2, 3)),
        about(model=None, seed=None, epoch=None, macs=None),
        about(data="null", label="null", method="[1]", readout='"x"', members=("a", "null")),
        about(classes=("one",), shape=(1, 1, 1), mean=(0.0,), std=(1.0,), epoch=1.5, macs=10**12),
    ],
)
def test_metadata_are_texts_from_which_the_same_is_read(made: About) -> None:
    metadata = made.to_metadata()
    for text in metadata.values():
        text.encode()  # what protobuf and JSON hold
    assert About.from_metadata(metadata, "x.onnx") == made
    assert tuple(json.loads(metadata["classes"])) == made.classes
    assert About.of(json.loads(json.dumps(made.model_dump(mode="json"))), "x") == made


def test_a_path_that_is_no_text_is_written_so_that_it_is_one() -> None:
    metadata = about(data="caf\udce9").to_metadata()
    assert metadata["data"] == "caf\\udce9"
    assert About.from_metadata(metadata, "x").data == "caf\\udce9"


def test_other_entries_are_left_alone_and_missing_ones_are_unknown() -> None:
    needed = {key: about().to_metadata()[key] for key in ("classes", "shape", "mean", "std", "values")}
    found = About.from_metadata({**needed, "author": "x"}, "x.onnx")
    assert (found.classes, found.model, found.errors) == (STRANGE, None, {})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": "[]"}, "classes: "),
        ({"classes": "cat, dog"}, "classes: "),
        ({"classes": "[" * 100_000}, "classes: "),
        ({"classes": "{}"}, "classes: "),
        ({"shape": "[3, 8]"}, "shape"),
        ({"shape": "[3, 0, 8]"}, r"says shape \(3, 0, 8\)"),
        ({"shape": "[4, 8, 8]"}, r"says shape \(4, 8, 8\)"),
        ({"mean": "[0.1, NaN, 0.3]"}, r"mean\.1: .*finite"),
        ({"std": "[0.1, 0.0, 0.3]"}, r"std \(0\.1, 0\.0, 0\.3\)"),
        ({"std": "[0.1, 0.2]"}, r"std \(0\.1, 0\.2\)"),
        ({"values": "0-256"}, "values: .*'0-255'"),
        ({"errors": '{"val": {"top1_error": Infinity}}'}, "errors.val.top1_error: .*finite"),
        ({"seed": "1" * 5000}, "seed: "),
        ({"fit": "stretch"}, "fit: "),
        ({"eval_resize": "0"}, "eval_resize: "),
        ({"eval_resize": "5"}, r"says eval_resize 5 of images of shape \(3, 8, "),
    ],
)
def test_what_was_changed_is_refused_in_one_line(changed: dict[str, str], said: str) -> None:
    with pytest.raises(RunError, match=rf"^x\.onnx .*{said}") as error:
        About.from_metadata({**about().to_metadata(), **changed}, "x.onnx")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_the_shorter_side_is_kept_and_older_files_have_none() -> None:
    metadata = about().model_copy(update={"eval_resize": 12}).to_metadata()
    assert About.from_metadata(metadata, "x").eval_resize == 12
    del metadata["eval_resize"]
    assert About.from_metadata(metadata, "x").eval_resize is None


@pytest.mark.parametrize("gone", ["classes", "shape", "mean", "std", "values"])
def test_a_file_of_somebody_else_is_refused(gone: str) -> None:
    metadata = about().to_metadata()
    del metadata[gone]
    with pytest.raises(RunError, match=rf"x does not say of itself .* {gone}: Field required"):
        About.from_metadata(metadata, "x")


def test_numbers_that_are_none_are_never_written() -> None:
    with pytest.raises(ValueError, match="finite"):
        about(errors={"val": {"nll": float("nan")}})
