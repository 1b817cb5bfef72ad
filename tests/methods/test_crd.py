"""CRD, against loops written from the paper; run by torchrun, this file is the two-process part of itself."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from scipy.stats import chisquare
from threads import group_threads
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import config as inductor

from cohobate.core import Batch, Output
from cohobate.engine.distributed import average_buffers, process_group
from cohobate.methods.crd import (
    CRD,
    critic_gradient,
    critic_loss,
    draw_negatives,
    log_scale,
    moved,
    similarities,
)

LABELS = torch.tensor([7, 2, 7, 40, 2, 7, 2, 40, 7, 40])
STUDENT, TEACHER = 4, 6


def make(seed: int = 0, **options: object) -> CRD:
    torch.manual_seed(seed)
    arguments = {"dim": 5, "negatives": 8, **options}
    return CRD(STUDENT, TEACHER, LABELS, **arguments).double()  # type: ignore[arg-type]


def draw(images: int = 4, seed: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the student and of the teacher, and rows of the training set."""
    g = torch.Generator().manual_seed(seed)
    ours = torch.randn(images, STUDENT, generator=g, dtype=torch.float64).to(dtype)
    theirs = torch.randn(images, TEACHER, generator=g, dtype=torch.float64).to(dtype)
    return ours, theirs, torch.randperm(len(LABELS), generator=g)[:images]


def call(term: CRD, ours: Tensor, theirs: Tensor, index: Tensor | None) -> Tensor:
    logits = torch.zeros(len(ours), 3, dtype=ours.dtype)
    return term(Output(logits, ours), Output(logits, theirs), Batch((ours,), LABELS[:1], index))


def unit(v: list[float]) -> list[float]:
    length = math.sqrt(sum(a * a for a in v))
    return [a / length for a in v]


def dot(v: list[float], w: list[float]) -> float:
    return sum(a * b for a, b in zip(v, w, strict=True))


def naive(anchors: Tensor, bank: Tensor, rows: Tensor, tau: float, z: float | None) -> tuple[float, float]:
    """The loss of one direction and Z, an anchor and a row at a time; the positive is the first row."""
    exponentials = [
        [math.exp(dot(v, bank[row].tolist()) / tau) for row in own]
        for v, own in zip(anchors.tolist(), rows.tolist(), strict=True)
    ]
    every = [e for own in exponentials for e in own]
    z = len(bank) * sum(every) / len(every) if z is None else z
    loss = 0.0
    for own in exponentials:
        negatives = len(own) - 1
        h = [e / z / (e / z + negatives / len(bank)) for e in own]
        loss -= math.log(h[0]) + sum(math.log(1 - a) for a in h[1:])
    return loss / len(exponentials), z


def one_direction(anchors: Tensor, bank: Tensor, rows: Tensor, tau: float, log_z: Tensor) -> Tensor:
    return critic_loss(similarities(anchors, bank, rows, tau), log_z, len(bank))


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_loss_of_given_negatives_is_the_naive_one(tau: float) -> None:
    anchors, bank = torch.randn(3, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64) / 3
    rows = torch.randint(9, (3, 7))
    log_z = log_scale(similarities(anchors, bank, rows, tau), 9)
    loss, z = naive(anchors, bank, rows, tau, None)
    assert log_z.exp().item() == pytest.approx(z, rel=1e-12)
    assert one_direction(anchors, bank, rows, tau, log_z).item() == pytest.approx(loss, rel=1e-11)
    fixed = one_direction(anchors, bank, rows, tau, torch.tensor(2.0, dtype=torch.float64)).item()
    assert fixed == pytest.approx(naive(anchors, bank, rows, tau, math.exp(2))[0], rel=1e-11)


def test_gradient() -> None:
    anchors = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    bank, rows = torch.randn(9, 5, dtype=torch.float64), torch.randint(9, (3, 7))
    log_z = torch.tensor(1.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: one_direction(a, bank, rows, 0.5, log_z), (anchors,))


def test_gradient_is_that_of_the_critic() -> None:
    """dL/dv = (sum over negatives of h g - (1 - h) g of the positive) / tau, the bank a constant."""
    v, bank = torch.randn(1, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    v.requires_grad_()
    rows, log_z = torch.tensor([[4, 1, 2, 1]]), torch.tensor(1.0, dtype=torch.float64)
    one_direction(v, bank, rows, 0.5, log_z).backward()
    expected = torch.zeros(5, dtype=torch.float64)
    for i, row in enumerate(rows[0]):
        e = math.exp(float(v.detach()[0] @ bank[row]) / 0.5 - 1)
        h = e / (e + 3 / 9)
        expected += (h - (i == 0)) * bank[row] / 0.5
    assert v.grad is not None
    torch.testing.assert_close(v.grad[0], expected)
    scores = similarities(v.detach(), bank, rows, 0.5)
    torch.testing.assert_close(critic_gradient(scores, log_z, bank, rows, 0.5)[0], expected)


def test_the_terms_own_derivative_is_autograds() -> None:
    """In training mode, where the memory has moved before the backward pass."""
    term, anchors = make(), []
    ours, theirs, index = draw()
    torch.manual_seed(3)
    rows = term._rows(index)
    banks = term.teacher_bank.clone(), term.student_bank.clone()
    for features, layer in ((ours, term.student_embedding), (theirs, term.teacher_embedding)):
        anchors.append(torch.nn.functional.normalize(layer(features), dim=1))
    expected = torch.zeros(())
    for v, bank in zip(anchors, banks, strict=True):
        scores = similarities(v, bank, rows, 0.07)
        expected = expected + critic_loss(scores, log_scale(scores.detach(), len(LABELS)), len(LABELS))
    parameters = list(term.parameters())
    torch.manual_seed(3)
    value = call(term, ours, theirs, index)
    torch.testing.assert_close(value, expected)
    one, two = (torch.autograd.grad(loss, parameters) for loss in (value, expected))
    torch.testing.assert_close(one, two)


def test_term_is_the_naive_one_over_two_steps() -> None:
    """Both directions, the memory as it was before the step, Z of the first step."""
    term = make()
    z: list[float | None] = [None, None]
    for seed in range(2):
        ours, theirs, index = draw(seed=seed)
        anchors = [
            torch.tensor([unit(row) for row in layer(features).tolist()], dtype=torch.float64)
            for features, layer in ((ours, term.student_embedding), (theirs, term.teacher_embedding))
        ]
        state = torch.get_rng_state()
        rows = term._rows(index)
        torch.set_rng_state(state)
        banks = [term.student_bank.clone(), term.teacher_bank.clone()]
        expected = 0.0
        for i in range(2):
            loss, z[i] = naive(anchors[i], banks[1 - i], rows, 0.07, z[i])
            expected += loss
        assert call(term, ours, theirs, index).item() == pytest.approx(expected, rel=1e-10)
        for i, after in enumerate((term.student_bank, term.teacher_bank)):
            for v, row in zip(anchors[i].tolist(), term.place[index].tolist(), strict=True):
                mean = [0.5 * a + 0.5 * b for a, b in zip(banks[i][row].tolist(), v, strict=True)]
                torch.testing.assert_close(after[row], torch.tensor(unit(mean), dtype=torch.float64))
                banks[i][row] = after[row]
            assert torch.equal(after, banks[i]), "other rows moved"


def test_gradient_of_the_term() -> None:
    term = make().eval()  # In training mode each call would change the memory.
    ours, theirs, index = draw()
    ours.requires_grad_()

    def loss(ours: Tensor) -> Tensor:
        torch.manual_seed(3)
        return call(term, ours, theirs, index)

    # Z of the first batch is a constant, whose derivative is not taken: give it.
    term.log_z.fill_(2.0)
    term.begun.fill_(True)
    assert torch.autograd.gradcheck(loss, (ours,))


def test_negatives_are_of_other_classes_each_as_often() -> None:
    term = make()
    index = torch.arange(len(LABELS))
    owner = torch.empty_like(index)
    owner[term.place] = index
    rows = draw_negatives(term.first[index], term.size[index], len(LABELS), 6000)
    assert rows.shape == (len(LABELS), 6000)
    for own in index.tolist():
        counts = torch.bincount(owner[rows[own]], minlength=len(LABELS))
        other = LABELS[own] != LABELS
        assert counts[~other].sum() == 0
        assert chisquare(counts[other].numpy()).pvalue > 1e-5


def test_negatives_of_many_rows_reach_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest share that torch.rand can draw; and float64 where float32 would leave rows out."""
    total, first, size = 2**26, torch.tensor([0, 2**26 - 5]), torch.tensor([3, 5])
    seen = []

    def largest(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        seen.append(dtype)
        return torch.full(shape, 1 - torch.finfo(dtype).eps / 2, dtype=dtype, device=device)

    monkeypatch.setattr(torch, "rand", largest)
    assert draw_negatives(first, size, total, 1)[:, 0].tolist() == [total - 1, total - 6]
    small = draw_negatives(torch.tensor([0, 95]), torch.tensor([3, 5]), 100, 1)
    assert small[:, 0].tolist() == [99, 94]
    assert seen == [torch.float64, torch.float32]


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("tau", [0.07, 0.001])
def test_finite_far_out(size: float, tau: float) -> None:
    term = make(temperature=tau).float()
    ours, theirs, index = draw(dtype=torch.float32)
    ours = (size * ours).requires_grad_()
    for _ in range(2):
        loss = call(term, ours, theirs * size, index)
        (gradient,) = torch.autograd.grad(loss, ours)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
    assert all(torch.isfinite(v).all() for v in term.state_dict().values())


@pytest.mark.parametrize("odds", [1e4, -1e4])
def test_scores_far_out_are_finite(odds: float) -> None:
    scores = torch.full((2, 5), odds, requires_grad=True)
    loss = critic_loss(scores, torch.tensor(0.0), 9)
    loss.backward()
    assert scores.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


def test_small_where_student_and_memory_agree() -> None:
    """Orthogonal classes, every embedding at its own: h is 1 for the image and 0 for the others."""
    bank = torch.eye(4, dtype=torch.float64)
    rows = torch.tensor([[i, *[j for j in range(4) if j != i]] for i in range(4)])
    log_z = torch.tensor(0.5 / 0.02, dtype=torch.float64)
    assert one_direction(bank, bank, rows, 0.02, log_z).item() == pytest.approx(0, abs=1e-9)


def test_half_precision_is_computed_in_float32() -> None:
    ours, theirs, index = draw()
    half, full = make().float(), make().float()
    one, two = ours.bfloat16(), theirs.bfloat16()
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = call(half, one, two, index)
    torch.manual_seed(2)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, call(full, one.float(), two.float(), index))
    assert torch.equal(half.teacher_bank, full.teacher_bank)


def test_no_gradient_enters_the_teacher_but_both_embeddings_learn() -> None:
    term = make()
    ours, theirs, index = draw()
    ours.requires_grad_()
    theirs.requires_grad_()
    loss = call(term, ours, theirs, index)
    assert torch.autograd.grad(loss, theirs, allow_unused=True, retain_graph=True)[0] is None
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in term.parameters())
    assert ours.grad is not None


def test_evaluation_leaves_the_memory() -> None:
    term = make().eval()
    before = {k: v.clone() for k, v in term.state_dict().items()}
    assert torch.isfinite(call(term, *draw()))
    assert all(torch.equal(before[k], v) for k, v in term.state_dict().items())


def test_the_memory_is_in_the_state() -> None:
    one, two = make(0), make(1)
    call(one, *draw())
    two.load_state_dict(one.state_dict())
    assert {"student_bank", "teacher_bank", "log_z", "begun"} <= one.state_dict().keys()
    torch.manual_seed(4)
    value = call(one, *draw(seed=2))
    torch.manual_seed(4)
    assert torch.equal(value, call(two, *draw(seed=2)))


def test_the_memory_begins_as_the_papers_code_says() -> None:
    term = CRD(4, 6, torch.arange(1000) % 10)
    reach = math.sqrt(3 / 128)
    for bank in (term.student_bank, term.teacher_bank):
        assert bank.shape == (1000, 128)
        assert bank.abs().max() <= reach
        assert bank.std().item() == pytest.approx(reach / math.sqrt(3), rel=0.01)
    assert not torch.equal(term.student_bank, term.teacher_bank)
    assert (term.weight, term.negatives, term.temperature, term.memory_momentum) == (0.8, 16384, 0.07, 0.5)


def test_more_negatives_than_rows() -> None:
    term = make(negatives=1000)
    assert term._rows(torch.tensor([0, 3])).shape == (2, 1001)
    assert torch.isfinite(call(term, *draw()))


def test_soft_labels_are_taken() -> None:
    term = make()
    ours, theirs, index = draw()
    soft = torch.full((4, 3), 1 / 3)
    output = Output(soft, ours), Output(soft, theirs)
    assert torch.isfinite(term(*output, Batch((ours,), soft, index)))


def test_mixed_images_are_refused() -> None:
    ours, theirs, _ = draw()
    with pytest.raises(ValueError, match=r"CRD keeps a memory of each training image and needs Batch\.index"):
        call(make(), ours, theirs, None)


def test_other_dimensions_are_refused() -> None:
    ours, theirs, index = draw()
    with pytest.raises(ValueError, match=r"student's pooled.* \(4, 6\) are not \(4, 4\).* student_dim"):
        call(make(), theirs, theirs, index)
    with pytest.raises(ValueError, match=r"teacher's pooled.* \(4, 4\) are not \(4, 6\).* teacher_dim"):
        call(make(), ours, ours, index)
    with pytest.raises(ValueError, match=r"student's pooled.* \(3, 4\) are not \(4, 4\)"):
        call(make(), ours[:3], theirs, index)


def test_features_are_needed() -> None:
    ours, _, index = draw()
    with pytest.raises(ValueError, match=r"CRD compares pooled features.*but the teacher.*head="):
        make()(Output(ours, ours), Output(ours), Batch((ours,), LABELS, index))


def test_bad_arguments_are_refused() -> None:
    for name, value, valid in (
        ("negatives", 0, "at least 1"),
        ("negatives", -3, "at least 1"),
        ("temperature", 0.0, "above 0"),
        ("dim", 0, "at least 1"),
        ("memory_momentum", 1, "below 1"),
        ("memory_momentum", -0.5, "at least 0"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be {valid}, got {value}"):
            make(**{name: value})
    with pytest.raises(ValueError, match=r"the 6 labels are of 1 class\(es\); it needs at least 2"):
        CRD(4, 6, torch.full((6,), 3))
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(2, 3\)"):
        CRD(4, 6, torch.zeros(2, 3))


def test_moved_rows_are_of_length_one() -> None:
    rows = moved(torch.randn(3, 5), torch.randn(3, 5), 0.9)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def check_compiled(backend: str) -> None:
    eager, compiled = make(), make()
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    for seed in range(3):
        ours, theirs, index = draw(seed=seed)
        gradients = []
        for term in (eager, compiled):
            leaf = ours.clone().requires_grad_()
            torch.manual_seed(seed)
            loss = call(term, leaf, theirs, index)
            loss.backward()
            gradients.append((loss.detach(), leaf.grad))
        torch.testing.assert_close(gradients[0], gradients[1])
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(value, compiled.state_dict()[key])
    assert counter.frame_count == 1


def test_compiled_equals_eager() -> None:
    check_compiled("aot_eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_equals_eager() -> None:
    """Inductor has read the updated memory in the backward pass, where aot_eager did not."""
    with inductor.patch(fallback_random=True):
        check_compiled("inductor")


def two_steps(term: CRD, rank: int | None) -> None:
    """Two batches of 6 images; a rank sees its half of them, None all."""
    own = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
    for seed in range(2):
        torch.manual_seed(10 * seed + (rank or 0))
        call(term, *(t[own] for t in draw(6, seed=seed))).backward()


def test_two_processes_hold_one_memory(tmp_path: Path) -> None:
    """That of one process which sees all images; eager and compiled, and after an epoch's averaging."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, __file__, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # The compiled graph does not keep the process group: its threads could abort the ending process.
    assert json.loads((tmp_path / "left.json").read_text()) == {"world": 2, "threads": []}
    whole = make()
    two_steps(whole, None)
    # Z of the first batch: the mean of what the ranks' halves give.
    halves = [scale_of_half(rank) for rank in range(2)]
    for how in ("eager", "compiled"):
        ranks = [torch.load(tmp_path / f"{how}-{rank}.pt") for rank in range(2)]
        for key in ("student_bank", "teacher_bank", "log_z", "begun"):
            assert torch.equal(ranks[0][key], ranks[1][key]), key
            assert torch.equal(ranks[0][key], ranks[0][f"averaged {key}"]), key
        for key in ("student_bank", "teacher_bank"):
            torch.testing.assert_close(ranks[0][key], whole.state_dict()[key])
        torch.testing.assert_close(ranks[0]["log_z"], torch.stack(halves).mean(0).log())


def scale_of_half(rank: int) -> Tensor:
    term = make()
    torch.manual_seed(rank)
    call(term, *(t[3 * rank : 3 * rank + 3] for t in draw(6, seed=0)))
    return term.log_z.exp()


def main(folder: Path) -> None:
    with process_group(torch.device("cpu")):
        for how in ("eager", "compiled"):
            term = make()
            if how == "compiled":
                term.compile(fullgraph=True, dynamic=False, backend="aot_eager")
            two_steps(term, dist.get_rank())
            found = {k: v.clone() for k, v in term.state_dict().items()}
            average_buffers(term)
            found |= {f"averaged {k}": v.clone() for k, v in term.state_dict().items()}
            torch.save(found, folder / f"{how}-{dist.get_rank()}.pt")
        rank, world = dist.get_rank(), dist.get_world_size()
    if rank == 0:
        (folder / "left.json").write_text(json.dumps({"world": world, "threads": group_threads()}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
