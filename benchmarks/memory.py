"""What it costs to give freed memory back to the system after every step, as glibc does by default.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--pairs 9] [--model resnet18_cifar] [--batch-size 128]

Printed: a plain training step with freed memory kept (:mod:`cohobate.engine.memory`) over the same step
with the thresholds that glibc settles at by itself (blocks of more than 32 MiB are mapped anew, more than
64 MiB at the top of the heap are given back). Both in one process, in turn, pair by pair; the median ratio
and a 95 percent interval of the median (order statistics). Where the allocator is not glibc's, it says so.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform

import torch
from pairs import compare
from self_distillation import images, made, step

from cohobate.engine.memory import LARGEST, MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory

OWN = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
KEPT = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: LARGEST}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18_cifar")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if not keep_freed_memory():
        raise SystemExit("this allocator is not glibc's")
    libc, device = ctypes.CDLL(None), torch.device("cpu")
    print(
        f"{options.model}, batch {options.batch_size}, channels last, median of {options.pairs} pairs; "
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads"
    )
    batch = images(options.batch_size, device)
    for precision in options.precision:
        train = step(made("baseline", {}, options.model, device), batch, precision == "bf16", compiled=False)

        def side(thresholds: dict[int, int], train: object = train) -> None:
            for name, value in thresholds.items():
                libc.mallopt(name, value)
            train()  # type: ignore[operator]

        title = f"plain step, {precision}, freed memory kept over given back"
        compare(title, lambda: side(KEPT), lambda: side(OWN), options.pairs, device)


if __name__ == "__main__":
    main()
