"""The tables of AutoAugment's policies against torchvision's."""

from __future__ import annotations

import pytest
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from cohobate.data.augment.autoaugment import POLICIES


@pytest.mark.parametrize(
    ("ours", "theirs"), [("cifar", "CIFAR10"), ("imagenet", "IMAGENET"), ("svhn", "SVHN")]
)
def test_a_policy_is_torchvisions(ours: str, theirs: str) -> None:
    known = AutoAugment(AutoAugmentPolicy[theirs]).policies
    for steps, others in zip(POLICIES[ours], known, strict=True):
        for (name, likely, level), (other, probability, magnitude) in zip(steps, others, strict=True):
            assert name.replace("_", "") == other.lower()
            assert likely == probability
            assert level == (magnitude or 0)
