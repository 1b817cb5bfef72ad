"""What a finished run records of its read-outs and of its plan, and reports of it, as a person runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cohobate.analysis.cost import cost
from cohobate.cli import main
from cohobate.models.build import build

QUICK = ["--data", "digits", "--epochs", "1", "--train-images", "150", "--batch-size", "50"]
QUICK += ["--lr", "0.01", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def result(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    return found


def test_read_outs_of_a_run_and_of_one_from_before(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "byot", *QUICK, "--out", "runs/new"])
    facts, printed = result("runs/new"), capsys.readouterr().out
    costs = facts["readouts"]
    assert list(costs) == list(facts["last"]["test"]) == ["network", "exit_1", "exit_2", "ensemble"]
    assert costs["network"] == {"parameters": facts["parameters_deployed"], "macs": facts["macs"]}
    exits = costs["ensemble"]["parameters"] - costs["network"]["parameters"]
    assert 0 < exits == facts["parameters_trained"] - facts["parameters_deployed"]
    for name, each in costs.items():
        assert re.search(rf"test +{name} .* {each['parameters'] / 1e6:.2f} M ", printed)
    page = Path("runs/new/report.html").read_text()
    assert "exit_1" in re.findall(r"(?s)<h3>Read-outs</h3>.*?</table>", page)[0]

    shutil.copytree("runs/new", "runs/old")
    old = {key: value for key, value in facts.items() if key not in ("readouts", "found")}
    Path("runs/old/result.json").write_text(json.dumps(old | {"label": "old"}))
    main(["report", "runs", "--baseline", "old"])
    lines = Path("runs/report/table.md").read_text().splitlines()
    (before, now) = [line for line in lines if " | exit_1 | " in line]
    assert before.endswith("| — | — |")
    assert now.endswith(" M |")
    main(["report", "runs/old"])
    assert "<h3>Read-outs</h3>" not in Path("runs/old/report.html").read_text()
    capsys.readouterr()
    main(["train", "byot", *QUICK, "--out", "runs/old"])
    printed = capsys.readouterr().out
    assert "exit_1" in printed
    assert "MACs" not in printed


def test_prefixes_of_reskd_add_up_and_its_findings_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    taught = ["--teacher", "resnet14", "--teacher-epochs", "1"]
    stages = ["--res-students", "resnet14,resnet8", "--stop-share", "none"]
    main(["train", "reskd", *taught, *stages, *QUICK, "--out", "run"])
    facts, printed = result("run"), " ".join(capsys.readouterr().out.split())
    small, large = (cost(build(name, 10, shape=(3, 8, 8)), (3, 8, 8)) for name in ("resnet8", "resnet14"))
    expected = {"student": 2 * small.macs + large.macs, "S_0": small.macs, "S_1": small.macs + large.macs}
    assert {name: each["macs"] for name, each in facts["readouts"].items()} == expected
    assert facts["readouts"]["S_1"]["parameters"] == small.parameters + large.parameters
    page, found = Path("run/report.html").read_text(), facts["found"]
    for text in (printed, page):
        assert "The plan ended with 2 res-students: " in text
        assert f"S_2 {found['energy']['S_2']:.4f}" in text
        assert f"D_v: {found['energy_images']} images, drawn from the training split." in text
        assert f"the energy of the whole sum on D_v: {found['threshold']:.4f}." in text
