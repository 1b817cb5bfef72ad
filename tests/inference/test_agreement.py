"""Whether two forms of a network predict the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cohobate.inference.agreement import agreement, all_of

LOGITS = torch.tensor([[3.0, 1.0, -2.0], [0.50002, 0.5, 0.0], [-1.0, 4.0, 0.0]])


def moved(row: int, column: int, by: float) -> Tensor:
    changed = LOGITS.clone()
    changed[row, column] += by
    return changed


def test_rounding_is_the_same_network() -> None:
    found = agreement(LOGITS, moved(2, 2, 1e-5))
    assert found.same
    assert (found.images, found.other_labels, found.ties) == (3, 0, 0)
    assert found.difference == pytest.approx(1e-5, rel=0.1)
    assert found.largest == 4.0
    assert str(found) == "3 images, largest difference of a logit 1.0e-05, all labels equal"


def test_another_label_of_a_tie_is_rounding() -> None:
    found = agreement(LOGITS, moved(1, 1, 4e-5))
    assert found.same
    assert (found.other_labels, found.ties) == (1, 1)
    assert str(found).endswith("1 other label, 1 of them tied")


@pytest.mark.parametrize(
    ("one", "two", "other"),
    [
        (LOGITS, moved(0, 1, 2.5), 1),  # another label, far from a tie
        (LOGITS, moved(2, 2, 0.01), 0),  # the same labels, but more than rounding
        (LOGITS, moved(2, 2, float("nan")), None),
        (moved(2, 2, float("inf")), LOGITS, None),
        (LOGITS, moved(2, 2, float("-inf")), 0),
    ],
)
def test_more_than_rounding_is_another_network(one: Tensor, two: Tensor, other: int | None) -> None:
    found = agreement(one, two)
    assert not found.same
    assert other is None or found.other_labels == other


def test_a_single_class_is_compared_by_its_logit() -> None:
    assert agreement(LOGITS[:, :1], LOGITS[:, :1]).same
    assert not agreement(LOGITS[:, :1], LOGITS[:, :1] + 1).same


def test_parts_say_what_the_whole_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the tie, which the largest logit of all images decides."""
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(7, 3, 4, 5, generator=generator)
    two = one + 1e-3 * torch.randn(one.shape, generator=generator)
    one[5, 1] = 50.0
    two[5, 1] = 50.02
    one[:, 2] = one[:, 0] + 2e-4  # a tie beside 50, none beside 4
    whole = agreement(one, two)
    assert whole.other_labels > 0
    assert whole.ties > 0
    for few in (1, 120, 180):
        monkeypatch.setattr("cohobate.inference.agreement.AT_ONCE", few)
        assert agreement(one, two) == whole
    two[6, 0, 0, 0] = float("nan")
    assert not agreement(one, two).same


def test_no_copy_of_all_logits_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohobate.inference.agreement.AT_ONCE", 200)
    sizes: list[int] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            if isinstance(found, Tensor) and func is torch.ops.aten._to_copy.default:
                sizes.append(found.numel())
            return found

    logits = torch.randn(6, 10, 4, 4)
    with Watching():
        agreement(logits, logits)
    assert max(sizes) == 160
    assert len(sizes) >= 12


def test_all_images_are_seen_once_in_order_and_without_a_gradient() -> None:
    images, sizes = torch.arange(7.0, requires_grad=True).view(7, 1), list[int]()

    def network(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return 2 * batch

    found = all_of(network, images, batch_size=3)
    assert torch.equal(found, 2 * images.detach())
    assert not found.requires_grad
    assert sizes == [3, 3, 1]
