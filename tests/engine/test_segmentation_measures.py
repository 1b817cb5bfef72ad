"""Measures of segmentation against a count of every pixel in Python."""

from __future__ import annotations

import gc
import json
import math
import os
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.core import IGNORED, MIOU, Batch, Truth
from cohobate.engine.finite import broken_measures
from cohobate.engine.measures import classification
from cohobate.engine.measures.segmentation import SEGMENTATION, confusion, evaluate

CPU = torch.device("cpu")


class Scripted:
    """A loader of these batches; x carries the logits."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


def scenes(images: int, classes: int, size: tuple[int, int] = (5, 7), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, K, H, W) and labels (N, H, W), a tenth of them ignored; the last class is in no label."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes - 1, (images, *size), generator=generator)
    y[torch.rand(y.shape, generator=generator) < 0.1] = IGNORED
    return torch.randn(images, classes, *size, generator=generator), y


def counted(pairs: Iterator[tuple[int, int]], classes: int) -> dict[str, Any]:
    """Intersection and union of each class and the share that is right, a (true, named) pair at a time."""
    both, either, right, pixels = [0] * classes, [0] * classes, 0, 0
    for true, named in pairs:
        pixels += 1
        right += true == named
        for k in range(classes):
            both[k] += true == k and named == k
            either[k] += true == k or named == k
    each = [100 * b / e if e else None for b, e in zip(both, either, strict=True)]
    return {
        "miou": fmean(value for value in each if value is not None),
        "pixel_accuracy": 100 * right / pixels,
        "class_iou": each,
    }


def naive(logits: Tensor, y: Tensor, void: int = IGNORED) -> Iterator[tuple[int, int]]:
    """(true, named) of every pixel of an image that is not ignored: logits (K, H, W), y (H, W)."""
    for row in range(y.shape[0]):
        for column in range(y.shape[1]):
            scores = logits[:, row, column].tolist()
            if int(y[row, column]) != void:
                yield int(y[row, column]), scores.index(max(scores))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        assert found[key] == (value if value is None else pytest.approx(value, abs=1e-9)), key


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_several_read_outs_over_unequal_batches(classes: int) -> None:
    logits, y = scenes(5, classes)
    batches = [Batch((logits[:3],), y[:3]), Batch((logits[3:],), y[3:])]
    found = evaluate(lambda x: {"a": x, "b": x.roll(1, 1)}, Scripted(batches), CPU)
    assert list(found) == ["a", "b"]
    for name, own in (("a", logits), ("b", logits.roll(1, 1))):
        pairs = (pair for image in range(5) for pair in naive(own[image], y[image]))
        same(found[name], counted(pairs, classes))
        assert found[name]["images"] == 5
        assert "miou_original" not in found[name]


def test_the_matrix_is_of_all_images_together_and_no_mean_over_images() -> None:
    """Image 1: 3 of 4 pixels right, image 2: none of 4, of one class that is named once too often."""
    y = torch.tensor([[[0, 0], [0, 1]], [[1, 1], [1, 1]]])
    named = torch.tensor([[[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    logits = F.one_hot(named, 2).movedim(-1, 1).float()
    found = evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), y)]), CPU)["a"]
    same(found, {"miou": 100 * (3 / 8 + 0) / 2, "class_iou": [100 * 3 / 8, 0.0], "pixel_accuracy": 37.5})


def test_the_mean_is_over_classes_that_occur_in_masks_or_predictions() -> None:
    """Class 1 is named and nowhere, class 2 is somewhere and not named: 0 each. Class 3 is neither."""
    y = torch.tensor([[[0, 0, 2, 0]]])
    named = torch.tensor([[[0, 0, 1, 1]]])
    found = evaluate(
        lambda x: {"a": x}, Scripted([Batch((F.one_hot(named, 4).movedim(-1, 1).float(),), y)]), CPU
    )["a"]
    same(found, {"class_iou": [100 * 2 / 3, 0.0, 0.0, None], "miou": 100 * 2 / 9, "pixel_accuracy": 50.0})


def test_a_prediction_where_a_pixel_is_ignored_counts_for_no_class() -> None:
    y = torch.tensor([[[0, IGNORED, IGNORED]]])
    named = torch.tensor([[[0, 1, 0]]])
    logits = F.one_hot(named, 2).movedim(-1, 1).float()
    found = evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), y)]), CPU)["a"]
    same(found, {"class_iou": [100.0, None], "miou": 100.0, "pixel_accuracy": 100.0})


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8])
def test_the_matrix_is_that_of_a_loop(kind: torch.dtype) -> None:
    void = 255
    y, named = torch.randint(4, (2, 6, 5)), torch.randint(4, (2, 6, 5))
    y[0, :2] = void
    expected = torch.zeros(4, 4, dtype=torch.int64)
    for true, guess in zip(y.flatten().tolist(), named.flatten().tolist(), strict=True):
        if true != void:
            expected[true, guess] += 1
    assert torch.equal(confusion(y.to(kind), named.to(kind), 4, void), expected)


def test_255_classes_fit() -> None:
    y = torch.full((3,), 254, dtype=torch.uint8)
    found = confusion(y, y, 255, 255)
    assert found.shape == (255, 255)
    assert found[254, 254] == found.sum() == 3


def test_at_the_pictures_own_sizes() -> None:
    """Logits of the part that shows the picture, enlarged as the definition of bilinear says."""
    classes, boxes, sizes = 4, [(0, 1, 7, 5), (2, 0, 6, 5)], [(8, 14), (11, 9)]
    logits, y = scenes(2, classes)
    generator = torch.Generator().manual_seed(3)
    masks = [torch.randint(classes - 1, size, generator=generator).to(torch.uint8) for size in sizes]
    for mask in masks:
        mask[0, :3] = 255
    truths = tuple(Truth(mask, box) for mask, box in zip(masks, boxes, strict=True))
    found = evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), y, truths=truths)]), CPU)["a"]

    def pairs() -> Iterator[tuple[int, int]]:
        for image, (mask, (left, top, right, bottom)) in enumerate(zip(masks, boxes, strict=True)):
            part = logits[image, :, top:bottom, left:right]
            yield from naive(bilinear(part, *mask.shape), mask, 255)

    assert found["miou_original"] == pytest.approx(counted(pairs(), classes)["miou"], abs=1e-9)
    alone = evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), y)]), CPU)["a"]
    assert {key: found[key] for key in alone} == alone


def bilinear(part: Tensor, height: int, width: int) -> Tensor:
    """Pixel centres at halves; outside of the outermost centres the nearest value, (K, H, W)."""
    whole = torch.zeros(len(part), height, width)

    def place(i: int, size: int, old: int) -> tuple[int, int, float]:
        centre = max(0.0, (i + 0.5) * old / size - 0.5)
        low = min(int(centre), old - 1)
        return low, min(low + 1, old - 1), centre - low

    for row in range(height):
        y0, y1, down = place(row, height, part.shape[1])
        for column in range(width):
            x0, x1, across = place(column, width, part.shape[2])
            upper = (1 - across) * part[:, y0, x0] + across * part[:, y0, x1]
            lower = (1 - across) * part[:, y1, x0] + across * part[:, y1, x1]
            whole[:, row, column] = (1 - down) * upper + down * lower
    return whole


def test_in_bfloat16_a_class_is_the_first_of_the_likeliest() -> None:
    logits, y = scenes(3, 5)
    coarse = (2 * logits).round().bfloat16()
    truths = tuple(Truth(mask.where(mask != IGNORED, 255).to(torch.uint8), (0, 0, 7, 5)) for mask in y)
    found = evaluate(lambda x: {"a": x}, Scripted([Batch((coarse,), y, truths=truths)]), CPU, "bf16")["a"]
    expected = counted((pair for i in range(3) for pair in naive(coarse[i].float(), y[i])), 5)
    same(found, expected)
    assert found["miou_original"] == pytest.approx(expected["miou"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_do_not_hide(bad: float) -> None:
    logits, y = scenes(4, 3)
    truths = [Truth(mask.where(mask != IGNORED, 255).to(torch.uint8), (0, 0, 7, 5)) for mask in y]
    batches = [
        Batch((logits[rows].clone(),), y[rows], truths=tuple(truths[rows]))
        for rows in (slice(2), slice(2, 4))
    ]
    batches[1].x[1, 2, 0, 0] = bad
    measured = evaluate(lambda x: {"fine": x.nan_to_num(0, 0), "broken": x}, Scripted(batches), CPU)
    assert {(name, key) for name, key, _ in broken_measures(measured)} == {
        ("broken", "miou"),
        ("broken", "miou_original"),
        ("broken", "pixel_accuracy"),
    }
    assert all(value is not None and math.isnan(value) for value in measured["broken"]["class_iou"])
    assert all(value is None or math.isfinite(value) for value in measured["fine"]["class_iou"])


def test_without_whole_masks_broken_logits_have_no_number_of_them() -> None:
    logits, y = scenes(2, 3)
    found = evaluate(lambda x: {"a": x * math.nan}, Scripted([Batch((logits,), y)]), CPU)["a"]
    assert "miou_original" not in found
    assert math.isnan(found["miou"])


def test_a_class_that_is_never_to_be_named_may_have_logits_of_minus_infinity() -> None:
    logits, y = scenes(2, 3)
    logits[:, 2] = -math.inf
    assert not list(broken_measures(evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), y)]), CPU)))


def test_masks_of_ignored_pixels_alone_are_an_error() -> None:
    logits, y = scenes(2, 3)
    with pytest.raises(ValueError, match="no pixel of 2 images is counted"):
        evaluate(lambda x: {"a": x}, Scripted([Batch((logits,), torch.full_like(y, IGNORED))]), CPU)


def test_the_mean_over_peers_comes_last() -> None:
    logits, y = scenes(4, 4)
    loader = Scripted([Batch((logits,), y)])

    def answers(x: Tensor) -> dict[str, Tensor]:
        two = x.roll(1, 0).index_fill(1, torch.tensor(3), -9)
        return {"ensemble": x + two, "one": x, "two": two}

    found = evaluate(answers, loader, CPU, peers=("one", "two"))
    assert list(found) == ["ensemble", "one", "two", "peer_mean"]
    one, two, mean = (found[name] for name in ("one", "two", "peer_mean"))
    for key in ("miou", "pixel_accuracy"):
        assert mean[key] == pytest.approx((one[key] + two[key]) / 2)
    assert mean["images"] == 4
    assert one["class_iou"][3] == 0
    pairs = zip(one["class_iou"], two["class_iou"], strict=True)
    expected = [None if b is None else (a + b) / 2 for a, b in pairs]
    assert expected[3] is None
    assert mean["class_iou"][:3] == pytest.approx(expected[:3])
    assert mean["class_iou"][3] is None
    assert list(evaluate(answers, loader, CPU, peers=("one",))) == ["ensemble", "one", "two"]
    with pytest.raises(ValueError, match="the peer 'three' is no read-out"):
        evaluate(answers, loader, CPU, peers=("one", "three"))


def test_higher_is_better_and_the_line_of_an_epoch_has_each_class() -> None:
    assert SEGMENTATION.headline is MIOU
    assert MIOU.better(2.0, 1.0)
    assert SEGMENTATION.details == ()


class Endless:
    """A loader whose batches are made when they are asked for."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for seed in range(self.batches):
            logits, y = scenes(2, 6, (40, 40), seed)
            mask = torch.zeros(90, 90, dtype=torch.uint8)
            yield Batch((logits,), y, truths=(Truth(mask, (0, 0, 40, 40)), Truth(mask, (0, 0, 40, 40))))


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    """Tensors, and memory of Python: what is alive at the last batch is what was alive at the third."""

    def alive() -> int:
        gc.collect()
        return sum(o.untyped_storage().nbytes() for o in gc.get_objects() if type(o) is Tensor)

    sizes = []

    def answers(x: Tensor) -> dict[str, Tensor]:
        sizes.append((alive(), tracemalloc.get_traced_memory()[0]))
        return {"a": x}

    tracemalloc.start()
    try:
        evaluate(answers, Endless(6), CPU)
    finally:
        tracemalloc.stop()
    assert len(sizes) == 6
    assert sizes[-1][0] == sizes[2][0]
    assert sizes[-1][1] - sizes[2][1] < 10_000


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, Tensor]:
    """A folder with what each of three processes found, and the logits and labels."""
    folder = tmp_path_factory.mktemp("apart")
    logits, y = scenes(4, 3)
    torch.save((logits, y), folder / "scenes.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("measured_apart.py")), str(folder)]
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "3"}
    running = [
        subprocess.Popen(command, env=shared | {"RANK": str(rank), "LOCAL_RANK": "0"}) for rank in range(3)
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    return folder, logits, y


def test_processes_know_the_same_even_without_a_batch(apart: tuple[Path, Tensor, Tensor]) -> None:
    folder, logits, y = apart
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]
    assert found[0] == found[1] == found[2]
    whole = [Batch((logits,), y)]
    flat = [Batch((logits.mean((2, 3)),), y[:, 0, 0].clamp(min=0))]
    alone = [
        measure(lambda x: {"a": x, "b": -x}, Scripted(batches), CPU, peers=peers)
        for measure, batches in ((evaluate, whole), (classification.evaluate, flat))
        for peers in ((), ("a", "b"))
    ]
    for together, own in zip(found[0], alone, strict=True):
        assert list(together) == list(own)
        for name, values in own.items():
            for key, value in values.items():
                close = isinstance(value, float)
                assert together[name][key] == (pytest.approx(value) if close else value), (name, key)
