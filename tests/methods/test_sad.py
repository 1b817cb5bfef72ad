"""SAD: attention and loss against loops, the deeper stage constant, the late beginning, what it needs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from zoo import CLASSES, batch, seeded, toy

from cohobate.core import Batch, Classifier, Output, as_output
from cohobate.methods.sad import SAD, START, attention, learners, sad_loss


def method(**how: object) -> SAD:
    return seeded(lambda: SAD(toy(), **{"start": 0.0, **how})).double()  # type: ignore[arg-type, return-value]


def batched() -> Batch:
    return batch(dtype=torch.float64)


def maps(*sizes: tuple[int, int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *size, generator=generator, dtype=torch.float64) for size in sizes]


def bilinear(grid: list[list[float]], h: int, w: int) -> list[list[float]]:
    """Pixel centres at half integers, the border repeated."""

    def at(place: float, old: int) -> tuple[int, int, float]:
        place = min(max(place, 0.0), old - 1)
        low = min(int(place), old - 1)
        return low, min(low + 1, old - 1), place - low

    rows, columns = len(grid), len(grid[0])
    found = []
    for i in range(h):
        a, b, s = at((i + 0.5) * rows / h - 0.5, rows)
        line = []
        for j in range(w):
            c, d, t = at((j + 0.5) * columns / w - 0.5, columns)
            top = (1 - t) * grid[a][c] + t * grid[a][d]
            line.append((1 - s) * top + s * ((1 - t) * grid[b][c] + t * grid[b][d]))
        found.append(line)
    return found


def naive(x: Tensor, h: int, w: int, pool: str) -> list[float]:
    """One image, (C, H, W)."""
    channels, rows, columns = x.shape
    share = channels if pool == "mean" else 1
    grid = [
        [sum(float(x[c, i, j]) ** 2 for c in range(channels)) / share for j in range(columns)]
        for i in range(rows)
    ]
    flat = [value for line in bilinear(grid, h, w) for value in line]
    exponentials = [math.exp(value) for value in flat]
    return [e / sum(exponentials) for e in exponentials]


@pytest.mark.parametrize("pool", ["sum", "mean"])
@pytest.mark.parametrize("size", [(4, 6), (8, 12), (5, 7), (2, 3)])
def test_attention_against_a_loop(size: tuple[int, int], pool: str) -> None:
    (x,) = maps((3, 4, 6))
    found = attention(x, size, pool=pool)  # type: ignore[arg-type]
    for image, row in zip(x, found.tolist(), strict=True):
        assert row == pytest.approx(naive(image, *size, pool), rel=1e-9)
        assert sum(row) == pytest.approx(1)


@pytest.mark.parametrize("pool", ["sum", "mean"])
@pytest.mark.parametrize("skip", [0, 1])
def test_losses_against_a_loop(pool: str, skip: int) -> None:
    this = method(weight=30.0, pool=pool, skip=skip).eval()
    data = batched()
    found = this(data)
    stages = as_output(this.network(data.x)).detach().stages[skip:]
    expected = 0.0
    for stage, deeper in itertools.pairwise(stages):
        h, w = stage.shape[2:]
        total = 0.0
        for one, two in zip(stage, deeper, strict=True):
            both = zip(naive(one, h, w, pool), naive(two, h, w, pool), strict=True)
            total += sum((a - b) ** 2 for a, b in both)
        expected += total / (len(stage) * h * w)
    assert expected > 0
    assert found["sad"].item() == pytest.approx(30 * expected, rel=1e-9)
    cross_entropy = nn.functional.cross_entropy(as_output(this.network(data.x)).logits, data.y)
    torch.testing.assert_close(found["ce"], cross_entropy)


def test_gradcheck() -> None:
    stage, deeper = (x.requires_grad_() for x in maps((3, 4, 4), (5, 2, 2)))
    for pool in ("sum", "mean"):
        assert torch.autograd.gradcheck(lambda s, d, p=pool: sad_loss(s, d, pool=p), (stage, deeper))


class Shown(nn.Module):
    """Returns the stages that it was given."""

    def __init__(self, stages: list[Tensor]) -> None:
        super().__init__()
        self.stages = stages

    def forward(self, x: Tensor) -> Output:
        return Output(x.flatten(1)[:, :CLASSES], None, tuple(self.stages))


def test_each_stage_learns_from_the_next_and_teaches_the_one_before() -> None:
    """The gradient of stage m is that of its own difference alone; the deepest has none."""
    stages = [x.requires_grad_() for x in maps((3, 8, 8), (4, 4, 4), (5, 2, 2))]
    term = SAD(Shown(stages), weight=1.0, start=0.0)(batched())["sad"]
    found = torch.autograd.grad(term, stages, allow_unused=True)
    assert found[2] is None
    for m in range(2):
        (own,) = torch.autograd.grad(sad_loss(stages[m], stages[m + 1].detach()), [stages[m]])
        assert own.abs().max() > 0
        torch.testing.assert_close(found[m], own)


def test_skipped_stages_take_no_part() -> None:
    stages = [x.requires_grad_() for x in maps((3, 8, 8), (4, 4, 4), (5, 2, 2))]
    term = SAD(Shown(stages), start=0.0, skip=1)(batched())["sad"]
    found = torch.autograd.grad(term, stages, allow_unused=True)
    assert [gradient is None for gradient in found] == [True, False, True]


def test_stages_of_one_size() -> None:
    """As a vision transformer has them; equal attention has no loss."""
    stages = maps((6, 4, 4), (6, 4, 4))
    assert SAD(Shown(stages), start=0.0)(batched())["sad"] > 0
    (same,) = maps((6, 4, 4))
    assert SAD(Shown([same, -same.flip(1), same]), start=0.0)(batched())["sad"].abs() < 1e-20


def test_it_begins_late() -> None:
    data = batched()
    this = method(start=0.5).eval()
    whole = method().eval()(data._replace(progress=None))["sad"]
    assert whole > 0
    for progress, share in ((0.0, 0.0), (0.49, 0.0), (0.5, 1.0), (0.51, 1.0), (1.0, 1.0)):
        term = this(data._replace(progress=torch.tensor(progress)))["sad"]
        torch.testing.assert_close(term, share * whole)
    assert pytest.approx(40_000 / 60_000) == START


def test_beginning_needs_no_second_graph() -> None:
    this = method(start=0.5)
    count = CompileCounterWithBackend("eager")  # type: ignore[no-untyped-call]
    torch._dynamo.reset()
    compiled = torch.compile(this, fullgraph=True, dynamic=False, backend=count)
    terms = [compiled(batched()._replace(progress=torch.tensor(t)))["sad"] for t in (0.1, 0.9)]
    assert terms[0] == 0
    assert terms[1] > 0
    assert count.frame_count == 1


def test_before_it_begins_nothing_but_the_labels_teaches() -> None:
    this = method(start=0.9)
    terms = this(batched())
    weights = list(this.parameters())
    of_sad = torch.autograd.grad(terms["sad"], weights, allow_unused=True)
    assert all(gradient is None or gradient.abs().max() == 0 for gradient in of_sad)


def test_soft_labels_equal_hard_ones_where_they_say_the_same() -> None:
    data = batched()
    soft = data._replace(y=nn.functional.one_hot(data.y, CLASSES).double())
    torch.testing.assert_close(method()(data)["ce"], method()(soft)["ce"])


def test_half_precision_is_cast_up() -> None:
    """In half precision the sum of squares would be infinite, the attention not a number."""
    x = torch.full((1, 512, 2, 2), 200.0, dtype=torch.float16)
    x[..., 0] = 0
    assert attention(x, (2, 2), pool="sum").tolist() == [[0.0, 0.5, 0.0, 0.5]]


def test_networks_of_too_few_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SAD needs two stages or more, got 0, of which 0 are skipped"):
        SAD(Classifier(toy()), start=0.0)(batch())
    with pytest.raises(ValueError, match=r"got 3, of which 2 are skipped; name more modules .*or skip fewer"):
        method(skip=2)(batched())
    with pytest.raises(ValueError, match="got 1, of which 0 are skipped"):
        learners(maps((3, 4, 4)))


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"SAD rises over the first 0\.5 of a run and needs Batch\.progress"):
        method(start=0.5)(batched()._replace(progress=None))
    for how, said in (
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
        ({"start": 1.0}, "start must be below 1, got 1.0"),
        ({"pool": "max"}, "pool must be one of 'sum', 'mean', got 'max'"),
        ({"skip": -1}, "skip must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=said):
            method(**how)
