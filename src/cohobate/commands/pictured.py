"""Pictures for the page of a run of segmentation: images, masks, and what the deployed network names."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config.colours import Colour, class_colours
from ..core import IGNORED, VOID, Method
from ..data.dataset import Dataset, Split
from ..data.loaders import eval_loader
from ..data.raw import pixels, spread
from ..engine.evaluate import autocast, evaluating
from ..engine.randomness import unchanged
from ..inference.painted import mask_png
from ..runs.pictured import Picture, Pictured

PICTURES = 4
"""Images that are shown, at most."""

LONGEST = 480
"""Pixels of a picture's longer side, at most: larger ones are made smaller."""


def pictured(method: Method, dataset: Dataset, device: torch.device, precision: str) -> Pictured | None:
    """A few images of the validation split, else of the test split, with the weights as they are.

    Nothing is drawn at random. Images have the size at which the network sees them, without the padding.

    Args:
        method: on the device; its first read-out is shown.
        dataset: of segmentation.
        device: of the method.
        precision: in which it is measured.

    Returns:
        None for data without either split.
    """
    chosen = _chosen(dataset)
    if chosen is None:
        return None
    name, split = chosen
    rows = spread(len(split), PICTURES)
    few = split.subset(torch.tensor(rows))
    loader = eval_loader(few, dataset, batch_size=1, device=device, workers=0)
    palette = class_colours(len(dataset.classes))
    pictures = []
    with evaluating(method), unchanged():
        for row, shown, batch in zip(rows, pixels(few, range(len(few))), loader.epoch(0), strict=True):
            with autocast(device, precision):
                logits = next(iter(method.readouts(batch.x).values()))[0]
            left, top, right, bottom = batch.truths[0].box if batch.truths else (0, 0, *shown.shape[:0:-1])
            mask = batch.y[0].where(batch.y[0] != IGNORED, VOID)
            parts = (each[..., top:bottom, left:right].cpu() for each in (shown, mask, logits.max(0).indices))
            image, mask, named = parts
            files = jpeg(image), png(mask, palette), png(named, palette)
            pictures.append(Picture.model_construct(row=row, image=files[0], mask=files[1], named=files[2]))
    return Pictured(split=name, images=len(split), classes=dataset.classes, pictures=tuple(pictures))


def _chosen(dataset: Dataset) -> tuple[str, Split] | None:
    if dataset.val is not None:
        return "val", dataset.val
    return None if dataset.test is None else ("test", dataset.test())


def jpeg(image: Tensor) -> bytes:
    """An image as JPEG.

    Args:
        image: (C, H, W), uint8. Of three channels or more the first three are red, green and blue, else the
            first one is shown, in grey.
    """
    colours = image[:3].movedim(0, -1) if len(image) >= 3 else image[0]
    picture = Image.fromarray(colours.contiguous().numpy())
    out = io.BytesIO()
    picture.resize(_size(picture), Image.Resampling.BOX).save(out, "jpeg", quality=90, subsampling=0)
    return out.getvalue()


def png(classes: Tensor, palette: Sequence[Colour]) -> bytes:
    """Classes as a PNG whose palette has their colours; its numbers are the classes.

    Args:
        classes: (H, W), integers, 255 where no class is counted.
        palette: a colour for each class.
    """
    picture = Image.fromarray(classes.to(torch.uint8).numpy())
    small = picture.resize(_size(picture), Image.Resampling.NEAREST)
    return mask_png(np.array(small), palette)


def _size(picture: Image.Image) -> tuple[int, int]:
    """(width, height), the longer of which is at most :data:`LONGEST`."""
    scale = min(1.0, LONGEST / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return width, height
