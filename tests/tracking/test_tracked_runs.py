"""Runs with trackers: they have what the run has recorded, and the weights are the same to the bit."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import refused
from tracked import READERS
from zoo import StopAfter, seeded, toy, toy_data, trainer

import cohobate
from cohobate.cli import main
from cohobate.commands import running
from cohobate.commands.prepare import prepare
from cohobate.commands.rebuild import prepared_of
from cohobate.config.extras import TRACKERS
from cohobate.engine.progress import Display
from cohobate.methods.supervised import Supervised
from cohobate.recipes.options import options
from cohobate.runs.layout import RunFolder
from cohobate.tracking import trackers

SHORT = ("--data", "digits", "--train-images", "300", "--batch-size", "32", "--device", "cpu")
SHORT += ("--precision", "fp32", "--compile", "off", "--epochs", "4")
TWO_PHASES = ("train", "fitnet_stages", "--teacher", "resnet8", "--teacher-epochs", "1", *SHORT)
ALL = ("--track", ",".join(TRACKERS))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Trained(NamedTuple):
    """A place in which a command was run.

    Attributes:
        place: the folder that was the present one.
        said: on stderr.
    """

    place: Path
    said: str

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.place / "run")


KILLED_AT_ITS_THIRD_CHECKPOINT = """
import os, signal, sys
from cohobate.cli import main
from cohobate.engine.keeping import Keeper
save = Keeper.save
def killed(self):
    save(self)
    if len(self.records) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Keeper.save = killed
main(sys.argv[1:])
"""


def here(place: Path, *arguments: str) -> Trained:
    """The command in this process; what it says on stderr."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(io.StringIO()):
        patch.chdir(place)
        main([*arguments, "--out", "run"])
    return Trained(place, said.getvalue())


def alone(place: Path, script: str, *arguments: str) -> Any:
    """The command in a process of its own, by a script that does something to it."""
    call = [sys.executable, "-c", script, *arguments]
    return subprocess.run(call, cwd=place, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Without trackers."""
    return here(tmp_path_factory.mktemp("plain"), *TWO_PHASES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """With all trackers."""
    return here(tmp_path_factory.mktemp("whole"), *TWO_PHASES, *ALL)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """With all trackers; killed between a checkpoint and what they are told of it; then it goes on."""
    place = tmp_path_factory.mktemp("killed")
    dead = alone(place, KILLED_AT_ITS_THIRD_CHECKPOINT, *TWO_PHASES, *ALL, "--out", "run")
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert len((place / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    resumed = here(place, *TWO_PHASES, *ALL)
    assert "resuming phase 'student' after epoch" in resumed.said
    return resumed


def numbers_of(run: RunFolder) -> dict[str, dict[int, float]]:
    """Name -> step -> number, from the file of metrics."""
    found: dict[str, dict[int, float]] = {}
    for step, line in enumerate(run.metrics.read_text().splitlines(), 1):
        record = json.loads(line)
        for name in ("epoch", "lr", "images_per_s", "seconds"):
            found.setdefault(name, {})[step] = record[name]
        for name, value in record["losses"].items():
            found.setdefault(f"loss/{name}", {})[step] = value
        for readout, measures in record.get("val", {}).items():
            for name in ("top1_error", "top5_error", "nll", "ece"):
                found.setdefault(f"val/{readout}/{name}", {})[step] = measures[name]
    return found


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("how", ["whole", "killed"])
def test_a_tracker_has_what_the_run_has_recorded(name: str, how: str, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(how)
    values, facts = READERS[name](trained.run.tracked(name))
    expected = numbers_of(trained.run)
    assert len(expected["epoch"]) == 4
    assert {"loss/hint", "loss/ce", "loss/kd", "val/student/top1_error"} <= set(expected)
    for key, at in expected.items():
        assert values[key] == {step: [pytest.approx(value, rel=1e-6)] for step, value in at.items()}, key
    result = json.loads(trained.run.result.read_text())
    error = result["last"]["test"][result["predictor"]]["top1_error"]
    logged = facts["summary"] if name == "wandb" else {key: at.get(4) for key, at in values.items()}
    key = f"result/last/test/{result['predictor']}/top1_error"
    assert logged[key] == (error if name == "wandb" else [pytest.approx(error, rel=1e-6)])
    assert facts["method"] == "fitnet_stages"
    assert float(facts["batch_size"]) == 32
    # What changes no weight is no parameter of the run.
    assert "workers" not in facts


@pytest.mark.parametrize("how", ["whole", "killed"])
def test_trackers_change_no_bit_and_say_nothing(
    how: str, plain: Trained, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(how)
    assert "tracking" not in trained.said
    for file in (plain.run.deployed, plain.run.deployed_best):
        assert file.read_bytes() == (trained.run.path / file.name).read_bytes()


def test_a_teacher_that_is_trained_for_the_run_is_not_tracked(whole: Trained) -> None:
    (teacher,) = (whole.place / "runs" / "teachers").iterdir()
    assert not any(RunFolder(teacher).tracked(name).exists() for name in TRACKERS)
    _, facts = READERS["mlflow"](whole.run.tracked("mlflow"))
    assert len(facts["runs"]) == 1


def test_a_finished_run_that_is_read_again_logs_nothing(
    whole: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.place)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    main([*TWO_PHASES, *ALL, "--out", "run"])
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} <= {Path("run/report.html")}
    assert set(after) == set(before)


def test_the_engine_tells_every_epoch_when_it_is_saved(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    training = trainer(seeded(lambda: Supervised(toy())), tmp_path)

    def observe(records: Sequence[Any]) -> None:
        saved = training.keeper.metrics
        told.append((len(records), len(saved.read_text().splitlines()) if saved.exists() else 0))

    training.observe = observe
    training.run()
    assert told == [(0, 0), (1, 1), (2, 2)]


def test_only_the_first_process_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = options("baseline", {"data": "digits", "device": "cpu", "track": ("mlflow",)})
    prepared, folder = prepare("baseline", config), RunFolder(Path("run"))
    for rank, names in ((0, ("mlflow",)), (1, ())):
        monkeypatch.setattr(running.distributed, "rank", lambda rank=rank: rank)
        assert running._trackers(prepared, folder, Display()).names == names


# ---------------------------------------------------------------- other ways in, and ends before the end


def fit(out: Path, **settings: Any) -> Any:
    """A run of two epochs on the toy data, from Python."""
    method = Supervised(toy())
    return cohobate.fit(method, toy_data(), out, epochs=2, batch_size=16, device="cpu", seed=3, **settings)


def test_cohobate_fit_is_tracked() -> None:
    fit(Path("run"), track=("tensorboard",), precision="fp32")
    values, facts = READERS["tensorboard"](Path("run/tensorboard"))
    assert values["epoch"] == {1: [1.0], 2: [2.0]}
    assert facts["method"] == "Supervised"


def test_every_run_of_a_comparison_is_tracked() -> None:
    methods = ("baseline", "self_guidance")
    main(["compare", *methods, *SHORT[:-1], "1", "--seeds", "0,1", "--track", "mlflow", "--out", "cmp"])
    names = set()
    for folder in Path("cmp").glob("*/seed-*"):
        values, facts = READERS["mlflow"](RunFolder(folder).tracked("mlflow"))
        assert set(values["epoch"]) == {1}
        assert facts["group"] == facts["name"].rpartition(" seed ")[0]
        names.add(facts["name"])
        assert len(facts["runs"]) == 4
    assert names == {f"{method} seed {seed}" for method in methods for seed in (0, 1)}


def test_a_sweep_is_tracked() -> None:
    main(["sweep", "baseline", "--lr", "0.1,0.2", *SHORT[:-1], "1", "--track", "tensorboard", "--out", "sw"])
    assert len(list(Path("sw").glob("**/seed-0/tensorboard/*.tfevents.*"))) == 2


def test_a_run_that_stops_and_one_that_diverges_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running, "Stopper", lambda minutes: StopAfter(6))
        with pytest.raises(SystemExit):
            main(["train", "baseline", *SHORT, "--track", "mlflow", "--out", "run"])
    assert READERS["mlflow"](Path("run/mlflow"))[1]["status"] == "KILLED"
    with pytest.raises(SystemExit):
        main(["train", "baseline", *SHORT, "--lr", "1e30", "--track", "mlflow", "--out", "diverges"])
    assert READERS["mlflow"](Path("diverges/mlflow"))[1]["status"] == "FAILED"


def test_trackers_are_told_of_an_error_in_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(running, "readout_costs", full)
    with pytest.raises((OSError, SystemExit)):
        main(["train", "baseline", *SHORT, "--track", "mlflow", "--out", "run"])
    assert READERS["mlflow"](Path("run/mlflow"))[1]["status"] == "FAILED"


class Broken:
    """A tracker that raises an error in every call."""

    def __getattr__(self, name: str) -> Any:
        raise OSError(f"no space left on device, said {name}")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_goes_on_without_a_tracker_that_fails(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "make", lambda name, folder: Broken())
    main(["train", "baseline", *SHORT, *ALL, "--out", "run", *(["--quiet"] if quiet else [])])
    lines = [line for line in capsys.readouterr().err.splitlines() if "tracking" in line]
    assert lines == [
        f"baseline seed 0 note: tracking with {name} ends here, the run goes on "
        "(OSError: no space left on device, said begin)"
        for name in TRACKERS
    ]
    assert RunFolder(Path("run")).finished


WANDB_IS_GONE = """
import os, signal, sys
from pathlib import Path
from cohobate.cli import main
from cohobate.engine.keeping import Keeper
from cohobate.tracking import wandb
wandb.PATIENCE, wandb.GRACE = 0.5, 0.5
save, gone = Keeper.save, []
def services():
    for stat in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = stat.read_text().rpartition(")")
        if rest.split()[1] == str(os.getpid()) and "wandb" in name:
            yield int(stat.parent.name)
def saved(self):
    save(self)
    if len(self.records) == 2:
        for number in services():
            os.kill(number, how)
            gone.append(number)
Keeper.save = saved
for how, out in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "frozen")):
    main([*sys.argv[1:], "--out", out])
    print(out, file=sys.stderr)
os.kill(gone[-1], signal.SIGKILL)
"""


def test_a_run_goes_on_and_ends_if_the_process_of_wandb_is_killed_or_frozen(tmp_path: Path) -> None:
    done = alone(tmp_path, WANDB_IS_GONE, "train", "baseline", *SHORT, "--track", "wandb")
    assert done.returncode == 0, done.stderr
    killed, frozen = done.stderr.split("killed\n")
    for said, error in ((killed, "Connection"), (frozen, "TimeoutError: its process has not answered for")):
        assert said.count("tracking with wandb ends here, the run goes on (") == 1
        assert error in said
        assert "wandb:" not in said
    assert "frozen\n" in frozen
    assert "Traceback" not in done.stderr
    assert RunFolder(tmp_path / "killed").finished
    assert RunFolder(tmp_path / "frozen").finished


# ---------------------------------------------------------------- refusals


def test_a_mistyped_tracker_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "baseline", *SHORT, "--track", "mlflow,tensorbord")
    assert "no tracker 'tensorbord'; the nearest are tensorboard" in said
    with pytest.raises(ValueError, match="stands twice"):
        fit(Path("run"), track=("wandb", "wandb"))


@pytest.mark.parametrize(
    "arguments", [["train", "baseline"], ["compare", "baseline"], ["train", "baseline", "--dry-run"]]
)
def test_a_missing_extra_is_refused_before_anything_is_written(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = refused(capsys, *arguments, *SHORT, "--track", "mlflow")
    assert "--track mlflow needs mlflow; install it: pip install 'cohobate[mlflow]'" in said
    with pytest.raises(ImportError, match=r"cohobate\[mlflow\]"):
        fit(Path("run"), track=("mlflow",))
    assert list(Path().iterdir()) == []


def test_a_tracked_run_is_read_where_its_trackers_are_not_installed(
    whole: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(whole.place)
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
    main(["evaluate", "run"])
    assert "error" in capsys.readouterr().out
    assert prepared_of(whole.run.path).method == "fitnet_stages"
