"""The model card: its numbers, its words, and texts from outside that are not read as Markdown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from marked import Seen, Table, seen
from run_folders import MakeRun

from cohobate.core.metrics import MIOU, Metric
from cohobate.report.card import File, Subject, card, is_untouched
from cohobate.report.facts import Explained
from cohobate.report.markdown import block, code
from cohobate.runs.exported import About, Int8
from cohobate.runs.reading import Run
from cohobate.runs.siblings import baselines, siblings

KD = Explained("Softened KL between the logits.", {"weight": 0.9}, {"weight": "Factor of this term."})


def about_of(run: Run, **changed: Any) -> About:
    last = run.outcome["last"]
    errors = {split: last[split][run.readout] for split in ("val", "test") if last[split]}
    said: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "shape": (3, 32, 48),
        "mean": (0.5, 0.25, 0.125),
        "std": (0.5, 0.5, 0.5),
        "values": "0-255",
        "model": "resnet20",
        "readout": run.readout,
        "method": run.method,
        "label": run.name,
        "seed": run.outcome["seed"],
        "weights": "last",
        "epoch": 4,
        "data": "cifar10",
        "errors": errors,
        "parameters": 269722,
        "macs": 40551808,
    }
    return About(**(said | changed))


def errors_of(run: Run, weights: str) -> dict[str, dict[str, float]]:
    return {split: run.outcome[weights][split][run.readout] for split in ("val", "test")}


def card_of(run: Run, about: About | None = None, files: list[File] | None = None) -> str:
    about = about or about_of(run)
    listed = [File("model.onnx", 2**20, about, "all labels equal")] if files is None else files
    command = "cohobate export runs/kd/seed-0", "sh"
    return card(Subject(run, about, listed, siblings(run), baselines(run), KD, [command], 1.0))


def table_of(page: Seen, first: str) -> Table:
    return next(table for table in page.tables if table[0][0] == first)


# ---------------------------------------------------------------- errors


def test_errors_over_seeds_and_the_baseline(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd", seed=0, last=10.0, best=9.0)
    make_run("kd/seed-1", method="kd", seed=1, last=12.0, best=10.0)
    make_run("baseline/seed-0", method="baseline", seed=0, last=13.0, best=12.0)
    make_run("baseline/seed-1", method="baseline", seed=1, last=14.0, best=13.0)
    page = seen(card_of(run))
    # The validation split's errors are 0.25 points higher, see run_folders.
    assert table_of(page, "runs") == [
        ["runs", "val, last epoch", "test, last epoch", "val, best epoch", "test, best epoch"],
        ["seed 0 (these files)", "10.25", "10.00", "9.25", "9.00"],
        ["seed 1", "12.25", "12.00", "10.25", "10.00"],
        ["mean ± std of 2 seeds", "11.25 ± 1.41", "11.00 ± 1.41", "9.75 ± 0.71", "9.50 ± 0.71"],
        ["baseline, seeds 0, 1", "13.75 ± 0.71", "13.50 ± 0.71", "12.75 ± 0.71", "12.50 ± 0.71"],
    ]
    (gain,) = [item for item in page.items if item.startswith("Gain")]
    # 13 - 10 and 14 - 12: 2.5, standard error 0.5, 12.706 standard errors to either side.
    assert gain.endswith("test split, paired by seed ± standard error [95 % interval], positive is better: "
                         "+2.50 ± 0.50 [-3.85, +8.85].")  # fmt: skip
    assert not any("one seed" in item for item in page.items)


def test_of_segmentation_the_numbers_are_measures_and_the_larger_is_the_better(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd", seed=0, last=62.0, headline=MIOU)
    make_run("kd/seed-1", method="kd", seed=1, last=64.0, headline=MIOU)
    make_run("baseline/seed-0", method="baseline", seed=0, last=60.0, headline=MIOU)
    make_run("baseline/seed-1", method="baseline", seed=1, last=61.0, headline=MIOU)
    measured = {"miou": 62.0, "miou_original": 61.5, "pixel_accuracy": 88.0, "images": 7}
    text = card_of(run, about_of(run, task="segmentation", fit="pad", errors={"test": measured}))
    assert "## Measures" in text
    page = seen(text)
    assert table_of(page, "weights")[:2] == [
        ["weights", "split", "mIoU, %", "mIoU original size, %", "pixel accuracy, %", "images"],
        ["last epoch (4)", "test", "62.000", "61.500", "88.000", "7"],
    ]
    (gain,) = [item for item in page.items if item.startswith("Gain")]
    assert "positive is better: +2.50 ± 0.50" in gain
    assert any("highest mIoU on the validation split" in item for item in page.items)
    for word in ("NLL", "ECE", "top-1", "## Errors"):
        assert word not in text
    assert "error" not in text.replace("standard error", "")


def test_one_seed_has_no_deviation(make_run: MakeRun) -> None:
    page = seen(card_of(make_run("kd/seed-0", method="kd")))
    assert [row[0] for row in table_of(page, "runs")[1:]] == ["seed 0 (these files)"]
    assert not any("±" in cell for row in table_of(page, "runs") for cell in row)
    assert any(item.startswith("This is one seed:") for item in page.items)
    assert any(item.startswith("No finished baseline that was trained the same way") for item in page.items)


def test_a_baseline_has_no_baseline(make_run: MakeRun) -> None:
    page = seen(card_of(make_run("baseline/seed-0", method="baseline")))
    assert not any("aseline" in item for item in page.items)


def test_baseline_of_other_seeds(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    make_run("baseline/seed-5", method="baseline", seed=5)
    page = seen(card_of(run))
    assert table_of(page, "runs")[-1][0] == "baseline, seed 5"
    assert "The baseline has none of these seeds, so no gain can be paired by seed." in page.items


def test_runs_that_do_not_count_are_named(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    make_run("kd/seed-1", method="kd", seed=1, finished=False)
    lost = make_run("kd/seed-2", method="kd", seed=2, finished=False)
    (lost.folder / "failure.json").write_text('{"message": "loss kl is nan"}')
    make_run("baseline/seed-0", method="baseline", epochs=8)
    page = seen(card_of(run))
    assert (
        "Not counted among the seeds: seed-1, it has not finished; seed-2, it has diverged: loss kl is nan."
        in page.items
    )
    assert (
        "Not counted as a baseline: baseline/seed-0, it was trained otherwise: epochs 4 here, 8 there."
        in page.items
    )


def test_without_validation_or_test_split(make_run: MakeRun) -> None:
    no_val = seen(card_of(make_run("a", method="kd", best=None)))
    assert table_of(no_val, "runs")[0] == ["runs", "val, last epoch", "test, last epoch"]
    assert not any("best epoch is" in item for item in no_val.items)
    no_test = seen(card_of(make_run("b", method="kd", test=False)))
    assert table_of(no_test, "runs")[0] == ["runs", "val, last epoch", "val, best epoch"]
    assert any(item.startswith("The data has no test split") for item in no_test.items)


def test_another_read_out(make_run: MakeRun) -> None:
    """Its own errors, and a dash where another seed did not measure it."""
    run = make_run("dml/seed-0", method="dml").reporting("other")
    second = make_run("dml/seed-1", method="dml", seed=1).folder / "result.json"
    result = json.loads(second.read_text())
    del result["last"]["test"]["other"]
    second.write_text(json.dumps(result))
    about = replace_errors(about_of(make_run("x", method="dml")), "other")
    text = card_of(run, about)
    row = table_of(seen(text), "runs")[1]
    assert row[2] == row[4] == "99.00"
    assert [row[2] for row in table_of(seen(text), "runs")[2:]] == ["—", "—"]
    assert [row[4] for row in table_of(seen(text), "runs")[2:]] == ["99.00", "99.00 ± 0.00"]
    assert "It is the read-out `other` of the method, which is not the one that the run deploys." in text


def replace_errors(about: About, readout: str) -> About:
    return about.model_copy(update={"readout": readout, "errors": {"test": {"top1_error": 99.0}}})


def test_another_headline_metric(make_run: MakeRun) -> None:
    accuracy = Metric("accuracy", "accuracy", "%", False)
    run = make_run("kd/seed-0", method="kd", last=80.0, best=81.0, headline=accuracy)
    make_run("baseline/seed-0", method="baseline", last=78.0, headline=accuracy)
    text = card_of(run)
    assert "\naccuracy, %; mean" in text
    assert "positive is better: +2.00 (1 pair)." in text
    assert "that of the highest accuracy on the validation split" in text


def test_all_measures_are_those_of_the_result(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd", last=10.0)
    assert table_of(seen(card_of(run)), "weights")[1:] == [
        ["last epoch (4)", "val", "10.250", "1.025", "0.512", "2.562"],
        ["last epoch (4)", "test", "10.000", "1.000", "0.500", "2.500"],
    ]


# ---------------------------------------------------------------- files


def test_files_of_other_weights_and_of_another_run(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    about = about_of(run)
    best = about_of(run, weights="best", epoch=3, values="normalised", errors=errors_of(run, "best"))
    other = about.model_copy(update={"label": "dkd", "seed": 4, "values": "0-1"})
    mine = about.model_copy(update={"model": None})
    page = seen(
        card_of(
            run,
            about,
            [
                File("model.onnx", 3 * 2**20, about, "all labels equal"),
                File("model.pt2", 2**19, best, "when it was written"),
                File("model.int8.onnx", 2**18, other, "when it was written"),
                File("model.safetensors", 2**20, mine, "weights equal"),
                File("notes.onnx", 10, None, "nothing is known of it: no ONNX file"),
            ],
        )
    )
    rows = [[row[0], *row[2:]] for row in table_of(page, "file")[1:]]
    assert rows == [
        ["model.onnx", "bytes, uint8, 0 to 255", "last epoch (4)", "3.00 MiB", "all labels equal"],
        ["model.pt2", "float32, normalised", "best epoch (3)", "0.50 MiB", "when it was written"],
        ["model.int8.onnx", "float32, 0 to 1", "of another run: dkd on cifar10, seed 4, last epoch (4)",
         "0.25 MiB", "when it was written"],
        ["model.safetensors", "float32, normalised", "last epoch (4)", "1.00 MiB", "weights equal"],
        ["notes.onnx", "", "", "0.00 MiB", "nothing is known of it: no ONNX file"],
    ]  # fmt: skip
    used = [text for language, text in page.code if language == "python"]
    # Pictures, model.onnx and model.pt2: not the file of another run, nor weights without a name.
    assert len(used) == 3
    assert "InferenceSession('model.onnx')" in used[1]
    assert "torch.export.load('model.pt2'" in used[2]


def test_front_matter(make_run: MakeRun) -> None:
    text = card_of(make_run("kd/seed-0", method="kd"))
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["pipeline_tag"] == "image-classification"
    assert front["tags"][-1] == "onnx"
    assert "license" not in front


def test_a_file_in_8_bits(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    found = Int8(
        choices="per channel",
        calibrated_on="cifar10, val split",
        calibration_images=500,
        measured_on="cifar10, test split",
        images=10000,
        error=8.25,
        float_error=8.125,
        other_labels=1,
    )
    files = [File("model.int8.onnx", 9, about_of(run, int8=found), "33% of the size")]
    page = seen(card_of(run, files=files))
    assert table_of(page, "file")[1][1] == "the network in 8-bit integers, for onnxruntime"
    assert (
        "model.int8.onnx: top-1 error 8.25 %, of the network in floats 8.12 % (cifar10, test split, "
        "10,000 images; 1 other label); calibrated on 500 images (cifar10, val split); per channel."
    ) in page.items
    assert "InferenceSession('model.int8.onnx')" in page.code[1][1]
    assert "In 8-bit integers" in page.headings
    assert "In 8-bit integers" not in seen(card_of(run)).headings


def test_files_of_a_training_before_this_one_in_the_same_folder(make_run: MakeRun) -> None:
    """Of the same weights the digest tells them, of others the errors, which the run has recorded."""
    run = make_run("kd/seed-0", method="kd")
    about = about_of(run, weights_digest="ab")
    best = {"weights": "best", "epoch": 3, "weights_digest": "ef"}
    others = {
        "same.onnx": about,
        "retrained.onnx": about.model_copy(update={"weights_digest": "cd"}),
        "best.onnx": about.model_copy(update={**best, "errors": errors_of(run, "best")}),
        "before.onnx": about.model_copy(update={**best, "errors": {"val": {"top1_error": 1.25}}}),
        "unknown.onnx": about.model_copy(update={**best, "errors": {}}),
    }
    page = seen(card_of(run, about, [File(name, 1, each, "") for name, each in others.items()]))
    not_known = "not known to be of this training: kd on cifar10, seed 0, "
    assert [row[3] for row in table_of(page, "file")[1:]] == [
        "last epoch (4)",
        f"{not_known}last epoch (4)",
        "best epoch (3)",
        f"{not_known}best epoch (3)",
        f"{not_known}best epoch (3)",
    ]


def test_a_folder_that_timm_loads(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    about = about_of(run, model="timm:resnet18")
    files = [File("config.json", 400, None, "of timm"), File("model.safetensors", 9, about, "equal")]
    text = card_of(run, about, files)
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "timm"
    assert {"timm", "cohobate", "safetensors"} <= set(front["tags"])
    (row,) = [row for row in table_of(seen(text), "file") if row[0] == "model.safetensors"]
    assert row[1] == "weights alone, for cohobate.load, with the keys of timm"
    used = [code for language, code in seen(text).code if language == "python"]
    assert 'timm.create_model("local-dir:.", pretrained=True).eval()' in used[1]
    other = card_of(run, about_of(run), files)
    assert yaml.safe_load(other.split("---\n")[1])["library_name"] == "cohobate"
    assert "timm.create_model" not in other


def test_a_cascade(make_run: MakeRun) -> None:
    run = make_run("reskd/seed-0", method="reskd")
    about = about_of(run, members=("resnet8", "resnet8"))
    files = [
        File("stage-0.onnx", 9, about, "a network of the cascade"),
        File("cascade.json", 9, None, "threshold 0.5"),
        File("cascade.py", 9, None, "runs the networks"),
    ]
    page = seen(card_of(run, about, files))
    assert [row[1] for row in table_of(page, "file")[1:]] == [
        "one network of the cascade, whose logits are added up; alone it is not what was measured",
        "the threshold of the cascade, its classes, and the digests of its networks",
        "runs the networks",
    ]
    assert "As a cascade" in page.headings
    text = " ".join(card_of(run, about, files).split())
    assert "an image leaves at the first sum of which the energy is above the threshold" in text
    used = [code for language, code in page.code if language == "python"]
    assert len(used) == 2
    assert "logits, exits = cascade.predict(pixels)" in used[1]
    assert "What this costs in errors and saves in time was not measured" in card_of(run, about, files)
    assert "As a cascade" not in card_of(run)


# ---------------------------------------------------------------- training


def test_options_that_are_not_at_their_default(make_run: MakeRun) -> None:
    config = {"teacher": ["resnet56", "vgg19"], "epochs": 4, "device": "cpu", "workers": 9, "lr": 0.05}
    run = make_run("kd/seed-0", method="kd", label="kd weight=2", options={"weight": 2.0}, config=config)
    rows = {row[0]: row[1:3] for row in table_of(seen(card_of(run)), "option")[1:]}
    assert rows == {
        "weight": ["2.0", "0.9"],
        "teacher": ["resnet56, vgg19", "none"],
        "epochs": ["4", "30"],
        "lr": ["0.05", "0.1"],
    }


def test_teachers_with_their_errors(make_run: MakeRun, tmp_path: Any) -> None:
    given = make_run("teacher", method="baseline", last=7.5, best=None, epochs=40)
    trained = {
        "model": "resnet56",
        "folder": "runs/teachers/x",
        "epochs": 40,
        "train_seconds": 60.0,
        "parameters": 855770,
        "split": "test",
        "error": 6.25,
    }
    names = ["resnet56", str(given.folder), "vgg19:weights=gone.pth"]
    run = make_run("kd/seed-0", method="kd", teachers=[trained], config={"teacher": names})
    items = [item for item in seen(card_of(run)).items if item.startswith("Teacher")]
    assert items == [
        "Teacher resnet56 (shared, not in any train time): test top-1 error 6.25 %, 0.86 M parameters, "
        "trained in 60.0 s (40 epochs).",
        f"Teacher, given as {given.folder}: a run of resnet20, test top-1 error 7.50 % after 40 epochs, as "
        "its folder says when this is written.",
        "Teacher, given as vgg19:weights=gone.pth: what it measured is not recorded with this run.",
    ]


def test_commands_and_provenance(make_run: MakeRun) -> None:
    provenance = {"command": "cohobate train kd --out `x`\n```\n# no heading", "machine": "2 cores"}
    page = seen(card_of(make_run("kd/seed-0", method="kd", provenance=provenance)))
    shells = [text for language, text in page.code if language == "sh"]
    assert shells == [f"{provenance['command']}\n", "cohobate export runs/kd/seed-0\n"]
    assert "no heading" not in page.headings
    assert "machine: 2 cores" in page.items
    assert "commit: abc" in page.items


def test_limits(make_run: MakeRun) -> None:
    whole = card_of(make_run("kd/seed-0", method="kd"))
    assert "These 2 classes" not in whole
    assert "It knows these 2 classes only" in whole
    assert "at 32 x 48 pixels; of a picture of another size, it is resized until it covers them" in whole
    assert "--train-images" not in whole
    assert "bf16" not in whole
    part = make_run("kd/seed-1", method="kd", config={"train_images": 10000})
    text = card_of(part, about_of(part, precision="bf16", fit="pad"))
    assert "trained on at most 10,000 images (`--train-images`)" in text
    assert "trained and measured in bf16" in text
    assert "all of it is resized to fit in" in text


def test_a_users_own_method(make_run: MakeRun) -> None:
    run = make_run("mine", method="mine.py:Scaled")
    files = [File("model.onnx", 1, about_of(run), "")]
    subject = Subject(
        run, about_of(run), files, siblings(run), baselines(run), Explained("", {}, {}), [("x", "sh")], 1.0
    )
    assert "trained by the method `mine.py:Scaled`, the user's own." in card(subject)
    assert "needs the code of" not in card(subject)
    own = about_of(run, model="net.py:make")
    weights = [*files, File("model.safetensors", 1, None, "")]
    assert "`model.safetensors` needs the code of" in card(subject._replace(files=weights, about=own))


# ---------------------------------------------------------------- texts from outside

ODD = [
    "a|b",
    "back`tick``s",
    "<script>alert(1)</script>",
    "<!-- hidden -->",
    "two\nlines",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "=====",
    "> quote",
    "*bold* **x**",
    "_under_ a_b __c__",
    "~~struck~~",
    "[link](http://x.y)",
    "[link][ref]",
    "[ref]: http://x.y",
    "![image](x.png)",
    "&amp; &lt;",
    "back\\slash \\",
    "$x$",
    "| --- |",
    "http://x.y",
    "",
    "été 猫",
]


def test_odd_names_of_classes(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    page = seen(card_of(run, about_of(run, classes=tuple(ODD))))
    start = page.items.index("a|b")
    expected = [" ".join(name.split()) or "(empty)" for name in ODD]
    assert page.items[start : start + len(ODD)] == expected
    assert not any("script" in html or "hidden" in html for html in page.html)
    assert set(page.headings[1:]) == {
        "Files", "Use", "Errors", "Training", "Cost", "Classes", "Limits", "Licence"
    }  # fmt: skip


@pytest.mark.parametrize("text", [each for each in ODD if each])
def test_odd_texts_in_tables_and_lines(make_run: MakeRun, text: str) -> None:
    run = make_run("kd/seed-0", method="kd", options={"asked": text})
    about = about_of(run, data=text, label=text)
    page = seen(card_of(run, about))
    shown = " ".join(text.split())
    (row,) = [row for row in table_of(page, "option") if row[0] == "asked"]
    assert row[1] == shown
    assert page.headings[0] == f"resnet20 on {shown}, {shown}"
    assert f"It was measured on images of {shown} only; how it does on others is not known." in page.items


@pytest.mark.parametrize("text", ["plain", "`", "``", "a`b``c", "`a", "a b"])
def test_code_in_a_line_and_in_a_block(text: str) -> None:
    from markdown_it import MarkdownIt
    from marked import shown

    (_, inline, _) = MarkdownIt().parse(f"x {code(text)}")
    assert shown(inline) == f"x {text}"
    (fence,) = MarkdownIt().parse(block(f"{text}\n```\nx", "sh"))
    assert (fence.type, fence.content) == ("fence", f"{text}\n```\nx\n")


def test_many_classes_are_folded_and_very_many_cut(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    hundred = card_of(run, about_of(run, classes=tuple(f"c{n}" for n in range(100))))
    assert "<details><summary>100 classes, by the position of their logit</summary>\n\n0. c0\n" in hundred
    assert "99. c99\n\n</details>" in hundred
    many = card_of(run, about_of(run, classes=tuple(f"c{n}" for n in range(1234))))
    assert "999. c999\n\nand 234 more; the metadata of the files has all.\n" in many
    assert "c1000" not in many
    few = card_of(run)
    assert "<details>" not in few


# ---------------------------------------------------------------- whose it is


def test_a_card_knows_whether_it_was_changed(make_run: MakeRun) -> None:
    text = card_of(make_run("kd/seed-0", method="kd"))
    assert is_untouched(text)
    assert not is_untouched(text.replace("Licence", "Licence: MIT"))
    assert not is_untouched("# My project\n")
    assert not is_untouched(re.sub(r"<!--.*-->", "", text))
