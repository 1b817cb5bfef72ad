"""Networks measured side by side, each in its forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from ..config.text import shown as shown_text
from ..core import Shape
from ..engine.errors import RunError
from ..engine.machine import processor
from ..inference.deployable import noise
from ..runs.bench import Bench, Row, Spread
from .bench_networks import Images, Measurable, opened
from .console import doing
from .feeds import measured_at_once
from .subject import On
from .timing import Times, times

BATCH = 64
"""Images of a batch, where throughput is measured; fewer where every pixel of large images gets a class."""
SINGLE = 16
"""Images that are computed one at a time in a round of the latency."""


def bench(
    paths: Sequence[Path],
    *,
    threads: int | None = None,
    seconds: float = 20.0,
    device: str | None = None,
    on: On = On(),  # noqa: B008  it is frozen
    say: Callable[[str], None] = lambda message: None,
) -> Bench:
    """Measure networks side by side, on the same images.

    Args:
        paths: folders of finished runs, and files of weights or ONNX.
        threads: that compute a batch on the CPU; by default as many as torch has.
        seconds: that the rounds take together, about.
        device: of PyTorch; by default that of the run, and of a file a GPU if there is one.
        on: where the images of the runs are now, or others.
        say: prints a note.

    Raises:
        FileNotFoundError: nothing is there, or there are no images where ``on`` says.
        ValueError: none of them is a network, or can be; or there is no such device.
        ImportError: onnxruntime is missing for an ONNX file; the message names the extra.
        RunError: no run has finished, or was not made from Python; all files are cut or foreign.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        found, images = _all_opened(paths, device, on, say)
        batch = min(BATCH, *(measured_at_once(each.task, each.shape, each.classes) for each in found))
        for shape in dict.fromkeys(each.shape for each in found):
            if shape not in images:
                images[shape] = Images(noise(batch, shape), "noise")
        with doing("measuring the latency"):
            single = measured(found, images, [1] * SINGLE, seconds / 2)
        with doing("measuring the throughput"):
            large = measured(found, images, [batch], seconds / 2)
        return Bench(
            rows=tuple(_row(str(i), each, single, large) for i, each in enumerate(found)),
            processor=processor().name,
            threads=torch.get_num_threads(),
            batch=batch,
            rounds=(single.rounds, large.rounds),
            images={" x ".join(map(str, shape)): shown.where for shape, shown in images.items()},
            torch=torch.__version__,
            onnxruntime=_onnxruntime(),
        )
    finally:
        torch.set_num_threads(before)


def _all_opened(
    paths: Sequence[Path], device: str | None, on: On, say: Callable[[str], None]
) -> tuple[list[Measurable], dict[Shape, Images]]:
    """The networks, and images of the runs by their shape; a note says which could not be opened.

    Raises:
        FileNotFoundError: one is not there.
        ValueError, ImportError, RunError: why the first could not be opened, where none could.
    """
    found: list[Measurable] = []
    images: dict[Shape, Images] = {}
    errors: dict[Path, Exception] = {}
    for path in dict.fromkeys(paths):
        # What is said meanwhile would run into the line of the spinner.
        notes: list[str] = []
        try:
            with doing(f"reading {path}"):
                each, shown = opened(path, device, on, notes.append)
        except (ValueError, ImportError, RunError) as error:
            errors[path] = error
            continue
        finally:
            for note in notes:
                say(note)
        known = {(one.network, one.form) for one in found}  # a teacher that several runs have
        found += [one for one in each if (one.network, one.form) not in known]
        if shown is not None:
            images.setdefault(each[0].shape, shown)
    if not found and errors:
        raise next(iter(errors.values()))
    for path, reason in errors.items():
        say(f"note: no row of {shown_text(path)}: {reason}")
    return found, images


def measured(
    found: Sequence[Measurable], images: dict[Shape, Images], sizes: Sequence[int], seconds: float
) -> Times:
    """The time of an image in each network, named 0, 1, 2 ..., in batches of these sizes."""
    batches = torch.arange(sum(sizes)).split(list(sizes))

    def on_rows(each: Measurable) -> Callable[[Tensor], object]:
        shown = _enough(images[each.shape].pixels, sum(sizes))
        # A slice is no copy: what is measured is the network.
        return lambda rows: each.predict(shown[rows[0] : rows[-1] + 1])

    named = {str(i): on_rows(each) for i, each in enumerate(found)}
    return times(named, batches, nullcontext, seconds=seconds)


def _enough(pixels: Tensor, wanted: int) -> Tensor:
    """So many images, where a split has fewer: they are repeated."""
    again = -(-wanted // len(pixels))
    return pixels.repeat(again, 1, 1, 1)[:wanted].contiguous(memory_format=torch.channels_last)


def _row(name: str, each: Measurable, single: Times, large: Times) -> Row:
    latency, an_image = (
        Spread(median=taken.milliseconds[name], low=taken.quartiles[name][0], high=taken.quartiles[name][1])
        for taken in (single, large)
    )
    return Row(
        network=each.network,
        form=each.form,
        parameters=each.parameters,
        macs=each.macs,
        size=each.size,
        device=each.device,
        latency=latency,
        throughput=an_image.inverse,
    )


def _onnxruntime() -> str | None:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return None
