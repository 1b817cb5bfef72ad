"""What every method promises, over the whole zoo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from dense_zoo import COMPILED_DENSE, DENSE, data, trainer_of
from filelock import FileLock
from torch import Tensor, fx, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import config as inductor
from two_processes import COMPILED
from zoo import CLASSES, SIZE, ZOO, Case, StopAfter, batch, seeded

from cohobate.core import Frozen, Group, Method
from cohobate.data.augment.labels import smooth
from cohobate.engine.errors import Stopped
from cohobate.engine.evaluate import evaluating
from cohobate.models.backbones.resnet import ResNet
from cohobate.models.backbones.wrn import WideResNet
from cohobate.models.dense.network import DenseNetwork
from cohobate.models.dense.self_teacher import DenseSelfTeacher, SelfTeacher
from cohobate.models.surgery.adapt import Adapted

NETWORKS = (
    ResNet | WideResNet | Adapted | Group | fx.GraphModule | SelfTeacher | DenseNetwork | DenseSelfTeacher
)

EVERY = {**ZOO, **DENSE}
cases = pytest.mark.parametrize("case", EVERY.values(), ids=EVERY.keys())
State = dict[str, Tensor]


def test_the_whole_zoo_is_here() -> None:
    assert len(ZOO) >= 82
    assert len(DENSE) >= 24
    assert len(EVERY) == len(ZOO) + len(DENSE)


def losses(case: Case, method: Method, seed: int = 1) -> dict[str, Tensor]:
    """Every term of every turn, after one seed."""
    torch.manual_seed(seed)
    like = next(method.parameters())
    given = data(case, dtype=like.dtype, device=str(like.device))
    return {name: value for turn in range(method.turns) for name, value in method(given, turn).items()}


def step(case: Case, method: Method, seed: int = 1) -> None:
    parameters = [p for group in method.groups().values() for p in group]
    optimizer = torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)
    sum(losses(case, method, seed).values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    method.zero_grad()
    method.after_step()


def copied(state: State) -> State:
    return {k: v.detach().clone() for k, v in state.items()}


def same(one: State, two: State) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def teachers(method: Method) -> list[State]:
    return [copied(m.network.state_dict()) for m in method.modules() if isinstance(m, Frozen)]


@cases
def test_terms_are_finite_named_scalars(case: Case, device: str) -> None:
    terms = losses(case, seeded(case.make).to(device))
    assert terms
    for name, value in terms.items():
        assert isinstance(name, str)
        assert value.shape == ()
        assert torch.isfinite(value)


@cases
def test_what_should_move_moves_and_the_teacher_never(case: Case, device: str) -> None:
    method = seeded(case.make).to(device).train()
    before, taught = copied(dict(method.named_parameters())), teachers(method)
    step(case, method)
    for name, parameter in method.named_parameters():
        assert torch.equal(before[name], parameter) == (name in case.idle), name
    for one, two in zip(taught, teachers(method), strict=True):
        assert same(one, two)


@cases
def test_state_dict_round_trip(case: Case) -> None:
    method, other = seeded(case.make, 0), seeded(case.make, 0)
    step(case, method)
    other.load_state_dict(method.state_dict())
    assert same(method.state_dict(), other.state_dict())
    assert losses(case, method) == losses(case, other)


# In the middle of an epoch for all; at its end and in another one for those with a state of their own.
STOPS = [(name, 7) for name in EVERY] + [(name, n) for name in ("kd", "self_guidance", "crd") for n in (3, 5)]


@pytest.mark.parametrize(("name", "steps"), STOPS)
def test_resume_is_bit_equal(name: str, steps: int, tmp_path: Path) -> None:
    case = EVERY[name]
    whole = trainer_of(case, seeded(case.make), tmp_path / "whole")
    whole.run()
    first = trainer_of(case, seeded(case.make), tmp_path / "cut", StopAfter(steps))
    with pytest.raises(Stopped, match="run the same command again"):
        first.run()
    # Another seed: everything that matters must come from the checkpoint. The frozen teacher must not.
    fresh = seeded(case.make)
    torch.manual_seed(99)
    second = trainer_of(case, fresh, tmp_path / "cut")
    assert second.done == steps
    second.run()
    assert same(whole.method.state_dict(), second.method.state_dict())
    strip = ("seconds", "images_per_s")
    for one, two in zip(whole.standing.history, second.standing.history, strict=True):
        assert {k: v for k, v in one.items() if k not in strip} == {
            k: v for k, v in two.items() if k not in strip
        }


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup": 0.2},
        {"schedule": "power", "clip": 1.0, "label_smoothing": 0.1, "accumulate": 2},
        {"precision": "bf16", "ema": 0.9, "clip_value": 0.01},
        {"layout": "contiguous"},
    ],
)
def test_resume_is_bit_equal_under_every_setting(settings: dict[str, object], tmp_path: Path) -> None:
    case = ZOO["self_guidance"]
    whole = trainer_of(case, seeded(case.make), tmp_path / "whole", **settings)
    whole.run()
    with pytest.raises(Stopped):
        trainer_of(case, seeded(case.make), tmp_path / "cut", StopAfter(7), **settings).run()
    second = trainer_of(case, seeded(case.make), tmp_path / "cut", **settings)
    second.run()
    assert same(whole.method.state_dict(), second.method.state_dict())
    assert [r["losses"] for r in whole.standing.history] == [r["losses"] for r in second.standing.history]


@cases
def test_predictors_are_plain_networks(case: Case) -> None:
    method = seeded(case.make)
    network = case.network()
    predictors = method.predictors()
    assert predictors
    for name, predictor in predictors.items():
        assert predictor(batch().x).shape == ((16, CLASSES, SIZE, SIZE) if case.masks else (16, CLASSES))
        assert not any(isinstance(m, Frozen | Method) for m in predictor.modules())
        if name in case.ensembles:
            continue
        assert predictor.state_dict().keys() == network.state_dict().keys()
        network.load_state_dict(predictor.state_dict())
        sizes = [sum(p.numel() for p in module.parameters()) for module in (predictor, network)]
        assert sizes[0] == sizes[1]


@cases
def test_readouts_equal_the_predictors(case: Case, device: str) -> None:
    method = seeded(case.make).to(device).double()
    for seed in range(3):
        step(case, method, seed)
    x = batch(dtype=torch.float64, device=device).x
    with evaluating(method):
        answers = method.readouts(x)
        predictors = method.predictors()
        assert answers.keys() == predictors.keys()
        for name, predictor in predictors.items():
            torch.testing.assert_close(predictor.eval()(x), answers[name], rtol=1e-9, atol=1e-9)


@cases
def test_evaluation_is_deterministic_and_leaves_the_modes(case: Case) -> None:
    method = seeded(case.make).train()
    next(m for m in method.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [m.training for m in method.modules()]
    state, x = copied(method.state_dict()), batch().x
    with evaluating(method):
        one = method.readouts(x)
        torch.manual_seed(5)
        two = method.readouts(x)
    assert same(one, two)
    assert modes == [m.training for m in method.modules()]
    assert same(state, method.state_dict())


def check_compiled(case: Case, make_backend: Callable[[], object], device: str) -> None:
    eager = seeded(case.make).to(device).double()
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(make_backend())  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    for seed in range(2):
        one, two = losses(case, eager, seed), losses(case, compiled, seed)
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=1e-9, atol=1e-9)
        for terms in (one, two):
            sum(terms.values()).backward()  # type: ignore[union-attr]
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if name not in case.idle:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9)
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(value, compiled.state_dict()[key], rtol=1e-9, atol=1e-9)
    assert counter.frame_count == eager.turns


@pytest.mark.parametrize("name", [*ZOO, *COMPILED_DENSE])
def test_compiled_equals_eager_in_one_graph_a_turn(name: str, device: str) -> None:
    check_compiled(EVERY[name], lambda: "aot_eager", device)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["kd", "self_guidance", "cwd of masks"])
def test_inductor_equals_eager(name: str, device: str) -> None:
    # Inductor draws other random numbers than eager unless it is told to fall back. Kernels without vectors
    # build in two thirds of the time.
    with inductor.patch({"fallback_random": True, "cpp.simdlen": 1}):
        check_compiled(EVERY[name], lambda: "inductor", device)


@cases
def test_autocast_rounds_the_networks_only(case: Case, device: str) -> None:
    """Terms under autocast equal the terms, computed in float32, of networks under autocast."""
    whole = seeded(case.make).to(device)
    apart = deepcopy(whole)
    taught = [m.network for m in apart.modules() if isinstance(m, Frozen)]
    networks = [m for top in (apart, *taught) for m in top.modules() if isinstance(m, NETWORKS)]
    inside = {m for network in networks for m in network.modules()}
    # Regressors of terms, attention modules.
    layers = [m for m in apart.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in inside]
    for network in [*networks, *layers]:
        forward = network.forward
        network.forward = torch.autocast(device, torch.bfloat16)(forward)  # type: ignore[method-assign]
    with torch.autocast(device, torch.bfloat16):
        one = losses(case, whole)
    two = losses(case, apart)
    full = losses(case, seeded(case.make).to(device))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(one[name], full[name], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())
def test_soft_labels_are_taken_or_refused_by_name(case: Case) -> None:
    method = seeded(case.make)
    soft = smooth(batch(), 0.1, CLASSES)
    if case.soft_labels:
        assert all(torch.isfinite(v) for v in method(soft).values())
    else:
        with pytest.raises(ValueError, match=f"{case.refuses or type(method).__name__} needs integer labels"):
            method(soft)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes found, with every method, eager and compiled (``two_processes.py``).

    They run once, whichever of pytest's workers asks first.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "two processes"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "found.json").exists():
            _run_two_processes(folder)
    return folder


def _run_two_processes(folder: Path) -> None:
    script = Path(__file__).parent / "two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [*command, str(script), str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]


BOTH = [(name, "eager") for name in EVERY] + [(name, "compiled") for name in COMPILED]


@pytest.mark.parametrize(("name", "how"), BOTH)
def test_two_processes_stay_in_sync(name: str, how: str, two_processes: Path) -> None:
    found = json.loads((two_processes / "found.json").read_text())[f"{name} {how}"]
    assert found["world"] == 2
    assert found["moved"], "nothing was trained"
    assert found["differing"] == []
    assert found["idle_kept"]


def test_no_thread_of_the_process_group_outlives_it(two_processes: Path) -> None:
    """One that meets the end of the interpreter can abort a process whose training is done."""
    threads = json.loads((two_processes / "threads.json").read_text())
    assert threads["inside"] or sys.platform != "linux", "its threads have other names now"
    assert threads["after"] == []
