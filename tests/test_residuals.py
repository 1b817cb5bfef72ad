"""Distances of ResKD's students to their teacher, against loops written from the paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from zoo import SIZE, toy, toy_adapted

from cohobate.analysis.residuals import (
    gi,
    l2_to_teacher,
    principal_plane,
    projected,
    relative_decrease,
    table8_rows,
)
from cohobate.core import Output, Sum, as_output

N, K = 9, 5


def logits(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64)


# ---------------------------------------------------------------- distances


def naive_softmax(z: list[float]) -> list[float]:
    powers = [math.exp(value) for value in z]
    return [power / sum(powers) for power in powers]


def naive_distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((one - two) ** 2 for one, two in zip(a, b, strict=True)))


def test_distance_of_logits_and_of_probabilities() -> None:
    student, teacher = logits(N, K), logits(N, K)
    pairs = list(zip(student.tolist(), teacher.tolist(), strict=True))
    of_logits = [naive_distance(s, t) for s, t in pairs]
    of_probabilities = [naive_distance(naive_softmax(s), naive_softmax(t)) for s, t in pairs]
    assert l2_to_teacher(student, teacher).tolist() == pytest.approx(of_logits, rel=1e-12)
    found = l2_to_teacher(student, teacher, of="probabilities").tolist()
    assert found == pytest.approx(of_probabilities, rel=1e-12)
    assert max(found) <= math.sqrt(2)


def test_the_bound_is_half_the_gradient_by_the_logits() -> None:
    """Eqs. 18 to 21: C_1 = 2 C_max, so GI_hat / C_1 is half the length of the gradient by the logits."""
    student, teacher = logits(N, K).requires_grad_(), logits(N, K)
    (gradient,) = torch.autograd.grad((student - teacher).square().sum(), student)
    torch.testing.assert_close(l2_to_teacher(student, teacher), gradient.norm(dim=1) / 2)


def test_a_share_taken_away_for_each_res_student() -> None:
    """Eq. 26 of the shares gives the last distance back."""
    bounds = [1.73, 1.37, 0.89, 1.0]
    shares = relative_decrease(torch.tensor(bounds, dtype=torch.float64)).tolist()
    assert shares == pytest.approx([1 - 1.37 / 1.73, 1 - 0.89 / 1.37, 1 - 1.0 / 0.89], rel=1e-12)
    assert bounds[0] * math.prod(1 - k for k in shares) == pytest.approx(bounds[-1])
    assert shares[-1] < 0
    assert relative_decrease(torch.tensor([2.0])).tolist() == []
    assert relative_decrease(torch.zeros(2)).isnan().all()


def test_the_images_that_table_8_names() -> None:
    prefixes, y = logits(3, 200, K), torch.arange(200) % K
    named = []
    for image in range(200):
        answers = [max(range(K), key=lambda k: prefixes[i, image, k].item()) for i in range(3)]
        if answers[0] != y[image] and y[image] in answers[1:]:
            named.append(image)
    assert 10 < len(named) < 190
    found = table8_rows(prefixes, y)
    assert found.tolist() == named
    assert found.dtype == torch.int64
    assert table8_rows(prefixes[:1].expand(3, -1, -1), y).tolist() == []


# ---------------------------------------------------------------- gap of informativeness


def naive_gi(network: nn.Module, x: Tensor, teacher_logits: Tensor) -> list[float]:
    """Eq. 12, image by image: one backward pass each."""
    gaps = []
    for image, target in zip(x, teacher_logits, strict=True):
        network.zero_grad()
        loss = sum(
            (s - t) ** 2 for s, t in zip(as_output(network(image[None])).logits[0], target, strict=True)
        )
        loss.backward()  # type: ignore[union-attr]
        squares = sum(float((p.grad**2).sum()) for p in network.parameters() if p.grad is not None)
        gaps.append(math.sqrt(squares))
    network.zero_grad()
    return gaps


def toy_sum() -> Sum:
    """S_0 and R_1 of another kind, in float64, with batch-norm statistics that are not the initial ones."""
    network = Sum([toy(), toy_adapted()]).double()
    with torch.no_grad():
        network(torch.randn(16, 3, SIZE, SIZE, dtype=torch.float64))
    return network


def test_gi_of_a_sum_against_a_loop() -> None:
    network = toy_sum()
    x = torch.randn(N, 3, SIZE, SIZE, dtype=torch.float64)
    target = logits(N, network.eval()(x).logits.shape[1])
    wanted = naive_gi(network, x, target)
    said: list[str] = []
    network.requires_grad_(False).networks[1].train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = gi(network, x, target, say=said.append)
    assert found.tolist() == pytest.approx(wanted, rel=1e-9)
    assert said == []
    # Every image by itself, whatever is beside it.
    assert gi(network, x[3:4], target[3:4]).tolist() == pytest.approx(wanted[3:4], rel=1e-9)
    # The network is left as it was.
    assert network.networks[1].training
    assert not network.networks[0].training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not found.requires_grad


def test_gi_of_a_perceptron_by_hand() -> None:
    """Eqs. 13 to 16: of layer l, the outer product of the error at its output and of its input."""
    first, second = nn.Linear(6, 8, bias=False).double(), nn.Linear(8, K, bias=False).double()
    network = nn.Sequential(first, nn.Tanh(), second).requires_grad_(False)
    x, target = torch.randn(N, 6, dtype=torch.float64), logits(N, K)
    wanted, bounded = [], []
    for image, t in zip(x, target, strict=True):
        h = first.weight @ image
        a = h.tanh()
        error = 2 * (second.weight @ a - t)  # eq. 20 as a vector
        back = torch.diag(1 - a**2) @ second.weight.T  # eq. 15
        lower = (back @ error).norm() * image.norm()
        upper = error.norm() * a.norm()
        wanted.append(math.hypot(float(lower), float(upper)))
        c_max = math.hypot(float(torch.linalg.matrix_norm(back, 2) * image.norm()), float(a.norm()))
        bounded.append(2 * c_max * float((second.weight @ a - t).norm()))  # eqs. 17 to 21
    found = gi(network, x, target).tolist()
    assert found == pytest.approx(wanted, rel=1e-10)
    assert all(gap <= bound * (1 + 1e-12) for gap, bound in zip(found, bounded, strict=True))


def test_gi_in_parts_is_gi_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, K)).double()
    x, target = torch.randn(N, 6, dtype=torch.float64), logits(N, K)
    whole = gi(network, x, target)
    monkeypatch.setattr("cohobate.analysis.residuals.GRADIENTS", 220)  # two images of 101 numbers
    torch.testing.assert_close(gi(network, x, target), whole)
    monkeypatch.setattr("cohobate.analysis.residuals.GRADIENTS", 1)
    torch.testing.assert_close(gi(network, x, target), whole)


class Stubborn(nn.Module):
    """Looks at a number in Python, which vmap refuses; and has a weight that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.idle = nn.Linear(6, K), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Output:
        return Output(self.fc(x) * (2.0 if x.sum() > 0 else 0.5))


def test_a_network_that_vmap_cannot_run_goes_image_by_image_and_it_is_said() -> None:
    network = Stubborn().double()
    x, target, said = torch.randn(N, 6, dtype=torch.float64), logits(N, K), []
    with torch.no_grad():
        found = gi(network.requires_grad_(False), x, target, say=said.append)
    assert found.tolist() == pytest.approx(naive_gi(network.requires_grad_(), x, target), rel=1e-10)
    assert len(said) == 1
    assert said[0].startswith("note: the gap of informativeness is computed image by image, as vmap stops")


class Attentive(nn.Module):
    """Scaled dot-product attention between the two halves of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.fc = nn.Linear(6, 24), nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.reshape(len(x), 1, 2, 6)).chunk(3, dim=-1)
        return self.fc(nn.functional.scaled_dot_product_attention(q, k, v).mean(dim=(1, 2)))


def test_attention_is_differentiated_without_a_warning() -> None:
    network, x, target = Attentive().double(), torch.randn(N, 12, dtype=torch.float64), logits(N, K)
    said: list[str] = []
    assert gi(network, x, target, say=said.append).tolist() == pytest.approx(naive_gi(network, x, target))
    assert said == []


def test_parameters_are_those_that_are_trained() -> None:
    """Of a weight with a parametrisation, the parameters it is computed from."""
    network = weight_norm(nn.Linear(6, K)).double()
    x, target = torch.randn(N, 6, dtype=torch.float64), logits(N, K)
    assert gi(network, x, target).tolist() == pytest.approx(naive_gi(network, x, target), rel=1e-10)


# ---------------------------------------------------------------- principal components


def test_the_plane_is_that_of_the_singular_vectors() -> None:
    teacher, student = logits(60, K) @ torch.diag(torch.tensor([5.0, 1, 3, 0.5, 2]).double()), logits(60, K)
    plane = principal_plane(teacher)
    centred = teacher.numpy() - teacher.numpy().mean(0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    for axis, vector in zip(plane.axes.numpy(), vectors[:2], strict=True):
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(axis, vector, atol=1e-10)
    np.testing.assert_allclose(plane.shares, (singular**2 / (singular**2).sum())[:2], rtol=1e-10)
    wanted = [[sum(a * (v - m) for a, v, m in zip(axis, row, plane.mean.tolist(), strict=True))
               for axis in plane.axes.tolist()] for row in student.tolist()]  # fmt: skip
    np.testing.assert_allclose(projected(student, plane), wanted, atol=1e-10)
    # Of the teacher itself, the points lie around 0 and are uncorrelated.
    points = projected(teacher, plane)
    torch.testing.assert_close(points.mean(0), torch.zeros(2).double(), atol=1e-10, rtol=0)
    assert abs(float(points[:, 0] @ points[:, 1])) < 1e-8


def test_signs_do_not_depend_on_the_order_of_images() -> None:
    teacher = logits(40, K)
    turned = principal_plane(teacher.flip(0))
    torch.testing.assert_close(turned.axes, principal_plane(teacher).axes)
    mirrored = principal_plane(-teacher)  # the same cloud about another mean
    torch.testing.assert_close(mirrored.axes, turned.axes)
    assert (turned.axes.gather(1, turned.axes.abs().argmax(1, keepdim=True)) > 0).all()


# ---------------------------------------------------------------- what is refused

FLAT = torch.arange(8.0)[:, None] * torch.tensor([[1.0, 2, 3]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: l2_to_teacher(torch.ones(2, 3), torch.ones(2, 4)), r"one shape.*\(2, 3\) and \(2, 4\)"),
        (lambda: l2_to_teacher(torch.ones(3), torch.ones(3)), r"one shape.*\(3,\) and \(3,\)"),
        (lambda: l2_to_teacher(torch.ones(2, 3), torch.ones(2, 3), of="odds"), "probabilities, got 'odds'"),  # type: ignore[arg-type]
        (lambda: relative_decrease(torch.tensor([1.0, -0.5])), r"got \[1.0, -0.5\]"),
        (lambda: table8_rows(torch.ones(1, 4, 3), torch.ones(4)), r"one student or more.*\(1, 4, 3\)"),
        (lambda: table8_rows(torch.ones(2, 4, 3), torch.ones(5)), r"\(2, 4, 3\) and \(5,\)"),
        (lambda: gi(nn.Linear(6, 3), torch.ones(2, 6), torch.ones(2, 4)), r"\(1, 3\) and \(1, 4\)"),
        (lambda: gi(nn.Linear(6, 3), torch.ones(2, 6), torch.ones(1, 3)), "2 images and .* of 1"),
        (lambda: gi(nn.Linear(6, 3), torch.ones(0, 6), torch.ones(0, 3)), "0 images and .* of 0"),
        (lambda: gi(nn.Flatten(), torch.ones(2, 6), torch.ones(2, 6)), "Flatten has no parameters"),
        (lambda: principal_plane(torch.ones(2, 3)), r"three images or more.*got shape \(2, 3\)"),
        (lambda: principal_plane(torch.ones(5, 1)), r"two classes or more, got shape \(5, 1\)"),
        (lambda: principal_plane(torch.ones(5, 3)), "on a line or in a point"),
        (lambda: principal_plane(FLAT), "on a line or in a point"),
    ],
)
def test_what_is_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = logits(N, K).bfloat16(), logits(N, K).bfloat16()
    found = l2_to_teacher(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, l2_to_teacher(student.float(), teacher.float()))
