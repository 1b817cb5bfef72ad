"""A data set -> batches on a device, the same for any number of ranks or workers."""

from __future__ import annotations

import torch

from ..core import Loader
from .augment.autoaugment import Distortion, PolicyName
from .dataset import Dataset, Images, Split
from .order import SECOND_VIEWS, EvalOrder, SecondView, TrainOrder
from .resident import ResidentEval, ResidentTrain
from .scene_loaders import ScenesEval, ScenesTrain
from .scenes import Scenes
from .workers import WorkersEval, WorkersTrain

TrainLoader = ResidentTrain | WorkersTrain | ScenesTrain


def train_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    accumulate: int = 1,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
    second_view: SecondView = None,
    augmentations: int | None = None,
    autoaugment: PolicyName = "none",
    cutout: int = 0,
    balanced: bool = False,
) -> TrainLoader:
    """Shuffled and augmented training batches; the last, incomplete one is dropped.

    Images in memory get the random crop and flip that the data set allows, on the device. Files get
    a random resized crop (8 to 100 percent of the area, ratio 3/4 to 4/3), or their centre where the data set
    says so, and are mirrored where it allows that. What an epoch holds depends on (seed, epoch) alone.

    With ``augmentations=n`` epoch e shows the images just as epoch ``e % n`` does, in an order of its
    own (so n >= epochs changes nothing where there is one view). Classmates are drawn anew each epoch.

    After crop and flip comes AutoAugment, then normalisation, then Cutout. They draw from numbers of
    their own, so the crops are those of a loader without them.

    Args:
        dataset: its training split is read.
        batch_size: images of one update, over all micro-batches and all ranks.
        accumulate: micro-batches of one update.
        seed: of order and augmentation.
        device: where the batches are.
        rank: this process.
        world: processes; each gets a contiguous slice of every micro-batch.
        workers: processes that decode files; 0 decodes in this one. Images in memory need none.
        second_view: a second entry of ``views``: ``"augmentation"``, another draw of the same
            images; ``"classmate"``, another image of the same class.
        augmentations: different augmented versions of each image: epochs repeat them after so many;
            0: images are not augmented at all (files: centred as in evaluation); None: every epoch
            draws its own.
        autoaugment: policy that changes the pixels (:mod:`cohobate.data.augment.autoaugment`), or ``"none"``.
        cutout: side of a square that is set to zero after normalisation, in pixels; 0: none.
        balanced: whether an epoch draws each class equally often, some images several times and others not
            at all (:func:`cohobate.data.order.balanced_rows`); else each image once.

    Raises:
        ValueError: a batch larger than the split or not divisible by ``accumulate * world``, a rank
            out of range, a negative seed or number of augmentations, no such second view, a
            second augmentation (or AutoAugment, or Cutout) of images that are not augmented, no such
            policy, AutoAugment of images that are not RGB, or a square larger than the images.
    """
    if second_view not in SECOND_VIEWS:
        raise ValueError(f"second_view must be one of {SECOND_VIEWS}, got {second_view!r}")
    if second_view == "augmentation" and augmentations == 0:
        raise ValueError("augmentations 0 leaves nothing for a second view by augmentation; give 1 or more")
    distortion = Distortion(autoaugment, cutout)
    if distortion and augmentations == 0:
        raise ValueError("augmentations 0 shows the images as they are; give autoaugment none and cutout 0")
    split = dataset.train
    channels, height, width = split.shape
    if autoaugment != "none" and channels != 3:
        raise ValueError(
            f"autoaugment {autoaugment} works on the colours of RGB images, and these have {channels} "
            "channels; give autoaugment none"
        )
    if cutout > min(height, width):
        raise ValueError(f"cutout {cutout} is larger than the images, {height} x {width} pixels")
    order = TrainOrder(len(split), batch_size, accumulate, seed, rank, world, augmentations, balanced)
    if isinstance(split, Scenes):
        _refuse_with_masks(order, second_view, distortion)
        return ScenesTrain(split, dataset, order, device, workers)
    if isinstance(split, Images):
        return ResidentTrain(split, dataset, order, device, second_view, distortion)
    return WorkersTrain(split, dataset, order, device, workers, second_view, distortion)


def eval_loader(
    split: Split,
    dataset: Dataset,
    *,
    batch_size: int = 500,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
) -> Loader:
    """Everything once and in order, not augmented; batch i goes to rank ``i % world``.

    Files are resized (shorter side to 256/224 of the size) and cropped in the middle. The number of
    the epoch makes no difference.

    Args:
        split: images to evaluate on.
        dataset: whose mean and standard deviation normalise it.
        batch_size: images of a batch; the last may be short.
        device: where the batches are.
        rank: this process.
        world: processes.
        workers: processes that decode files; 0 decodes in this one.

    Raises:
        ValueError: a batch size below 1, or a rank out of range.
    """
    order = EvalOrder(len(split), batch_size, rank, world)
    if isinstance(split, Scenes):
        return ScenesEval(split, dataset, order, device, workers)
    if isinstance(split, Images):
        return ResidentEval(split, dataset, order, device)
    return WorkersEval(split, dataset, order, device, workers)


def _refuse_with_masks(order: TrainOrder, second_view: SecondView, distortion: Distortion) -> None:
    """Raise a ValueError if an option of augmentation is for images with one label each."""
    refusals = {
        f"second_view {second_view!r} shows an image twice, and its mask fits one of the two": second_view,
        f"autoaugment {distortion.policy} moves pixels, and masks are not moved with them; give none": (
            distortion.policy != "none"
        ),
        f"cutout {distortion.side} hides pixels that masks give a class; give 0": distortion.side,
        "balance sampling draws images by their class, and pictures with masks have many; give none": (
            order.balanced
        ),
    }
    for message, applies in refusals.items():
        if applies:
            raise ValueError(message)
