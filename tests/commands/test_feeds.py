"""What a run reads: the teacher's logits from a store, unlabelled images beside the labelled ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from zoo import CLASSES, SIZE, StopAfter, seeded, toy, toy_data, toy_images, toy_wide

from cohobate.commands.feeds import make_feeds
from cohobate.commands.images import extra_images, read_data
from cohobate.config.groups import Settings
from cohobate.core import IGNORED, Batch, Frozen, Loader, Method, Output, Phase, Term, cross_entropy
from cohobate.data import taught
from cohobate.data.arrays import arrays
from cohobate.data.augment.autoaugment import Distortion, autoaugment
from cohobate.data.augment.labels import smooth
from cohobate.data.augment.mixing import Mixed
from cohobate.data.dataset import Dataset, Files, Images
from cohobate.data.taught import Taught, obstacle
from cohobate.data.unlabelled import WithUnlabelled
from cohobate.engine import distributed
from cohobate.engine.checkpoint import Store
from cohobate.engine.errors import Stopped
from cohobate.engine.evaluate import autocast
from cohobate.engine.loop import Trainer
from cohobate.engine.progress import Display
from cohobate.engine.signals import Stopper
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD, softened_kl
from cohobate.methods.supervised import Supervised
from cohobate.recipes.options import options

CPU = torch.device("cpu")
N = 76  # no multiple of the batch: the last one of a version is short


class Pooled(Term):
    """Reads more than logits."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        assert student.pooled is not None
        return student.pooled.square().mean()


class Classmates(Distillation):
    second_view = "classmate"


class Augmented(Distillation):
    second_view = "augmentation"


def kd(kind: type[Distillation] = Distillation, **terms: Term) -> Distillation:
    """Both networks drawn from the same seed each time."""

    def make() -> Method:
        return kind(toy(), Frozen(toy_wide()), terms or {"kd": KD()})

    method = seeded(make)
    assert isinstance(method, Distillation)
    return method


def settings(**changes: Any) -> Settings:
    return Settings.model_validate(
        {"epochs": 3, "batch_size": 16, "device": "cpu", "compile": "off", "seed": 3, **changes}
    )


def loader(
    method: Method, chosen: Settings | None = None, data: Dataset | None = None, **options: Any
) -> Loader:
    feeds = make_feeds(data or toy_data(N), CPU, 0, **options)
    return feeds.train(method, chosen or settings())


def same(one: Batch, other: Batch) -> bool:
    pairs = zip((*one.views, *one[1:]), (*other.views, *other[1:]), strict=True)
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def all_same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) > 0 and all(map(same, one, other))


def trainer(
    method: Method,
    folder: Path,
    chosen: Settings | None = None,
    stopper: Stopper | None = None,
    **options: Any,
) -> Trainer:
    return Trainer(
        Phase("train", method),
        make_feeds(toy_data(N), CPU, 0, **options),
        chosen or settings(),
        CPU,
        Store(folder / "train"),
        folder / "metrics.jsonl",
        [],
        Display(quiet=True),
        stopper or Stopper(),
    )


# ---------------------------------------------------------------- the teacher's logits from a store


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("augmentations", [0, 1, 2])
def test_what_is_served_is_what_the_step_would_compute(
    precision: str, layout: str, augmentations: int
) -> None:
    method = kd()
    method.to(memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format)
    chosen = settings(precision=precision, layout=layout, accumulate=2)
    served = loader(method, chosen, augmentations=augmentations)
    assert isinstance(served, Taught)
    assert len(served) == len(served.loader) == 8
    for epoch in (0, 1, 2):
        plain = list(loader(method, chosen, augmentations=augmentations, cache_teacher="off").epoch(epoch))
        for batch, without in zip(served.epoch(epoch), plain, strict=True):
            x = batch.x.contiguous() if layout == "contiguous" else batch.x
            with autocast(CPU, precision):
                expected = method.teacher(x).logits
            assert batch.taught is not None
            assert batch.taught.dtype == torch.float32
            assert torch.equal(batch.taught, expected.float())
            assert same(batch._replace(taught=None), without)


def test_the_teacher_runs_once_for_each_version() -> None:
    method = kd()
    seen: list[int] = []
    method.teacher.network.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    served = loader(method, augmentations=2)
    for epoch in range(6):
        for batch in served.epoch(epoch):
            method(batch)
    assert seen == [16] * 5 * 2  # 76 images, filled up to 5 batches of 16


def test_a_fresh_store_serves_the_same_from_the_middle_on() -> None:
    whole = list(loader(kd(), augmentations=2).epoch(5))
    assert all_same(whole[2:], list(loader(kd(), augmentations=2).epoch(5, 2)))


def test_training_with_the_store_is_training_without_it(tmp_path: Path) -> None:
    ends = []
    for cache in ("on", "off"):
        running = trainer(kd(), tmp_path / cache, augmentations=2, cache_teacher=cache)
        assert isinstance(running.loader, Taught) == (cache == "on")
        history = running.run()["history"]
        ends.append((running.method.state_dict(), [record["losses"] for record in history]))
    (one, losses), (other, wanted) = ends
    assert losses == wanted
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_that_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = trainer(kd(), tmp_path / "whole", augmentations=2)
    whole.run()
    for stopper in (StopAfter(6), StopAfter(3)):
        with pytest.raises(Stopped):
            trainer(kd(), tmp_path / "cut", stopper=stopper, augmentations=2).run()
    cut = trainer(kd(), tmp_path / "cut", augmentations=2)
    assert (cut.standing.epoch, cut.standing.step) == (2, 1)
    cut.run()
    assert [r["losses"] for r in whole.standing.history] == [r["losses"] for r in cut.standing.history]
    state = whole.method.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in cut.method.state_dict().items())


def test_ranks_share_the_work_and_get_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = loader(kd(), settings(batch_size=8), augmentations=1)
    whole = {
        int(row): logits
        for batch in alone.epoch(0)
        for row, logits in zip(batch.index, batch.taught, strict=True)
    }
    parts: list[Tensor] = []
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "total", lambda tensor: parts.append(tensor.clone()) or tensor)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        served = loader(kd(), augmentations=1)
        assert isinstance(served, Taught)
        next(iter(served.epoch(0)))
    done = [part.abs().sum(1) > 0 for part in parts]
    assert not (done[0] & done[1]).any()
    assert (done[0] | done[1]).all()
    table = parts[0] + parts[1]
    assert all(torch.equal(table[row], logits) for row, logits in whole.items())


def test_label_smoothing_keeps_the_logits() -> None:
    for batch in loader(kd(), settings(label_smoothing=0.1), augmentations=1).epoch(0):
        assert batch.y.is_floating_point()
        assert batch.taught is not None


def test_a_step_with_logits_from_the_store_compiles() -> None:
    method = kd().double()
    (batch, *_) = loader(kd(), augmentations=1).epoch(0)
    batch = batch._replace(views=(batch.x.double(),))
    compiled = torch.compile(method, backend="aot_eager", fullgraph=True, dynamic=False)
    expected, found = method.eval()(batch), compiled(batch)
    assert expected.keys() == found.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        (lambda: kd(kd=KD(), pooled=Pooled()), {"augmentations": 1}, "Pooled reads more of the teacher"),
        (kd, {}, "every epoch draws new augmentations; fix their number by --augmentations"),
        (lambda: kd(Augmented), {"augmentations": 1}, "Augmented shows the teacher a second view"),
        (
            kd,
            {"augmentations": 1, "unlabelled": toy_data().train},
            "unlabelled images are no rows of the training split; leave out --unlabelled",
        ),
        (
            kd,
            {"augmentations": 10**8},
            r"100000000 versions x 76 images x 5 classes x 4 bytes are 141.6 GiB, at most 8 are stored; give",
        ),
    ],
)
def test_the_store_is_refused_by_name_or_left_out(method: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"--cache-teacher on is not possible: {why}"):
        loader(method(), cache_teacher="on", **options)
    for batch in loader(method(), cache_teacher="auto", **options).epoch(0):
        assert batch.taught is None


def test_a_teacher_of_mixed_images_has_no_store() -> None:
    chosen = settings(mixing="mixup")
    with pytest.raises(
        ValueError, match="--cache-teacher on is not possible: mixup shows pairs of images as"
    ):
        loader(kd(), chosen, augmentations=1, cache_teacher="on")
    for batch in loader(kd(), chosen, augmentations=1).epoch(0):
        assert batch.taught is None


def test_a_store_up_to_the_limit_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "LIMIT", 2 * 76 * 5 * 4)
    assert obstacle(kd(), 2, (76, 5)) is None
    assert "3 versions x 76 images x 5 classes" in str(obstacle(kd(), 3, (76, 5)))


def test_a_phase_without_a_frozen_teacher_goes_without_either() -> None:
    """A plan may train the teacher first; the options are for the phase after it."""
    plain = list(loader(Supervised(toy()), augmentations=1).epoch(0))
    other = loader(Supervised(toy()), augmentations=1, cache_teacher="on", unlabelled=toy_data().train)
    assert all_same(plain, list(other.epoch(0)))


def test_a_teacher_of_other_classes_is_refused() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES + 1))
    served = loader(Distillation(toy(), teacher, {"kd": KD()}), augmentations=1)
    with pytest.raises(ValueError, match=r"the teacher's logits are \(16, 6\), the data has 5 classes"):
        next(iter(served.epoch(0)))


def test_whose_logits_alone_are_read() -> None:
    method = kd()
    assert method.reads_logits_of is method.teacher
    assert kd(kd=KD(), pooled=Pooled()).reads_logits_of is None
    assert Supervised(toy()).reads_logits_of is None


# ---------------------------------------------------------------- unlabelled images


def others(images: int = 40) -> Images:
    x, y = toy_images(images, 7)
    return Images(x, y)


def mixed(chosen: Settings | None = None, images: int = 40, **options: Any) -> Loader:
    return loader(kd(), chosen, unlabelled=others(images), **options)


def test_unlabelled_images_follow_the_labelled_ones() -> None:
    plain = list(loader(kd()).epoch(1))
    both = mixed(unlabelled_share=0.5)
    assert isinstance(both, WithUnlabelled)
    assert len(both) == len(plain)
    for batch, without in zip(both.epoch(1), plain, strict=True):
        assert torch.equal(batch.x[:16], without.x)
        assert torch.equal(batch.y[:16], without.y)
        assert batch.y[16:].tolist() == [IGNORED] * 8
        assert (batch.x.shape, batch.x.dtype) == ((24, 3, SIZE, SIZE), torch.float32)
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert (batch.index, batch.taught) == (None, None)


def test_they_run_through_epochs_of_their_own() -> None:
    """4 labelled micro-batches an epoch, 5 unlabelled ones in theirs; not augmented, so each is known."""
    both = mixed(images=40, unlabelled_share=0.5, augmentations=0)
    shown = [
        image.contiguous().numpy().tobytes()
        for epoch in range(5)
        for batch in both.epoch(epoch)
        for image in batch.x[16:]
    ]
    assert len(shown) == 5 * 4 * 8
    for first in range(0, len(shown), 40):
        assert len(set(shown[first : first + 40])) == 40
    assert shown[:40] != shown[40:80]


@pytest.mark.parametrize("augmentations", [None, 2])
def test_what_a_batch_gets_depends_on_its_place_alone(augmentations: int | None) -> None:
    options: dict[str, Any] = {"unlabelled_share": 0.5, "augmentations": augmentations}
    for epoch in (0, 2, 3):
        whole = list(mixed(**options).epoch(epoch))
        for start in range(4):
            assert all_same(whole[start:], list(mixed(**options).epoch(epoch, start)))


def test_they_are_normalised_as_the_labelled_ones_and_drawn_otherwise() -> None:
    """The same images on both sides, yet never beside themselves as if the orders were one."""
    data = toy_data(N)
    both = loader(kd(), data=data, unlabelled=data.train, augmentations=0)
    known = [
        {image.contiguous().numpy().tobytes() for batch in both.epoch(0) for image in part(batch.x)}
        for part in (lambda x: x[:16], lambda x: x[16:])
    ]
    every = {
        image.contiguous().numpy().tobytes()
        for b in loader(kd(), settings(batch_size=N), data=data, augmentations=0).epoch(0)
        for image in b.x
    }
    assert known[1] <= every
    for batch in both.epoch(0):
        assert not torch.equal(batch.x[:16], batch.x[16:])


def test_ranks_share_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(mixed(unlabelled_share=0.5).epoch(1))
    monkeypatch.setattr(distributed, "world", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(mixed(unlabelled_share=0.5).epoch(1)))
    for batch, one, other in zip(alone, *shares, strict=True):
        assert (len(one.x), len(other.x)) == (12, 12)
        joined = torch.cat([one.x[:8], other.x[:8], one.x[8:], other.x[8:]])
        assert torch.equal(batch.x, joined)


def test_a_second_view_comes_along() -> None:
    for batch in loader(kd(Augmented), unlabelled=others()).epoch(0):
        assert [len(view) for view in batch.views] == [32, 32]
        assert not torch.equal(*batch.views)


def test_files_go_beside_images_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{k}.png" for k in range(20))
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save(path)
    files = Files(paths, torch.zeros(20, dtype=torch.int64), (SIZE, SIZE))
    both = loader(kd(), unlabelled=files)
    whole = list(both.epoch(1))
    assert whole[0].x.shape == (32, 3, SIZE, SIZE)
    assert all_same(whole[2:], list(both.epoch(1, 2)))


def test_cross_entropy_counts_the_labelled_and_distillation_all() -> None:
    method = kd()
    (batch, *_) = mixed().epoch(0)
    losses = method.eval()(batch)
    student, teacher = method.student(batch.x).logits, method.teacher(batch.x).logits
    torch.testing.assert_close(losses["ce"], 0.1 * cross_entropy(student[:16], batch.y[:16]))
    torch.testing.assert_close(losses["kd"], 0.9 * softened_kl(student, teacher, temperature=4.0))


def test_a_run_with_them_stops_and_goes_on(tmp_path: Path) -> None:
    options = {"unlabelled": others(), "unlabelled_share": 0.5}
    whole = trainer(kd(), tmp_path / "whole", **options)
    whole.run()
    with pytest.raises(Stopped):
        trainer(kd(), tmp_path / "cut", stopper=StopAfter(6), **options).run()
    cut = trainer(kd(), tmp_path / "cut", **options)
    cut.run()
    state = whole.method.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in cut.method.state_dict().items())


def test_what_they_do_not_go_with_is_named() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing 0.1 turns labels into probabilities"):
        mixed(settings(label_smoothing=0.1))
    with pytest.raises(ValueError, match=r"mixing cutmix mixes labels in pairs, and unlabelled images have"):
        mixed(settings(mixing="cutmix"))
    with pytest.raises(
        ValueError, match=r"Classmates pairs the images of a class, and unlabelled ones have none"
    ):
        loader(kd(Classmates), unlabelled=others())
    with pytest.raises(ValueError, match=r"unlabelled_share 0.01 of 16 images is none; give at least 0.0625"):
        mixed(unlabelled_share=0.01)
    with pytest.raises(
        ValueError, match=r"unlabelled_share 3 needs 48 unlabelled images in a batch, there are 40"
    ):
        mixed(unlabelled_share=3)
    small = arrays(np.zeros((4, 4, 4), np.uint8), np.arange(4) % 2).train
    with pytest.raises(ValueError, match=r"the unlabelled images are 4 x 4, those of arrays 8 x 8"):
        loader(kd(), unlabelled=replace(small))


def test_unlabelled_images_of_the_runs_own_data_leave_out_those_that_are_held_out() -> None:
    config = options("kd", {"unlabelled": "digits", "train_images": 100})
    dataset = read_data(config)
    extra, _ = extra_images(dataset, config)
    assert isinstance(extra, Images)
    assert isinstance(dataset.val, Images)
    assert len(dataset.train) == 100
    assert len(extra) == 1295
    assert (extra.y == IGNORED).all()
    shown = {image.numpy().tobytes() for image in extra.x}
    assert not shown & {image.numpy().tobytes() for image in dataset.val.x}
    assert extra_images(dataset, options("kd", {})) == (None, ())


# ---------------------------------------------------------------- mixed labels, changed images


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_any_method_may_have_its_images_mixed(kind: str) -> None:
    """Smoothed first, then mixed; the images of ``log_train`` and of validation never are."""
    chosen = settings(mixing=kind, label_smoothing=0.1, mixing_alpha=0.7, mixing_share=0.5)
    found = loader(Supervised(toy()), chosen)
    assert isinstance(found, Mixed)
    assert (found.kind, found.alpha, found.share, found.seed) == (kind, 0.7, 0.5, 3)
    plain = [smooth(batch, 0.1, CLASSES) for batch in loader(Supervised(toy())).epoch(1)]
    for batch, before in zip(found.epoch(1), plain, strict=True):
        assert batch.index is None
        assert batch.y.min() >= 0.1 / CLASSES - 1e-7
        if torch.equal(batch.x, before.x):
            assert torch.equal(batch.y, before.y)
    feeds = make_feeds(toy_data(N), CPU, 0)
    assert feeds.plain_train is not None
    assert all(batch.y.dtype == torch.int64 for batch in feeds.plain_train().epoch(0))


def test_a_run_with_mixed_and_changed_images_stops_and_goes_on(tmp_path: Path) -> None:
    def run(folder: str, stopper: Stopper | None = None) -> Trainer:
        method = seeded(lambda: Supervised(toy()))
        chosen = settings(mixing="cutmix", mixing_share=0.5)
        return trainer(method, tmp_path / folder, chosen, stopper, autoaugment="cifar", cutout=3)

    whole = run("whole")
    whole.run()
    with pytest.raises(Stopped):
        run("cut", StopAfter(6)).run()
    cut = run("cut")
    assert (cut.standing.epoch, cut.standing.step) == (1, 2)
    cut.run()
    state = whole.method.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in cut.method.state_dict().items())


def test_mixed_batches_are_one_graph() -> None:
    torch._dynamo.reset()
    method = Supervised(toy())
    compiled = torch.compile(method, backend="aot_eager", fullgraph=True, dynamic=False)
    batches = list(loader(method, settings(mixing="cutmix", mixing_share=0.5, mixing_alpha=1.0)).epoch(0))
    compiled(batches[0])
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in batches[1:]:
            compiled(batch)


def test_who_cannot_have_mixed_images_says_so() -> None:
    (batch, *_) = loader(Supervised(toy()), settings(mixing="mixup")).epoch(0)
    with pytest.raises(ValueError, match=r"who keeps a memory of each training image .* switch off mixing"):
        batch.rows("who")
    with pytest.raises(ValueError, match=r"who needs integer labels.*switch off label smoothing and mixing"):
        batch.ids("who")


def test_a_kept_teacher_sees_changed_images() -> None:
    """AutoAugment and Cutout belong to the versions whose logits are kept."""
    method = kd()
    served = loader(method, augmentations=2, autoaugment="cifar", cutout=3)
    assert isinstance(served, Taught)
    for epoch in (0, 1):
        for batch in served.epoch(epoch):
            torch.testing.assert_close(batch.taught, method.teacher(batch.x).logits.detach())


def test_unlabelled_images_are_changed_too() -> None:
    plain, changed = (
        list(loader(kd(), unlabelled=others(), **given).epoch(0)) for given in ({}, {"autoaugment": "cifar"})
    )
    assert not torch.equal(plain[0].x[16:], changed[0].x[16:])
    data = toy_data(N)
    (first, *_) = loader(Supervised(toy()), data=data, autoaugment="svhn").epoch(2)
    (without, *_) = loader(Supervised(toy()), data=data).epoch(2)
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (data.mean, data.std))

    def pixels(batch: Batch) -> Tensor:
        return ((batch.x.permute(0, 2, 3, 1).double() * std + mean) * 255).round().to(torch.uint8)

    draws = Distortion("svhn").table(3, 2, 0, N)[without.index]
    assert torch.equal(pixels(first), autoaugment(pixels(without), draws, "svhn"))
