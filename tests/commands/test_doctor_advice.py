"""Advice for machines that are not at hand: each claim of slowness by a made-up one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cohobate.commands.doctor_advice import TOPICS, Facts, advice
from cohobate.engine.machine import ARM, X86, Cores, Processor


def chip(*has: str, known: Any = X86) -> Processor:
    assert set(has) <= set(known)
    return Processor("made up", {what: what in has for what in known})


ZEN5 = chip("AVX2", "AVX-512", "AVX-512 bf16")
SAPPHIRE_RAPIDS = chip("AVX2", "AVX-512", "AVX-512 bf16", "AMX bf16")

FIT = Facts(
    processor=ZEN5,
    cores=Cores(2, 2, None),
    threads=2,
    variables={},
    load=0.1,
    gpus=(),
    driver=False,
    cuda=None,
    mps=False,
    cxx=("g++", True),
    c=True,
    triton=False,
    headers=True,
    shared=2**34,
    disks={"the runs": 2**34},
)
"""A machine on which nothing is wrong."""

WITH_GPU: dict[str, Any] = {"gpus": ("NVIDIA H200",), "cuda": "13.0", "driver": True, "triton": True}


def about(topic: str, **changed: Any) -> str:
    """The advice on a topic; empty where there is none."""
    assert topic in TOPICS
    return advice(FIT._replace(**changed)).get(topic, "")


def test_a_fit_machine_hears_only_what_could_be_faster() -> None:
    assert set(advice(FIT)) == {"bf16", "several runs", "compile"}


@pytest.mark.parametrize(
    ("processor", "factor", "option"),
    [
        (chip("AVX2"), "ten times as long", "keep --precision fp32"),
        (chip("AVX2", "AVX-512"), "twice as long", "keep --precision fp32"),
        (ZEN5, "1.7 times as fast", "--precision bf16"),
        (SAPPHIRE_RAPIDS, "2 to 3 times as fast", "--precision bf16"),
        (chip(), "not known", "--precision auto"),
        (chip("NEON", "SVE", "bf16", known=ARM), "not known", "--precision auto"),
        (Processor("unknown", None), "not known", "--precision auto"),
    ],
)
def test_bf16_of_a_processor(processor: Processor, factor: str, option: str) -> None:
    said = about("bf16", processor=processor)
    assert factor in said
    assert option in said
    assert about("bf16", processor=processor, **WITH_GPU) == "", "the GPU computes"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (WITH_GPU, ["--device auto", "--compile auto", "CUDA graph", "--precision auto"]),
        ({"driver": True}, ["built without CUDA"]),
        (
            {"driver": True, "cuda": "13.0", "variables": {"CUDA_VISIBLE_DEVICES": ""}},
            ["CUDA_VISIBLE_DEVICES= hides"],
        ),
        ({"driver": True, "cuda": "13.0"}, ["CUDA 13.0", "nvidia-smi"]),
        ({"mps": True}, ["--device mps", "not tested"]),
    ],
)
def test_gpu(changed: dict[str, Any], words: list[str]) -> None:
    said = about("GPU", **changed)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("cores", "threads", "usable"),
    [(Cores(2, 2, None), 4, 2), (Cores(64, 64, 2.0), 64, 2), (Cores(8, 1, None), 2, 1)],
)
def test_more_threads_than_cores(cores: Cores, threads: int, usable: int) -> None:
    said = about("threads", cores=cores, threads=threads)
    assert f"{threads} threads on {usable} core" in said
    assert said.endswith(f"OMP_NUM_THREADS={usable}")


def test_fewer_threads_than_cores_are_a_choice() -> None:
    said = about("threads", threads=1, variables={"OMP_NUM_THREADS": "1"})
    assert "1 of 2 cores" in said
    assert "unset it" in said
    # Of itself torch takes as many threads as there are cores without hyper-threading.
    assert about("threads", threads=1) == ""


def test_several_runs_with_several_threads_each() -> None:
    assert "OMP_NUM_THREADS=1" in about("several runs")
    assert about("several runs", threads=1) == ""
    assert about("several runs", cores=Cores(1, 1, None), threads=1) == ""


def test_one_core() -> None:
    assert "--train-images" in about("one core", cores=Cores(1, 1, None))
    assert "--train-images" in about("one core", cores=Cores(16, 16, 1.0))
    assert about("one core", cores=Cores(1, 1, None), **WITH_GPU) == ""


@pytest.mark.parametrize(
    ("load", "busy"), [(None, False), (0.0, False), (1.9, False), (2.0, True), (5.1, True)]
)
def test_a_busy_machine(load: float | None, busy: bool) -> None:
    said = about("busy", load=load)
    assert (said != "") is busy
    assert not busy or f"{load:.1f} processes" in said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cxx": ("clang++", False)}, ["--compile on does not work", "clang++", "CXX"]),
        ({"headers": False}, ["--compile on does not work", "python3-dev"]),
        ({}, ["--compile on makes a step 5 to 20 percent faster"]),
        ({**WITH_GPU, "triton": False}, ["Triton", "--compile off"]),
        ({**WITH_GPU, "c": False}, ["C compiler", "--compile off"]),
        ({**WITH_GPU, "headers": False}, ["python3-dev", "--compile off"]),
    ],
)
def test_compile(changed: dict[str, Any], words: list[str]) -> None:
    said = about("compile", **changed)
    assert all(word in said for word in words), said


def test_a_gpu_that_compiles_needs_no_advice() -> None:
    assert about("compile", **WITH_GPU, cxx=("g++", False)) == "", "inductor calls no C++ compiler for it"


def test_what_limits_the_instructions() -> None:
    said = about("limits", variables={"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"})
    assert said.endswith("unset ONEDNN_MAX_CPU_ISA=AVX2")
    assert "not known" in about("bf16", variables={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert about("limits", variables={"OMP_NUM_THREADS": "2"}) == ""


def test_workers() -> None:
    assert about("workers") == ""
    assert "--workers, up to 16" in about("workers", cores=Cores(16, 16, None))
    said = about("workers", shared=64 * 2**20, cores=Cores(16, 16, None))
    assert "only 64 MiB" in said
    assert "--workers 0" in said
    assert about("workers", shared=None) == ""


def test_disk() -> None:
    assert "cannot be written" in about("disk", disks={"the runs": None})
    assert "12 MiB are free" in about("disk", disks={"the runs": 12 * 2**20})
    assert about("disk", disks={}) == ""


def test_every_option_exists() -> None:
    """Advice names no option that the command line does not have."""
    from cohobate.config.grammar import flag
    from cohobate.config.groups import GROUPS

    known = {flag(name) for group in GROUPS for name in group.model_fields} | {"--out", "--shm-size=1g"}
    source = Path(TOPICS["GPU"].__code__.co_filename).read_text()
    named = {word.strip("`,:;()\"'.") for word in source.split() if word.lstrip("\"'(`").startswith("--")}
    assert len(named) > 5
    assert named <= known
