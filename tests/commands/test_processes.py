"""Whole processes: killed, asked to stop, several at once, inside other hosts.

What they are compared with runs in this process, where everything is imported already.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cohobate.cli import main
from cohobate.engine.checkpoint import read_state

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
COHOBATE = [sys.executable, "-m", "cohobate.cli"]
TRAIN = ["train", "self_guidance", "--device", "cpu", "--epochs"]
PLAN = ["train", "takd", "--teacher", "resnet8", "--assistants", "resnet14", "--device", "cpu", "--epochs"]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COHOBATE, *arguments], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(*arguments: str) -> str:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    return out + err


def same_end(one: Path, two: Path) -> None:
    """Deployed weights and records, to the bit; times apart."""
    for name in ("deployed.safetensors", "deployed-best.safetensors"):
        states = [read_state(folder / name) for folder in (one, two)]
        assert states[0].facts == states[1].facts
        assert states[0].tensors.keys() == states[1].tensors.keys()
        for key, tensor in states[0].tensors.items():
            assert torch.equal(tensor, states[1].tensors[key]), key
    records = [[json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (one, two)]
    for lines in records:
        for line in lines:
            del line["seconds"], line["images_per_s"]
    assert records[0] == records[1]


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the process ended before it said {text!r}")


def killed_and_resumed(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Kill after so long, then the same command; whether the kill came before the end."""
    process = start(*arguments, "--out", str(folder))
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hit = process.returncode == -signal.SIGKILL
    finish(*arguments, "--out", str(folder))
    return hit


def test_kill_9_then_the_same_command(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    main([*TRAIN, "4", "--out", str(whole)])
    process = start(*TRAIN, "4", "--out", str(cut))
    wait_for(process, "epoch 2/4")
    process.kill()
    process.communicate()
    assert not (cut / "result.json").exists()
    assert "resuming phase 'train' after epoch" in finish(*TRAIN, "4", "--out", str(cut))
    same_end(whole, cut)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    """Half of them in a plan of two phases, where the kill may fall between assistant and student."""
    seed = int(os.environ.get("COHOBATE_KILL_SEED", "0"))
    draw = random.Random(seed)
    commands = [[*TRAIN, "8"], [*PLAN, "6", "--teachers", str(tmp_path / "teachers")]]
    durations = []
    for number, command in enumerate(commands):
        began = time.monotonic()
        finish(*command, "--out", str(tmp_path / f"whole-{number}"))
        durations.append(time.monotonic() - began)
    kills = tries = 0
    while kills < 20:
        tries += 1
        assert tries < 60, "the kills keep coming after the end"
        which = kills % 2
        folder = tmp_path / f"cut-{tries}"
        hit = killed_and_resumed(commands[which], folder, draw.uniform(0.2, 1.0) * durations[which])
        same_end(tmp_path / f"whole-{which}", folder)
        kills += hit
    print(f"{kills} kills in {tries} tries, seed {seed}: all ends bit-identical")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_so(number: signal.Signals, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    main([*TRAIN, "6", "--out", str(whole)])
    process = start(*TRAIN, "6", "--out", str(cut))
    wait_for(process, "epoch 1/6")
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert f"stopped ({number.name}) in epoch" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    finish(*TRAIN, "6", "--out", str(cut))
    same_end(whole, cut)


def test_two_processes_under_torchrun(tmp_path: Path) -> None:
    """The batch is global: two processes take the same steps over the same images as one."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = ["train", "baseline", "--epochs", "3", "--device", "cpu", "--lr", "0.02", "--out"]
    done = subprocess.run(
        [*torchrun, "cohobate.cli", *command, str(tmp_path / "two")],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    main([*command, str(tmp_path / "one")])
    made = json.loads((tmp_path / "two" / "provenance.json").read_text())
    assert made["environment"]["processes"] == 2
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("one", "two")]
    assert results[0]["image_passes"] == results[1]["image_passes"] == 3 * 1280
    for split, images in (("val", 143), ("test", 359)):
        counted = [r["last"][split]["network"]["images"] for r in results]
        assert counted == [images, images]
    # Batch norm sees half a batch in each process, so the weights differ, but not by much.
    losses = [
        [json.loads(x)["losses"]["ce"] for x in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    lines = [line for line in done.stderr.splitlines() if "epoch 1/3" in line]
    assert len(lines) == 1, "only the first process speaks"


@pytest.mark.slow
def test_two_processes_resume_bit_equal_from_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Batch-norm statistics and random states of each process come back to it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [*torchrun, "cohobate.cli", *TRAIN, "30", "--data-root", str(tmp_path), "--out"]

    def go(folder: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(tmp_path / folder), *more], env=ENVIRONMENT, capture_output=True, text=True
        )

    assert go("whole").returncode == 0
    stopped = go("cut", "--max-minutes", "0.03")
    assert "minutes given are over" in stopped.stderr
    assert not (tmp_path / "cut" / "result.json").exists()
    assert "resuming phase 'train'" in go("cut").stderr
    same_end(tmp_path / "whole", tmp_path / "cut")


def test_plain_lines_when_the_output_is_no_terminal(tmp_path: Path) -> None:
    said = finish(*TRAIN, "2", "--out", str(tmp_path / "run"))
    assert "self_guidance seed 0 epoch 2/2  ce_student " in said
    assert "images/s" in said
    assert "left" in said
    assert "\x1b" not in said


@pytest.mark.slow
def test_a_comparison_under_torchrun_speaks_once(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = ["compare", "baseline", "self_guidance", "--seeds", "0", "--epochs", "1", "--precision", "auto"]
    done = subprocess.run(
        [*torchrun, "cohobate.cli", *command, "--device", "cpu", "--out", str(tmp_path / "c")],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("index.html") == 1
    assert done.stderr.count("a step takes") == 1
