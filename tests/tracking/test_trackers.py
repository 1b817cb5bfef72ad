"""Each tracker by what it leaves on the disk, also where a run goes on, and what it must leave alone."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tracked import READERS, mlflow, tensorboard, wandb, wandb_records, wandb_runs

from cohobate.config.extras import EXTRAS, TRACKERS
from cohobate.engine.randomness import unchanged
from cohobate.tracking import catalogue, trackers
from cohobate.tracking.catalogue import make, require
from cohobate.tracking.process import as_it_was
from cohobate.tracking.tracker import About, Epoch, Tracker
from cohobate.tracking.trackers import Trackers
from cohobate.tracking.values import epochs_of, result_of

OPTIONS = {"method": "kd", "lr": 0.1, "nesterov": True, "milestones": [0.5, 0.75], "teacher": None, "seed": 3}
ABOUT = About("kd seed 3", "kd", Path("run"), OPTIONS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def epochs(steps: Sequence[int], plus: float = 0.0) -> list[Epoch]:
    """Two epochs of a first phase, then others; each value tells its step."""
    return [
        Epoch(
            step,
            "hint" if step < 3 else "student",
            {
                "phase": 1.0 if step < 3 else 2.0,
                "epoch": float(step if step < 3 else step - 2),
                "loss/ce (weighted)": 10.0 * step + plus,
                "val/network/top1_error": step / 4 + plus,
            },
        )
        for step in steps
    ]


def log(
    name: str, standing: Sequence[int], more: Sequence[int], plus: float = 0.0, end: bool = False
) -> None:
    """A process that goes on after some epochs, logs others, and is killed unless it reaches the end."""
    tracker = make(name, Path("run") / name)
    with as_it_was():
        tracker.begin(ABOUT, epochs(standing, plus))
        for epoch in epochs(more, plus):
            tracker.epoch(epoch)
        if end:
            tracker.end(len(standing) + len(more), {"last/test/network/top1_error": 7.5})
        elif name == "wandb":
            # A kill ends its service, too.
            tracker.stop(failed=True)


def curves(name: str) -> dict[str, dict[int, float]]:
    """Name -> step -> value; raises an error if any stands twice."""
    values, _ = READERS[name](Path("run") / name)
    assert all(len(each) == 1 for steps in values.values() for each in steps.values()), values
    return {name: {step: each[0] for step, each in steps.items()} for name, steps in values.items()}


def expected(steps: Sequence[int], plus: float = 0.0) -> dict[int, float]:
    return {step: 10.0 * step + plus for step in steps}


def loss(name: str) -> dict[int, float]:
    """The loss term, whatever its name has become."""
    ((_, values),) = ((key, value) for key, value in curves(name).items() if key.startswith("loss/"))
    return values


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("name", TRACKERS)
def test_every_number_stands_at_its_step(name: str) -> None:
    log(name, [], [1, 2, 3, 4], end=True)
    found = curves(name)
    for key, at in {
        "val/network/top1_error": {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0},
        "phase": {1: 1, 2: 1, 3: 2, 4: 2},
        "epoch": {1: 1, 2: 2, 3: 1, 4: 2},
    }.items():
        assert found[key] == at
    assert loss(name) == expected([1, 2, 3, 4])


def test_tensorboard_has_options_phases_and_the_result() -> None:
    log("tensorboard", [], [1, 2, 3], end=True)
    values, facts = tensorboard(Path("run/tensorboard"))
    assert values["result/last/test/network/top1_error"] == {3: [7.5]}
    assert facts["phases"] == [(1, "hint"), (3, "student")]
    assert facts["ended"]
    assert {key: facts[key] for key in OPTIONS} == OPTIONS | {"milestones": "[0.5, 0.75]", "teacher": "None"}


def test_wandb_has_options_phases_and_the_result() -> None:
    log("wandb", [], [1, 2, 3], end=True)
    _, facts = wandb(Path("run/wandb"))
    assert {key: facts[key] for key in OPTIONS} == OPTIONS
    assert facts["summary"]["result/last/test/network/top1_error"] == 7.5
    assert facts["phases"] == [(1, "hint"), (2, "hint"), (3, "student")]
    assert (facts["name"], facts["project"], facts["exit"]) == ("kd seed 3", "cohobate", 0)
    # Nothing of the code and of the machine is kept for a later upload.
    assert not {"environment", "stats", "output", "output_raw"} & facts["kinds"]
    (run,) = wandb_runs(Path("run/wandb"))
    assert [file for file in run.glob("files/**/*") if file.is_file()] == []


def test_mlflow_has_options_phases_and_the_result() -> None:
    log("mlflow", [], [1, 2, 3], end=True)
    values, facts = mlflow(Path("run/mlflow"))
    assert values["result/last/test/network/top1_error"] == {3: [7.5]}
    assert {key: facts[key] for key in OPTIONS} == {key: str(value) for key, value in OPTIONS.items()}
    assert (facts["name"], facts["status"]) == ("kd seed 3", "FINISHED")
    assert (facts["phase 1"], facts["phase 2"]) == ("hint", "student")
    assert sorted(path.name for path in Path().iterdir()) == ["run", "runs"]
    assert "loss/ce _weighted_" in values


def test_mlflow_writes_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Path("mine").resolve().as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "distilled")
    log("mlflow", [], [1], end=True)
    assert not Path("runs").exists()
    assert len([meta for meta in Path("mine").glob("*/meta.yaml") if "distilled" in meta.read_text()]) == 1
    # Without the variable the run goes on where it is, not in a new store.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    log("mlflow", [1], [2])
    assert not Path("runs").exists()
    assert loss("mlflow") == expected([1, 2])


# ---------------------------------------------------------------- a run that goes on


@pytest.mark.parametrize("name", TRACKERS)
def test_a_killed_run_goes_on_without_a_gap_or_a_double(name: str) -> None:
    log(name, [], [1, 2])
    before = READERS[name](Path("run") / name)[1].get("id")
    # The third epoch was saved before the kill and not logged.
    log(name, [1, 2, 3], [4, 5], end=True)
    assert loss(name) == expected([1, 2, 3, 4, 5])
    assert READERS[name](Path("run") / name)[1].get("id") == before


@pytest.mark.parametrize("name", TRACKERS)
def test_epochs_behind_the_checkpoint_are_taken_back(name: str) -> None:
    log(name, [], [1, 2, 3, 4])
    log(name, [1, 2], [], plus=0.0)
    assert loss(name) == expected([1, 2])
    # Nor does an epoch that was taken back count as one that is there.
    log(name, [1, 2, 3], [4])
    assert loss(name) == expected([1, 2, 3, 4])


@pytest.mark.parametrize("name", TRACKERS)
def test_the_later_numbers_count(name: str) -> None:
    """What is trained again may differ (``--resume anyway``)."""
    log(name, [], [1, 2, 3])
    log(name, [1], [])
    tracker = make(name, Path("run") / name)
    with as_it_was():
        tracker.begin(ABOUT, epochs([1]))
        tracker.epoch(epochs([2], plus=0.5)[0])
        tracker.end(2, {})
    assert loss(name) == {1: 10.0, 2: 20.5}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_joins_later_is_told_what_was_before(name: str) -> None:
    log(name, [1, 2], [3], end=True)
    assert loss(name) == expected([1, 2, 3])


@pytest.mark.parametrize("name", TRACKERS)
def test_an_attempt_without_an_epoch_leaves_nothing_behind(name: str) -> None:
    with as_it_was():
        other = make(name, Path("run") / name)
        other.begin(ABOUT._replace(options={**OPTIONS, "seed": 4}), epochs([1, 2, 3]))
        other.stop(failed=False)
    log(name, [], [1], plus=1.0, end=True)
    assert loss(name) == expected([1], plus=1.0)
    assert int(READERS[name](Path("run") / name)[1]["seed"]) == 3


@pytest.mark.parametrize("name", TRACKERS)
def test_a_result_that_was_logged_before_the_kill_stands_once(name: str) -> None:
    log(name, [], [1, 2], end=True)
    log(name, [1, 2], [], end=True)
    assert loss(name) == expected([1, 2])


def test_an_event_that_was_cut_off_is_written_again() -> None:
    log("tensorboard", [], [1, 2, 3])
    (file,) = Path("run/tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    log("tensorboard", [1, 2, 3], [4])
    assert loss("tensorboard") == expected([1, 2, 3, 4])


def test_an_epoch_that_mlflow_has_half_is_completed() -> None:
    log("mlflow", [], [1, 2])
    # The file of the value that is written last lacks its last line.
    (last,) = Path("runs/mlruns").glob("*/*/metrics/epoch")
    last.write_text(last.read_text().splitlines()[0] + "\n")
    log("mlflow", [1, 2], [3], end=True)
    assert loss("mlflow") == expected([1, 2, 3])
    assert curves("mlflow")["epoch"] == {1: 1, 2: 2, 3: 1}


def test_mlflow_begins_anew_where_the_options_or_the_run_are_others() -> None:
    log("mlflow", [], [1])
    first = mlflow(Path("run/mlflow"))[1]["id"]
    tracker = make("mlflow", Path("run/mlflow"))
    with as_it_was():
        tracker.begin(ABOUT._replace(options={"lr": 0.5}), epochs([1]))
        tracker.stop(failed=False)
    _, facts = mlflow(Path("run/mlflow"))
    assert facts["id"] != first
    # The other one lies in MLflow's bin.
    assert (facts["lr"], facts["status"], facts["runs"]) == ("0.5", "KILLED", [facts["id"]])


def test_mlflow_is_told_the_marks_of_an_epoch_first_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in between leaves an epoch of which one knows that it is there, and that it is not whole."""
    from mlflow.tracking import MlflowClient

    told: list[list[str]] = []

    def listening(client: Any, run: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        told.extend([[metric.key for metric in metrics]] if metrics else [])

    monkeypatch.setattr(MlflowClient, "log_batch", listening)
    log("mlflow", [], [1])
    assert (told[0][0], told[0][-1], len(told[0])) == ("phase", "epoch", 4)


@pytest.mark.parametrize("text", ["", '{"store": "file', "[]", '{"store": 3, "run": "x"}', "\udcff"])
def test_mlflow_begins_anew_and_says_so_where_its_file_is_damaged(text: str) -> None:
    log("mlflow", [], [1])
    Path("run/mlflow/run.json").write_bytes(text.encode(errors="surrogateescape"))
    said: list[str] = []
    telling = Trackers(["mlflow"], ABOUT, lambda name: Path("run") / name, said.append, unchanged)
    telling.records([{"phase": "train", "epoch": 1, "losses": {"ce": 1.0}}])
    assert said == ["note: run/mlflow/run.json is damaged, so mlflow begins a new run"]
    assert list(telling.working) == ["mlflow"]
    telling.stop(failed=False)
    assert curves("mlflow")["loss/ce"] == {1: 1.0}


def test_the_file_of_mlflow_is_whole_or_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    log("mlflow", [], [1])
    before = Path("run/mlflow/run.json").read_bytes()

    def killed(number: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", killed)
    tracker = make("mlflow", Path("run/mlflow"))
    with as_it_was(), pytest.raises(OSError, match="no space"):
        tracker.begin(ABOUT._replace(options={"lr": 0.5}), [])
    assert Path("run/mlflow/run.json").read_bytes() == before


def test_mlflow_reads_each_history_once_however_many_epochs_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.tracking import MlflowClient

    read: list[str] = []
    history = MlflowClient.get_metric_history

    def listening(client: Any, run: str, key: str) -> Any:
        read.append(key)
        return history(client, run, key)

    log("mlflow", [], [1])
    monkeypatch.setattr(MlflowClient, "get_metric_history", listening)
    log("mlflow", [1, 2, 3, 4, 5], [6])
    # That of the first one also says whether the run there goes on.
    assert sorted(read) == ["epoch", "loss/ce _weighted_", "phase", "phase", "val/network/top1_error"]
    assert loss("mlflow") == expected([1, 2, 3, 4, 5, 6])


# ---------------------------------------------------------------- the process


def test_a_users_own_run_of_wandb_goes_on() -> None:
    """The process of wandb is not ended where it is not ours, whatever the folder in which it began."""
    Path("own").mkdir()
    with as_it_was():
        import wandb as library

        settings = library.Settings(mode="offline", silent=True, console="off")
        own = library.init(dir=str(Path("own").resolve()), settings=settings, reinit="create_new")
        Path("elsewhere").mkdir()
        os.chdir("elsewhere")
        try:
            log("wandb", [], [1, 2], end=True)
            assert loss("wandb") == expected([1, 2])
        finally:
            os.chdir("..")
        own.log({"mine": 1.0}, step=1, commit=True)
        own.finish()
        library.teardown()
    (run,) = wandb_runs(Path("own/wandb"))
    rows, _ = wandb_records(run)
    assert [row["mine"] for row in rows] == [1.0]


def process() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "hooks": (sys.exit, sys.excepthook, sys.stdout, sys.stderr, os.getcwd()),
        "filters": list(warnings.filters),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
    }


def all_told(names: Sequence[str], said: list[str], fake: Callable[[], Tracker] | None = None) -> Trackers:
    """Trackers that are told of two epochs and a result."""
    records = [
        {"phase": "train", "epoch": n, "lr": 0.1, "losses": {"ce": 1.0 / n}, "val": {"network": {"nll": 2.0}}}
        for n in (1, 2)
    ]
    facts = {key: {"epoch": 2, "val": None, "test": None} for key in ("last", "best")}
    sizes = ("parameters_trained", "parameters_deployed", "macs", "train_seconds", "image_passes")
    telling = Trackers(names, ABOUT, lambda name: Path("run") / name, said.append, unchanged)
    telling.records([])
    for n in (1, 1, 2):
        telling.records(records[:n])
    telling.end({**facts, **dict.fromkeys(sizes, 1)}, records)
    return telling


def test_the_process_stays_as_it_is() -> None:
    before, said, threads = process(), list[str](), set(threading.enumerate())
    telling = all_told(TRACKERS, said)
    assert said == []
    assert list(telling.working) == list(TRACKERS)
    assert process() == before
    assert [each for each in threading.enumerate() if not each.daemon and each not in threads] == []
    for name in TRACKERS:
        assert curves(name)["loss/ce"] == {1: 1.0, 2: 0.5}


class Meddles:
    """A tracker that changes whatever it can."""

    def begin(self, about: About, epochs: Sequence[Epoch]) -> None:
        self.meddle()

    def epoch(self, epoch: Epoch) -> None:
        self.meddle()

    def end(self, epochs: int, result: Any) -> None:
        self.meddle()

    def stop(self, *, failed: bool) -> None:
        self.meddle()

    def meddle(self) -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        os.environ["MEDDLED"] = "1"
        os.environ.pop("PATH", None)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        sys.excepthook = print
        sys.exit = print  # type: ignore[assignment]
        warnings.simplefilter("ignore")
        warnings.warn("of the tracker", stacklevel=1)


def test_what_a_tracker_changes_in_the_process_is_changed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "make", lambda name, folder: Meddles())
    before = process()
    all_told(["wandb"], said := [])
    assert process() == before
    assert said == []


class Fails(Meddles):
    """A tracker that raises an error in one of its calls.

    Args:
        call: in which.
        error: what it raises.
    """

    def __init__(self, call: str, error: BaseException) -> None:
        self.call, self.error, self.calls = call, error, list[str]()

    def _told(self, call: str) -> None:
        self.calls.append(call)
        self.meddle()
        if call == self.call:
            raise self.error

    def begin(self, about: About, epochs: Sequence[Epoch]) -> None:
        self._told("begin")

    def epoch(self, epoch: Epoch) -> None:
        self._told("epoch")

    def end(self, epochs: int, result: Any) -> None:
        self._told("end")

    def stop(self, *, failed: bool) -> None:
        self._told("stop")


@pytest.mark.parametrize("call", ["begin", "epoch", "end", "stop"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no room\nand more"), "(ValueError: no room)"),
        (SystemExit(3), "(SystemExit: 3)"),
        (OSError(), "(OSError)"),
    ],
)
def test_a_tracker_that_fails_is_left_out_with_one_line(
    call: str, error: BaseException, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, other = Fails(call, error), Fails("nothing", error)
    made = {"wandb": failing, "mlflow": other}
    monkeypatch.setattr(trackers, "make", lambda name, folder: made[name])
    before = process()
    telling = all_told(["wandb", "mlflow"], said := [])
    telling.stop(failed=True)
    assert said == [f"note: tracking with wandb ends here, the run goes on {words}"]
    calls = ["begin", "epoch", "epoch", "end", "stop"]
    assert failing.calls == calls[: calls.index(call) + 1]
    assert other.calls == calls
    assert process() == before


def test_trackers_begin_at_the_end_of_a_run_that_only_lacked_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = Fails("nothing", OSError())
    monkeypatch.setattr(trackers, "make", lambda name, folder: tracker)
    telling = Trackers(["wandb"], ABOUT, Path, print, unchanged)
    facts = dict.fromkeys(("parameters_trained", "parameters_deployed", "macs", "train_seconds"), 1)
    telling.end({**facts, "image_passes": 1, "last": None, "best": None}, [{"phase": "train", "epoch": 1}])
    assert tracker.calls == ["begin", "end"]


def test_ctrl_c_inside_of_a_tracker_is_still_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "make", lambda name, folder: Fails("epoch", KeyboardInterrupt()))
    before = process()
    with pytest.raises(KeyboardInterrupt):
        all_told(["wandb"], [])
    assert process() == before


def test_a_library_that_is_broken_fails_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wandb").mkdir()
    Path("wandb/__init__.py").write_text("raise RuntimeError('built for another Python')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(Path.cwd())
    require(["wandb"])
    all_told(["wandb"], said := [])
    assert said == [
        "note: tracking with wandb ends here, the run goes on (RuntimeError: built for another Python)"
    ]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_cannot_write_fails_and_stops_nothing(name: str) -> None:
    Path("run").write_text("a file")
    Path("runs").write_text("a file")
    all_told([name], said := [])
    assert len(said) == 1
    assert f"tracking with {name} ends here" in said[0]
    assert Path("run").read_text() == Path("runs").read_text() == "a file"


# ---------------------------------------------------------------- names


def test_every_extra_that_is_a_tracker_has_its_file() -> None:
    assert TRACKERS == ("tensorboard", "wandb", "mlflow")
    made = [type(make(name, Path(name))).__module__ for name in TRACKERS]
    assert made == [f"cohobate.tracking.{name}" for name in TRACKERS]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"--track {name} needs .*: pip install 'cohobate\[{name}\]'"):
        require(TRACKERS)


def test_a_mere_folder_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb leaves a folder of its name in the present one, which Python can import."""
    Path("made_up_tracker").mkdir()
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setitem(catalogue.EXTRAS, "wandb", EXTRAS["wandb"]._replace(modules=("made_up_tracker",)))
    with pytest.raises(ImportError, match="--track wandb needs made_up_tracker; install it"):
        require(["wandb"])


def test_values_are_named_by_where_they_stand() -> None:
    records = [
        {"phase": "hint", "epoch": 1, "lr": 0.1, "losses": {"hint": 2.0, "a/b": 1.0}, "images": 64},
        {
            "phase": "student",
            "epoch": 1,
            "lr": 0.01,
            "losses": {},
            "val": {"network": {"nll": 1.5, "class_error": [1.0, None]}, "peers": {"both_right": [[1.0]]}},
            "test": None,
            "done": True,
        },
    ]
    first, second = epochs_of(records)
    named = {"phase": 1, "epoch": 1, "lr": 0.1, "loss/hint": 2, "loss/a_b": 1, "images": 64}
    assert first == (1, "hint", named)
    assert second == (2, "student", {"phase": 2, "epoch": 1, "lr": 0.01, "val/network/nll": 1.5})


def test_the_result_holds_both_epochs_and_the_costs() -> None:
    facts = {
        "last": {"epoch": 4, "val": {"network": {"nll": 1.0}}, "test": None},
        "best": None,
        "parameters_trained": 5,
        "parameters_deployed": 4,
        "macs": 3,
        "train_seconds": 2.5,
        "image_passes": 1,
        "seed": 7,
    }
    assert result_of(facts) == {
        "last/epoch": 4,
        "last/val/network/nll": 1,
        "parameters_trained": 5,
        "parameters_deployed": 4,
        "macs": 3,
        "train_seconds": 2.5,
        "image_passes": 1,
    }
