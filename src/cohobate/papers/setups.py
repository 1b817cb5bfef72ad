"""The published set-ups of ``--setup``; options on the command line take precedence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.objects import nearest


@dataclass(frozen=True)
class Setup:
    """Options of a published experiment.

    Attributes:
        source: paper and table, and what was taken from elsewhere.
        options: of every method's run.
        methods: method, or term of a sum -> options of its own.
    """

    source: str
    options: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, method: str) -> dict[str, Any]:
        """All options of a method's run."""
        return {**self.options, **self.own(method)}

    def own(self, method: str) -> dict[str, Any]:
        """The method's own options; those of a sum of terms bear the term's name."""
        if "+" not in method:
            return dict(self.methods.get(method, {}))
        terms = [part.strip() for part in method.split("+")]
        return {f"{term}_{k}": v for term in terms for k, v in self.methods.get(term, {}).items()}


def _slkd(teacher: str, student: str, lr: float, beta: float) -> Setup:
    """240 epochs; learning rate and milestones, missing in table 1, are of the benchmark that it cites."""
    return Setup(
        source=f"SLKD, tables 2 and 3: {teacher} to {student} on CIFAR-100",
        options={
            "data": "cifar100",
            "val_fraction": 0.0,
            "model": student,
            "teacher": (teacher,),
            "teacher_lr": 0.05,
            "epochs": 240,
            "batch_size": 64,
            "lr": lr,
            "nesterov": False,
            "weight_decay": 5e-4,
            "milestones": (150 / 240, 180 / 240, 210 / 240),
        },
        methods={"dkd": {"beta": beta}},
    )


_PAIRS = (
    # teacher, student, rate, beta of DKD in the benchmark's files (of the nearest pair where it has none)
    ("resnet32x4", "resnet8x4", 0.05, 8.0),
    ("resnet56", "resnet8", 0.05, 2.0),
    ("wrn_40_2", "wrn_40_1", 0.05, 6.0),
    ("wrn_40_2", "wrn_16_2", 0.05, 6.0),
    ("vgg13", "vgg11", 0.05, 6.0),
    ("vgg13", "vgg8", 0.05, 6.0),
    ("resnet32x4", "shufflenet_v2", 0.01, 8.0),
    ("resnet32x4", "shufflenet_v1", 0.01, 8.0),
    ("resnet50_cifar", "mobilenet_v2", 0.01, 8.0),
    ("vgg13", "mobilenet_v2", 0.01, 6.0),
    ("wrn_40_2", "shufflenet_v1", 0.01, 8.0),
)


def _diversity(data: str) -> Setup:
    return Setup(
        source=f"Multi-branch diversity (FFM + CD), tables 1 to 3 and 6: ResNet-32 on {data}; --model "
        "resnet110b, resnext50_32x4d, xception or shufflenet_v2 for the others",
        options={
            "data": data,
            "val_fraction": 0.0,
            "model": "resnet32",
            "epochs": 300,
            "batch_size": 128,
            "lr": 0.1,
            "nesterov": True,
            "weight_decay": 5e-4,
            "milestones": (0.5, 0.75),
        },
    )


_AUTHORS = "momentum 0.9 without Nesterov's form is of the authors' code"


def _frskd(
    about: str,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    milestones: tuple[float, ...] = (0.5, 0.75),
    **options: Any,
) -> Setup:
    """The options of section 4.1 for a data set; arguments hold those that differ between data sets."""
    shared = {"val_fraction": 0.0, "lr": 0.1, "nesterov": False, "weight_decay": 1e-4}
    return Setup(f"FRSKD, {about}", {**shared, **options, "milestones": milestones}, methods or {})


SETUPS: dict[str, Setup] = {
    "diversity/cifar10": _diversity("cifar10"),
    "diversity/cifar100": _diversity("cifar100"),
    **{f"slkd/{teacher}-{student}": _slkd(teacher, student, *rest) for teacher, student, *rest in _PAIRS},
    "frskd/cifar100": _frskd(
        "tables 1, 5, 6 and 8: WRN-16-2 on CIFAR-100; --model resnet18_cifar for table 1's other column, "
        f"5 and 8; {_AUTHORS}, and so is the order of WRN's batch norms",
        data="cifar100",
        model="wrn_16_2:order=frskd",
        epochs=200,
        batch_size=128,
    ),
    "frskd/tiny_imagenet": _frskd(
        "tables 1, 5 and 8: WRN-16-2 on TinyImageNet at 32x32; --data FOLDER; --model resnet18_cifar for "
        f"table 1's other column, 5 and 8; {_AUTHORS}, and so is the order of WRN's batch norms",
        {"frskd": {"alpha": 3.0}},
        data="./tiny_imagenet",
        image_size=32,
        model="wrn_16_2:order=frskd",
        epochs=200,
        batch_size=128,
    ),
    "frskd/fgvr": _frskd(
        "tables 2, 5 and 8: ResNet-18 on CUB200, MIT67, Stanford Dogs or Stanford 40 Actions; --data FOLDER; "
        f"{_AUTHORS}, and so are 224x224 pixels; weight 3 of cs_kd is of its paper",
        {"frskd": {"alpha": 1.0, "beta": 200.0}, "cs_kd": {"weight": 3.0}},
        data="./fgvr",
        image_size=224,
        model="torchvision:resnet18",
        epochs=200,
        batch_size=32,
    ),
    "frskd/imagenet": _frskd(
        "table 3: ResNet-18 on ImageNet; --data FOLDER, --model torchvision:resnet34 for the other row; "
        f"{_AUTHORS}; 224x224 pixels are ours",
        {"frskd": {"alpha": 1.0, "beta": 200.0}},
        (30 / 90, 60 / 90),
        data="./imagenet",
        image_size=224,
        model="torchvision:resnet18",
        epochs=90,
        batch_size=256,
    ),
    "frskd/table-7": _frskd(
        "table 7: a feature term + KD, ResNet-34 to ResNet-18 on CIFAR-100; the weights, "
        f"which it does not print, are our defaults; {_AUTHORS}",
        data="cifar100",
        model="resnet18_cifar",
        teacher=("resnet34_cifar",),
        epochs=200,
        batch_size=128,
    ),
}


def find_setup(name: str) -> Setup:
    """A set-up by name.

    Raises:
        ValueError: an unknown name, with the nearest.
    """
    if name not in SETUPS:
        near = nearest(name, SETUPS)
        raise ValueError(f"unknown set-up {name!r}; the nearest are {near} (`cohobate list setups`)")
    return SETUPS[name]
