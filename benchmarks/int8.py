"""Ways to quantise an ONNX network, by what they cost on validation images: why cohobate does it as it does.

    cohobate export RUN && OMP_NUM_THREADS=1 python benchmarks/int8.py RUN

On a processor without VNNI, which qemu can stand for (its times say nothing):

    OMP_NUM_THREADS=1 qemu-x86_64 -cpu Haswell $(which python) benchmarks/int8.py RUN --ways 2 --images 1000
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import CalibrationMethod, QuantType

from cohobate.commands.subject import opened, own_images
from cohobate.commands.timing import times
from cohobate.data.dataset import labelled
from cohobate.data.raw import pixels, spread
from cohobate.inference.int8 import quantised
from cohobate.inference.onnx_network import OnnxNetwork

WAYS: dict[str, dict[str, Any]] = {
    "as cohobate does it": {},
    "weights in 8 bits": {"reduce_range": False},
    "extremes of all images": {"extra_options": {}},
    "entropy": {"extra_options": {}, "calibrate_method": CalibrationMethod.Entropy},
    "percentile 99.99": {
        "extra_options": {"CalibPercentile": 99.99},
        "calibrate_method": CalibrationMethod.Percentile,
    },
    "one scale for all channels": {"per_channel": False},
    "signed activations": {"activation_type": QuantType.QInt8},
    "normalisation in int8 too": {"nodes_to_exclude": []},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=5000, help="validation images that are predicted")
    parser.add_argument("--ways", type=int, default=len(WAYS), help="only the first so many")
    given = parser.parse_args()
    floats = (given.run / "export/model.onnx").read_bytes()
    dataset = own_images(opened(given.run, "last"), print)
    if dataset is None or dataset.val is None:
        raise SystemExit(f"{given.run} has no validation images here")
    calibration = pixels(dataset.val, spread(len(dataset.val), 500)).contiguous()
    rows = spread(len(dataset.val), given.images)
    shown, y = pixels(dataset.val, rows).contiguous(), labelled(dataset.val, "this measurement").y[rows]
    networks = {"floats": OnnxNetwork(floats)}
    for name in list(WAYS)[: given.ways]:
        networks[name] = OnnxNetwork(quantised(floats, calibration, **WAYS[name]))
    logits = {name: torch.cat([net(batch) for batch in shown.split(100)]) for name, net in networks.items()}
    taken = times(networks, [shown[i : i + 1] for i in range(16)], torch.no_grad, seconds=10)
    own = logits["floats"]
    print("| | error, % | other labels | rms difference of a logit | ms an image |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, each in logits.items():
        error = 100 * float((each.argmax(1) != y).double().mean())
        other, rms = int((each.argmax(1) != own.argmax(1)).sum()), float((each - own).square().mean().sqrt())
        print(f"| {name} | {error:.2f} | {other} | {rms:.3f} | {taken.milliseconds[name]:.3f} |")


if __name__ == "__main__":
    main()
