"""Everything that can stop a run, by its message, and what is left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor
from zoo import StopAfter, seeded, toy, trainer

import cohobate.engine.checkpoint as checkpoint
from cohobate.core import Batch, Frozen
from cohobate.engine.checkpoint import (
    State,
    Store,
    read_state,
    state_bytes,
    temporary_of,
    weights_digest,
    write_all,
    write_bytes,
    write_state,
)
from cohobate.engine.errors import NonFiniteLoss, RunError, Stopped
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD
from cohobate.methods.supervised import Supervised


def baseline() -> Supervised:
    return Supervised(toy())


class Fails(Supervised):
    """A baseline that goes wrong at its ninth step: in the second epoch of the toy run."""

    def __init__(self, how: str) -> None:
        super().__init__(toy())
        self.how, self.steps = how, 0

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        self.steps += 1
        losses = super().forward(batch, turn)
        if self.steps == 9 and self.how == "nan":
            losses["ce"] = losses["ce"] * float("nan")
        if self.steps == 9 and self.how == "memory":
            torch.empty(2**60)  # more than any machine has
        if self.steps == 9 and self.how == "other":
            torch.zeros(2) @ torch.zeros(3)
        return losses


def test_non_finite_loss_names_the_term_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    running = trainer(seeded(lambda: Fails("nan")), tmp_path)
    said = r"the loss term 'ce' of phase 'train' became nan in epoch 2"
    with pytest.raises(NonFiniteLoss, match=said) as failed:
        running.run()
    last = tmp_path / "train" / "last.safetensors"
    assert f"the last good state is {last}" in str(failed.value)
    kept = read_state(last)
    assert kept.facts["epoch"] == 1
    assert all(torch.isfinite(t).all() for t in kept.tensors.values() if t.is_floating_point())
    # The step that went wrong moved nothing.
    assert all(torch.isfinite(p).all() for p in running.method.parameters())


def test_out_of_memory_says_which_batch_size_to_try(tmp_path: Path) -> None:
    running = trainer(seeded(lambda: Fails("memory")), tmp_path)
    message = r"out of memory at batch size 16 in 1 part; try --batch-size 8, or .* --accumulate 2"
    with pytest.raises(RunError, match=message):
        running.run()


def test_other_errors_are_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="size"):
        trainer(seeded(lambda: Fails("other")), tmp_path).run()


def test_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    running = trainer(seeded(baseline), tmp_path, StopAfter(6))
    with pytest.raises(Stopped):
        running.run()
    before = (tmp_path / "train" / "last.safetensors").read_bytes()
    # /dev/full answers every write with "no space left on device".
    temporary_of(tmp_path / "train" / "next.safetensors").symlink_to("/dev/full")
    again = trainer(seeded(baseline), tmp_path)
    with pytest.raises(
        RunError, match=r"cannot write .*next.safetensors .* No space left on device; .*make room"
    ):
        again.run()
    assert (tmp_path / "train" / "last.safetensors").read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))
    whole = trainer(seeded(baseline), tmp_path / "whole")
    whole.run()
    resumed = trainer(seeded(baseline), tmp_path)
    resumed.run()
    for key, value in whole.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[key])


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match=r"cannot write .*file/run.yaml.*: (Not a directory|File exists)"):
        write_bytes(tmp_path / "file" / "run.yaml", b"")


def test_several_files_are_written_together_or_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "new" / "two"
    one.write_bytes(b"before")
    real, left = os.fsync, [1]

    def full(handle: int) -> None:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"cannot write .*new/two .* No space left .* saved before are"):
            write_all({one: b"1", two: b"2"})
    assert one.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "one"]
    write_all({one: b"1", two: b"2"})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    write_all({})
    with pytest.raises(RunError, match=r"cannot write .*new .*Is a directory"):
        write_all({one: b"3", two.parent: b""})
    assert one.read_bytes() == b"1"


def test_a_state_is_written_in_the_same_order_each_time() -> None:
    """safetensors would draw the order of several metadata anew in each call."""
    state = State({"b": torch.arange(3.0), "a": torch.ones(2, dtype=torch.int64)}, {"é": [1]})
    written = {state_bytes(state, format="pt", author="x") for _ in range(20)}
    assert len(written) == 1
    (data,) = written
    tensors, length = load(data), int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert all(torch.equal(tensors[key], state.tensors[key]) for key in state.tensors)
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    assert list(metadata) == ["author", "facts", "format"]
    assert json.loads(metadata["facts"]) == state.facts


def test_another_process_that_writes_the_same_file_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes under a name of its own, and at any moment the file is one of the two, whole."""
    path, real = tmp_path / "file", os.fsync

    def meanwhile(handle: int) -> None:
        real(handle)
        with monkeypatch.context() as other:
            other.setattr(os, "fsync", real)
            other.setattr(os, "getpid", lambda: 1)
            (temporary_of(path)).write_bytes(b"hal")
            assert temporary_of(path).name == "file.1.tmp"

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_bytes(path, b"one")
    assert path.read_bytes() == b"one"
    assert (tmp_path / "file.1.tmp").read_bytes() == b"hal"


def test_nothing_temporary_is_left_by_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"1")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_after_a_while(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    names = {"old": ended.pid, "new": ended.pid, "lives": os.getppid()}
    for name, pid in names.items():
        left = tmp_path / f"{name}.{pid}.tmp"
        left.write_bytes(b"half")
        if name != "new":
            os.utime(left, (0, 0))
    (tmp_path / "old.backup.tmp").write_bytes(b"mine")
    for name in names:
        write_bytes(tmp_path / name, b"1")
    left_over = {path.name for path in tmp_path.glob("*.tmp")}
    assert left_over == {f"new.{ended.pid}.tmp", f"lives.{os.getppid()}.tmp", "old.backup.tmp"}


def test_the_digest_of_weights_changes_with_all_that_they_are() -> None:
    one = {"a": torch.arange(6.0), "b": torch.ones(2, dtype=torch.int64)}
    same = {key: one[key].clone() for key in ("b", "a")}
    assert weights_digest(one) == weights_digest(same)
    assert len(weights_digest(one)) == 32
    others = [
        {"c": one["a"], "b": one["b"]},
        {**one, "a": one["a"].reshape(2, 3)},
        {**one, "a": one["a"] + 1e-6},
        {**one, "b": one["b"].view(torch.float64)},
        {"a": one["a"]},
        {},
    ]
    assert len({weights_digest(each) for each in [one, *others]}) == 1 + len(others)
    assert weights_digest({"x": torch.tensor(1.0)}) != weights_digest({"x": torch.tensor([1.0])})
    turned = torch.arange(6.0).reshape(2, 3).t()
    assert weights_digest({"x": turned}) == weights_digest({"x": turned.contiguous()})


def test_a_renaming_that_fails_names_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "two":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(RunError, match=r"cannot write .*two .* but .*one, written anew, are intact"):
        write_all({tmp_path / "one": b"1", tmp_path / "two": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_truncated_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped):
        trainer(seeded(baseline), tmp_path, StopAfter(8), epochs=3).run()
    last = tmp_path / "train" / "last.safetensors"
    data = last.read_bytes()
    last.write_bytes(data[: len(data) // 2])
    store = Store(tmp_path / "train")
    state, said = store.load()
    assert state is not None
    assert (state.facts["epoch"], state.facts["step"]) == (1, 0)
    assert len(said) == 1
    assert "last.safetensors is truncated or not a safetensors file" in said[0]
    assert "falling back to the checkpoint before it" in said[0]
    resumed, whole = (trainer(seeded(baseline), f, epochs=3) for f in (tmp_path, tmp_path / "whole"))
    assert resumed.done == 5
    resumed.run()
    whole.run()
    for key, value in whole.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[key])


def test_both_checkpoints_cut(tmp_path: Path) -> None:
    for name in ("last", "previous"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(RunError, match=r"no checkpoint in .* can be read"):
        Store(tmp_path).load()


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 100, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_no_garbage_is_taken_for_a_checkpoint(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(
        RunError, match=r"is truncated or not a safetensors file|not a checkpoint of cohobate"
    ):
        read_state(path)


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot read .*none.safetensors: No such file"):
        read_state(tmp_path / "none.safetensors")


def test_state_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor(7), "c": torch.arange(3, dtype=torch.uint8)}
    facts = {"history": [{"loss": 0.1 + 0.2}], "none": None}
    write_state(tmp_path / "s", State(tensors, facts))
    state = read_state(tmp_path / "s")
    assert state.facts == facts
    for name, tensor in tensors.items():
        assert torch.equal(tensor, state.tensors[name])
        assert tensor.dtype == state.tensors[name].dtype


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    def taught(seed: int) -> Distillation:
        torch.manual_seed(seed)
        return Distillation(toy(), Frozen(toy()), {"kd": KD()})

    with pytest.raises(Stopped):
        trainer(taught(0), tmp_path, StopAfter(6)).run()
    with pytest.raises(RunError, match="the frozen teacher of phase 'train' is not the one that"):
        trainer(taught(1), tmp_path)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_kill_in_any_file_operation(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die at the n-th flush or rename, for every n that the run has; go on; the end is the same."""
    whole = trainer(seeded(baseline), tmp_path / "whole")
    whole.run()
    n = 0
    while True:
        n += 1
        folder = tmp_path / f"{operation}-{n}"
        with monkeypatch.context() as patch:
            patch.setattr(*_dying(operation, n))
            try:
                trainer(seeded(baseline), folder).run()
                break
            except Killed:
                pass
        resumed = trainer(seeded(baseline), folder)
        resumed.run()
        for key, value in whole.method.state_dict().items():
            assert torch.equal(value, resumed.method.state_dict()[key]), (n, key)
        assert [r["losses"] for r in resumed.standing.history] == [
            r["losses"] for r in whole.standing.history
        ]
        assert resumed.standing.best == whole.standing.best
    assert n > 6


def _dying(operation: str, n: int) -> tuple[Any, str, Any]:
    owner = os if operation == "fsync" else Path
    original = getattr(owner, operation)
    calls = 0

    def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == n:
            raise Killed
        return original(*arguments)

    assert checkpoint.os is os
    return owner, operation, dies


def test_accumulated_micro_batches_are_one_batch(tmp_path: Path) -> None:
    """Without batch norm's dependence on the batch, two halves give the gradient of the whole."""
    weights = []
    for accumulate in (1, 2):
        method = seeded(baseline)
        running = trainer(method, tmp_path / str(accumulate), epochs=1, accumulate=accumulate)
        assert running.steps == 5
        method.train = lambda mode=True, m=method: type(m).train(m, False)  # type: ignore[method-assign,misc]
        running.run()
        weights.append(method.state_dict())
    for key in weights[0]:
        torch.testing.assert_close(weights[0][key], weights[1][key], rtol=1e-4, atol=1e-5)


def one_step(folder: Path, **settings: Any) -> Tensor:
    """What one step of plain gradient descent at a rate of 1 adds to each weight."""
    method = seeded(baseline)
    before = {k: v.detach().clone() for k, v in method.named_parameters()}
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "schedule": "constant", "lr": 1.0}
    running = trainer(method, folder, StopAfter(1), **plain, **settings)
    with pytest.raises(Stopped):
        running.run()
    return torch.cat([(v - before[k]).flatten() for k, v in method.named_parameters()]).detach()


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    moved = one_step(tmp_path, clip=0.01)
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_clipping_by_value_bounds_each_number_of_the_step(tmp_path: Path) -> None:
    free = one_step(tmp_path / "free")
    bound = free.abs().median().item()
    moved = one_step(tmp_path / "clipped", clip_value=bound)
    torch.testing.assert_close(moved, free.clamp(-bound, bound), rtol=1e-4, atol=1e-6)
    assert 0.4 < (free.abs() > bound).float().mean() < 0.6


def test_the_student_trains_in_every_epoch(tmp_path: Path) -> None:
    """Elsewhere the student stays in evaluation mode after the first validation."""
    modes = []

    class Watched(Supervised):
        def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
            modes.append(all(m.training for m in self.modules()))
            return super().forward(batch, turn)

    trainer(seeded(lambda: Watched(toy())), tmp_path, epochs=3).run()
    assert modes == [True] * 15


def test_best_is_the_lowest_validation_error_and_kept_epochs_are_kept(tmp_path: Path) -> None:
    running = trainer(seeded(baseline), tmp_path, epochs=4, keep_epochs=(2,), log_test=True, log_train=True)
    running.run()
    errors = [record["val"]["network"]["top1_error"] for record in running.standing.history]
    assert running.standing.best is not None
    assert running.standing.best["epoch"] == 1 + errors.index(min(errors))
    assert all({"val", "test", "train"} <= record.keys() for record in running.standing.history)
    assert read_state(tmp_path / "train" / "epoch-0002.safetensors").facts["epoch"] == 2
    assert not (tmp_path / "train" / "epoch-0003.safetensors").exists()


def test_moving_average_is_measured_kept_and_resumed(tmp_path: Path) -> None:
    whole = trainer(seeded(baseline), tmp_path / "whole", ema=0.8)
    whole.run()
    with pytest.raises(Stopped):
        trainer(seeded(baseline), tmp_path / "cut", StopAfter(7), ema=0.8).run()
    resumed = trainer(seeded(baseline), tmp_path / "cut", ema=0.8)
    resumed.run()
    raw = trainer(seeded(baseline), tmp_path / "raw")
    raw.run()
    states = [t.method.state_dict() for t in (whole, resumed, raw)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["network.fc.weight"], states[2]["network.fc.weight"])
    assert whole.ema is not None
    assert torch.equal(whole.ema.average["network.fc.weight"], states[0]["network.fc.weight"])


def test_a_decay_near_1_deploys_what_a_short_run_has_learned(tmp_path: Path) -> None:
    """Ten updates: without a warm-up of the decay 0.9999 would keep 99.9 percent of the first weights."""
    first = seeded(baseline).state_dict()["network.fc.weight"].clone()
    ends = []
    for ema in (0.0, 0.9999):
        running = trainer(seeded(baseline), tmp_path / str(ema), ema=ema)
        running.run()
        ends.append(running.method.state_dict()["network.fc.weight"])
    assert (ends[1] - ends[0]).norm() < 0.3 * (first - ends[0]).norm()
    with pytest.raises(Stopped):
        trainer(seeded(baseline), tmp_path / "cut", StopAfter(7), ema=0.9999).run()
    resumed = trainer(seeded(baseline), tmp_path / "cut", ema=0.9999)
    resumed.run()
    assert torch.equal(resumed.method.state_dict()["network.fc.weight"], ends[1])


class LastGradient(Supervised):
    """A baseline whose loss is finite at the last step of the second epoch, and whose gradient is not."""

    def __init__(self, bad: int = 10) -> None:
        super().__init__(toy())
        self.bad, self.steps = bad, 0

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        self.steps += self.training
        losses = super().forward(batch, turn)
        if self.steps == self.bad:
            # The derivative of a root is infinite at 0, and 0 times it is NaN.
            losses["root"] = (0 * self.network.fc.weight).square().sum().sqrt()
        return losses


def finite(path: Path) -> bool:
    return all(torch.isfinite(t).all() for t in read_state(path).tensors.values() if t.is_floating_point())


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"optimizer": "adamw"}])
def test_weights_that_are_not_finite_are_neither_kept_nor_measured(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    running = trainer(seeded(LastGradient), tmp_path, keep_epochs=(2,), **settings)
    said = (
        r"^1 of \d+ tensors \(network\.fc\.weight\) of phase 'train' are not finite in epoch 2, after step 5 "
        r"of 5 \(before it the largest term was 'ce', [\d.]+ on average\); the last good state is "
        r".*last\.safetensors; lower lr or the weight of a term, or set clip$"
    )
    with pytest.raises(NonFiniteLoss, match=said):
        running.run()
    folder = tmp_path / "train"
    assert read_state(folder / "last.safetensors").facts["epoch"] == 1
    assert all(finite(folder / f"{name}.safetensors") for name in ("last", "best"))
    assert not (folder / "epoch-0002.safetensors").exists()
    assert [record["epoch"] for record in running.standing.history] == [1]


def test_a_signal_does_not_save_weights_that_are_not_finite(tmp_path: Path) -> None:
    running = trainer(seeded(lambda: LastGradient(7)), tmp_path, StopAfter(7))
    with pytest.raises(NonFiniteLoss, match=r"in epoch 2, after step 2 of 5"):
        running.run()
    assert read_state(tmp_path / "train" / "last.safetensors").facts["epoch"] == 1


def test_averages_that_are_not_finite_are_found_where_the_weights_are(tmp_path: Path) -> None:
    running = trainer(seeded(baseline), tmp_path, epochs=1, ema=0.5)
    assert running.ema is not None
    running.ema.average["network.fc.bias"].fill_(torch.inf)
    with pytest.raises(NonFiniteLoss, match=r"1 of \d+ tensors \(the moving average of network\.fc\.bias\)"):
        running.run()
    assert not (tmp_path / "train" / "last.safetensors").exists()
