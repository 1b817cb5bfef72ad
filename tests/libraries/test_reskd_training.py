"""ResKD with res-students of timm and torchvision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import cohobate
from cohobate.cli import main
from cohobate.commands.evaluate import evaluate_run


def test_res_students_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--data", "digits", "--train-images", "128", "--batch-size", "32", "--epochs", "1", "--quiet"]
    quick += ["--device", "cpu", "--out"]
    res = ["--res-students", "timm:test_resnet", "--teacher", "timm:test_resnet", "--stop-share", "none"]
    main(["train", "reskd", "--model", "resnet8", *res, *quick, "run"])
    facts = json.loads(Path("run/result.json").read_text())
    assert [phase["phase"] for phase in facts["phases"]] == ["S_0", "R_1"]
    members = ["--members", "torchvision:shufflenet_v2_x0_5", "--learn", "labels"]
    main(["train", "ensemble", "--model", "timm:test_resnet", *members, *quick, "pair"])
    for name in ("run", "pair"):
        network = cohobate.load(name)
        x = torch.randn(4, 3, 8, 8)
        one, two = network.network.networks
        with torch.no_grad():
            torch.testing.assert_close(network(x), one(x).logits + two(x).logits, rtol=0, atol=0)
        measured, _, _ = evaluate_run(Path(name), "test", "last")
        recorded = json.loads(Path(name, "result.json").read_text())["last"]["test"]["student"]
        assert measured["top1_error"] == pytest.approx(recorded["top1_error"])
