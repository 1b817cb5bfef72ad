"""What is slow or cannot work on a machine, and which option helps. No torch here.

The factors: docs/COMMANDS.md, "Is my machine fit?".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..config.words import count
from ..engine.machine import Cores, Processor

ISA_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables of the environment that keep torch from using all that the processor has."""

LITTLE_SHARED = 256 * 2**20
"""Bytes: two workers hold four batches of 128 images of 224 x 224 x 3, 77 MB, at the defaults."""

LITTLE_DISK = 2**30
"""Bytes: checkpoints of a run with a large teacher."""


class Facts(NamedTuple):
    """What the advice depends on.

    Attributes:
        processor: its name and what it has.
        cores: that there are, and that may be used.
        threads: that torch computes with on the CPU.
        variables: of the environment, those that matter here.
        load: processes that were busy over the last minute, on average; None where unknown.
        gpus: names of those that torch can use.
        driver: whether there is a driver of NVIDIA's.
        cuda: of the build of torch; None for a build without.
        mps: whether torch can use a GPU of Apple's.
        cxx: C++ compiler that inductor would call -> whether it is there.
        c: whether there is a C compiler, for Triton.
        triton: whether it is installed.
        headers: whether Python's C headers are installed.
        shared: free bytes of the memory by which workers hand over images; None where unknown.
        disks: place -> its free bytes; None: it cannot be written.
    """

    processor: Processor
    cores: Cores
    threads: int
    variables: Mapping[str, str]
    load: float | None
    gpus: tuple[str, ...]
    driver: bool
    cuda: str | None
    mps: bool
    cxx: tuple[str, bool]
    c: bool
    triton: bool
    headers: bool
    shared: int | None
    disks: Mapping[str, int | None]


def advice(facts: Facts) -> dict[str, str]:
    """Topic -> what is so, and what to do."""
    said = {topic: find(facts) for topic, find in TOPICS.items()}
    return {topic: text for topic, text in said.items() if text}


def _gpu(facts: Facts) -> str | None:
    if facts.gpus:
        return (
            "--device auto, the default, takes a GPU; --compile auto then compiles the step and replays it "
            "as a CUDA graph; --precision auto tries fp32 and bf16 before a run: no GPU has been measured yet"
        )
    if facts.driver and facts.cuda is None:
        return (
            "there is a driver of NVIDIA's, but this torch is built without CUDA and computes on the CPU: "
            "install a torch that is built with CUDA (pytorch.org, Get started)"
        )
    if facts.driver and "CUDA_VISIBLE_DEVICES" in facts.variables:
        hidden = facts.variables["CUDA_VISIBLE_DEVICES"]
        return f"CUDA_VISIBLE_DEVICES={hidden} hides the GPU from torch: unset it"
    if facts.driver:
        return f"torch, built with CUDA {facts.cuda}, finds no GPU that it can use; compare nvidia-smi"
    if facts.mps:
        return "--device auto takes the CPU; --device mps is not tested by the project"
    return None


def _bf16(facts: Facts) -> str | None:
    has = facts.processor.has
    if facts.gpus:
        return None
    if has is None or not has.get("AVX2") or _isa(facts):
        return "how fast bf16 is here is not known: --precision auto measures it before a run"
    if has["AMX bf16"]:
        return "with AMX, bf16 trains 2 to 3 times as fast as fp32: --precision bf16 (auto measures first)"
    if has["AVX-512 bf16"]:
        return (
            "with AVX-512 bf16, bf16 trains about 1.7 times as fast as fp32: --precision bf16 (auto measures "
            "first)"
        )
    if has["AVX-512"]:
        return "without AVX-512 bf16 and AMX, bf16 takes twice as long as fp32: keep --precision fp32"
    return "without AVX-512, bf16 takes ten times as long as fp32: keep --precision fp32, the default"


def _isa(facts: Facts) -> str | None:
    limits = [f"{name}={facts.variables[name]}" for name in ISA_LIMITS if name in facts.variables]
    return f"torch does not use all of the processor; unset {', '.join(limits)}" if limits else None


def _one_core(facts: Facts) -> str | None:
    if facts.cores.usable > 1 or facts.gpus:
        return None
    return (
        "one core computes, augments and decodes: take a small network, or --train-images for a first look; "
        "--augmentations 1 lets a teacher's logits be kept, --max-minutes divides a run into parts"
    )


def _threads(facts: Facts) -> str | None:
    usable, variable = facts.cores.usable, "OMP_NUM_THREADS"
    if facts.threads > usable:
        return (
            f"torch computes with {count(facts.threads, 'thread')} on {count(usable, 'core')}; they wait for "
            f"each other, 2 to 40 times as long: {variable}={usable}"
        )
    if facts.threads < usable and facts.variables.get(variable):
        return (
            f"{variable}={facts.variables[variable]}, so a training uses {facts.threads} of {usable} cores; "
            "right for several trainings at a time, unset it for a single one"
        )
    return None


def _several(facts: Facts) -> str | None:
    if facts.cores.usable == 1 or facts.threads == 1 or facts.gpus:
        return None
    return (
        f"several trainings at a time with {facts.threads} threads each slow each other down ten times and "
        "more: start each with OMP_NUM_THREADS=1, as many as there are cores"
    )


def _busy(facts: Facts) -> str | None:
    # Of one process more than there are cores, every training notices.
    if facts.load is None or facts.load < facts.cores.usable:
        return None
    return (
        f"{facts.load:.1f} processes were busy in the last minute on {count(facts.cores.usable, 'core')}: a "
        "training now, and what is measured here, is slower than the machine can be"
    )


def _compile(facts: Facts) -> str | None:
    lacking = []
    if facts.gpus:
        lacking += [] if facts.triton else ["Triton"]
        lacking += [] if facts.c else ["a C compiler (CC, gcc or clang)"]
    elif not facts.cxx[1]:
        lacking += [f"a C++ compiler ({facts.cxx[0]}; CXX names another)"]
    if not facts.headers:
        lacking += ["Python's C headers (python3-dev, python3-devel)"]
    if lacking and facts.gpus:
        return f"without {' and '.join(lacking)} a step cannot be compiled: --compile off"
    if lacking:
        return f"--compile on does not work without {' and '.join(lacking)}"
    if facts.gpus:
        return None
    return (
        "--compile on makes a step 5 to 20 percent faster and costs 10 to 120 seconds the first time: for "
        "long trainings"
    )


def _workers(facts: Facts) -> str | None:
    if facts.shared is not None and facts.shared < LITTLE_SHARED:
        return (
            f"only {facts.shared // 2**20} MiB of shared memory are free, through which workers hand over "
            "the images of a folder: --workers 0, or docker run --shm-size=1g"
        )
    if facts.cores.usable <= 2:
        return None
    return (
        "images of a folder that are larger than 64 pixels are decoded by 2 processes: where the training "
        f"waits for them, --workers, up to {facts.cores.usable}"
    )


def _disks(facts: Facts) -> str | None:
    said = []
    for place, free in facts.disks.items():
        if free is None:
            said.append(f"{place} cannot be written: give another --out")
        elif free < LITTLE_DISK:
            said.append(f"{free // 2**20} MiB are free for {place}: make room, or give another --out")
    return "; ".join(said) or None


TOPICS: Mapping[str, Callable[[Facts], str | None]] = {
    "GPU": _gpu,
    "bf16": _bf16,
    "limits": _isa,
    "one core": _one_core,
    "threads": _threads,
    "several runs": _several,
    "busy": _busy,
    "compile": _compile,
    "workers": _workers,
    "disk": _disks,
}
"""What advice can be about, in the order of the report."""
