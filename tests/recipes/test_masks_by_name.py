"""Every method by name on a data set with masks: it works, or it is refused by name with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from dense_zoo import DENSE, toy_scenes

from cohobate.commands.listing import methods
from cohobate.commands.prepare import Prepared, prepare
from cohobate.recipes.catalogue import METHODS, SEGMENTING, TERMS, UNMASKED, refuse_masks
from cohobate.recipes.options import options
from cohobate.recipes.recipe import find

NARROW, WIDE = "dense:resnet8:width=8:layers=1", "dense:resnet8:width=12:layers=1"
MORE: dict[str, dict[str, Any]] = {
    "takd": {"assistants": (NARROW,)},
    "dgkd": {"assistants": (NARROW,)},
    "born_again": {"generations": 2},
}


def prepared(name: str, **given: Any) -> Prepared:
    teacher = {"teacher": (WIDE,)} if find(name).needs_teacher else {}
    chosen = {"model": NARROW, "epochs": 2, "batch_size": 8, "device": "cpu", **teacher, **given}
    return prepare(name, options(name, chosen), lambda config: toy_scenes())


def test_every_method_is_on_one_side() -> None:
    assert METHODS.keys() == SEGMENTING | UNMASKED.keys()
    assert not SEGMENTING & UNMASKED.keys()
    assert {name.split()[0].rstrip(",") for name in DENSE} | {"takd", "born_again"} == SEGMENTING


@pytest.mark.parametrize("name", sorted(SEGMENTING))
def test_it_takes_a_step_in_every_phase(name: str) -> None:
    """Forward, backward and the read-outs, as before every run."""
    ready = prepared(name, **MORE.get(name, {}))
    ready.check()
    assert ready.readouts()


@pytest.mark.parametrize("name", sorted(UNMASKED))
def test_it_is_refused_by_name(name: str) -> None:
    more = {"reskd": {"res_students": (NARROW,)}, "ensemble": {"members": (NARROW,)}}
    with pytest.raises(ValueError, match=rf"^{name} cannot learn from masks: it.*; `cohobate list methods`"):
        prepared(name, **more.get(name, {}))


@pytest.mark.parametrize(("name", "part"), [("kd+rkd", "rkd"), ("crd+cwd", "crd")])
def test_a_sum_is_refused_for_the_term_that_cannot(name: str, part: str) -> None:
    with pytest.raises(ValueError, match=f"^{part} cannot learn from masks: it compares pooled features"):
        refuse_masks(name)


def test_sums_and_methods_of_the_users_own_are_tried() -> None:
    refuse_masks("+".join(name for name in TERMS if name in SEGMENTING))
    refuse_masks("mine.py:Method")
    prepared("kd+at+cwd").check()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("frskd", {"sla": True}, "sla turns images.*not with masks"),
        ("frskd", {"features": "overhaul"}, "overhaul compares maps before their last ReLU"),
        ("cwd", {"stage": 0}, "stage 0 has no effect with maps logits"),
        ("baseline", {"label_smoothing": 0.1}, "label_smoothing 0.1 is for images with one label each"),
        ("kd", {"mixing": "cutmix"}, "mixing cutmix is for images with one label each"),
        ("baseline", {"class_weights": "balanced"}, "class_weights is for images with one label each"),
        ("kd", {"cache_teacher": "on", "augmentations": 1}, "--cache-teacher on is not possible"),
        ("baseline", {"model": "resnet8"}, "take one with a dense head: dense:resnet8"),
        ("kd", {"teacher": ("resnet8",)}, "take one with a dense head: dense:resnet8"),
    ],
)
def test_options_that_cannot_go_with_masks_are_refused(name: str, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(name, **given).check()


def test_the_list_of_methods_marks_those_that_learn_from_masks() -> None:
    table, after = methods()
    names, masks = (list(table.columns[i].cells) for i in (0, 1))
    assert {name for name, mark in zip(names, masks, strict=True) if mark} == SEGMENTING
    assert after[0].startswith("masks:")
