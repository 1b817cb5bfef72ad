"""Weights of files: the benchmark's by name and by function, what may wrap them, what is refused.

The benchmark's networks are here once more, as naive functions of the tensors of a file: the names that
they read are the file's, and what they return is what our network must return.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from cohobate.core import Classifier, as_output
from cohobate.models.backbones.mobilenet import MobileNetV2
from cohobate.models.backbones.resnet import Basic, Bottleneck, ResNet
from cohobate.models.backbones.shufflenet import ShuffleNetV1, ShuffleNetV2
from cohobate.models.backbones.vgg import VGG
from cohobate.models.backbones.wrn import WideResNet
from cohobate.models.checkpoints import load_weights

K = 7

# ---------------------------------------------------------------- the benchmark's networks


class File:
    """Tensors by the benchmark's names, made at random when they are first read."""

    def __init__(self) -> None:
        self.tensors: OrderedDict[str, Tensor] = OrderedDict()

    def conv(self, x: Tensor, name: str, out: int, size: int, stride: int = 1, groups: int = 1) -> Tensor:
        fan_in = x.shape[1] // groups * size**2
        weight = torch.randn(out, x.shape[1] // groups, size, size) * (2 / fan_in) ** 0.5
        self.tensors[f"{name}.weight"] = weight
        return F.conv2d(x, weight, None, stride, size // 2, groups=groups)

    def bias(self, x: Tensor, name: str) -> Tensor:
        self.tensors[f"{name}.bias"] = bias = torch.randn(x.shape[1]) / 4
        return x + bias[:, None, None]

    def bn(self, x: Tensor, name: str) -> Tensor:
        channels = x.shape[1]
        self.tensors[f"{name}.weight"] = weight = torch.rand(channels) + 0.5
        self.tensors[f"{name}.bias"] = bias = torch.randn(channels) / 4
        self.tensors[f"{name}.running_mean"] = mean = torch.randn(channels) / 4
        self.tensors[f"{name}.running_var"] = var = torch.rand(channels) + 0.5
        self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(11)
        return F.batch_norm(x, mean, var, weight, bias)

    def fc(self, x: Tensor, name: str) -> Tensor:
        self.tensors[f"{name}.weight"] = weight = torch.randn(K, x.shape[1]) / x.shape[1] ** 0.5
        self.tensors[f"{name}.bias"] = bias = torch.randn(K) / 4
        return F.linear(x.mean((2, 3)), weight, bias)


def resnet(
    file: File, x: Tensor, blocks: tuple[int, ...], bottleneck: bool, shortcut: str, head: str
) -> Tensor:
    x = F.relu(file.bn(file.conv(x, "conv1", 8, 3), "bn1"))
    for stage, count in enumerate(blocks):
        width = 8 * 2**stage
        for i in range(count):
            name, stride = f"layer{stage + 1}.{i}", 2 if stage and not i else 1
            if bottleneck:
                y = F.relu(file.bn(file.conv(x, f"{name}.conv1", width, 1), f"{name}.bn1"))
                y = F.relu(file.bn(file.conv(y, f"{name}.conv2", width, 3, stride), f"{name}.bn2"))
                y = file.bn(file.conv(y, f"{name}.conv3", 4 * width, 1), f"{name}.bn3")
            else:
                y = F.relu(file.bn(file.conv(x, f"{name}.conv1", width, 3, stride), f"{name}.bn1"))
                y = file.bn(file.conv(y, f"{name}.conv2", width, 3), f"{name}.bn2")
            if x.shape != y.shape:
                x = file.conv(x, f"{name}.{shortcut}.0", y.shape[1], 1, stride)
                x = file.bn(x, f"{name}.{shortcut}.1")
            x = F.relu(x + y)
    return file.fc(x, head)


def wrn_16_2(file: File, x: Tensor) -> Tensor:
    x = file.conv(x, "conv1", 16, 3)
    for stage, width in ((1, 32), (2, 64), (3, 128)):
        for i in range(2):
            name, stride = f"block{stage}.layer.{i}", 2 if stage > 1 and i == 0 else 1
            activated = F.relu(file.bn(x, f"{name}.bn1"))
            y = file.conv(activated, f"{name}.conv1", width, 3, stride)
            y = file.conv(F.relu(file.bn(y, f"{name}.bn2")), f"{name}.conv2", width, 3)
            if i == 0:
                x = file.conv(activated, f"{name}.convShortcut", width, 1, stride)
            x = x + y
    return file.fc(F.relu(file.bn(x, "bn1")), "fc")


def vgg(file: File, x: Tensor, blocks: tuple[int, ...]) -> Tensor:
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512, 512), strict=True)):
        x = F.max_pool2d(x, 2) if stage in (1, 2, 3) else x
        for i in range(count):
            name = f"block{stage}.{3 * i}"
            x = file.bias(file.conv(x, name, width, 3), name)
            x = F.relu(file.bn(x, f"block{stage}.{3 * i + 1}"))
    return file.fc(x, "classifier")


def mobile_half(file: File, x: Tensor) -> Tensor:
    x = F.relu(file.bn(file.conv(x, "conv1.0", 16, 3, 2), "conv1.1"))
    blocks = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2))
    for group, (expansion, out, count, first) in enumerate((*blocks, (6, 160, 1, 1))):
        for i in range(count):
            name, width, stride = f"blocks.{group}.{i}.conv", expansion * x.shape[1], 1 if i else first
            y = F.relu(file.bn(file.conv(x, f"{name}.0", width, 1), f"{name}.1"))
            y = F.relu(file.bn(file.conv(y, f"{name}.3", width, 3, stride, width), f"{name}.4"))
            y = file.bn(file.conv(y, f"{name}.6", out, 1), f"{name}.7")
            x = x + y if x.shape == y.shape else y
    x = F.relu(file.bn(file.conv(x, "conv2.0", 1280, 1), "conv2.1"))
    return file.fc(x, "classifier.0")


def shuffled(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).reshape(b, c, h, w)


def shuffle_v1(file: File, x: Tensor) -> Tensor:
    x = F.relu(file.bn(file.conv(x, "conv1", 24, 1), "bn1"))
    for stage, count, out in ((1, 4, 240), (2, 8, 480), (3, 4, 960)):
        for i in range(count):
            name, stride = f"layer{stage}.{i}", 1 if i else 2
            groups, branch = 1 if x.shape[1] == 24 else 3, out if i else out - x.shape[1]
            y = file.conv(x, f"{name}.conv1", branch // 4, 1, groups=groups)
            y = shuffled(F.relu(file.bn(y, f"{name}.bn1")), groups)
            y = file.conv(y, f"{name}.conv2", branch // 4, 3, stride, branch // 4)
            y = F.relu(file.bn(y, f"{name}.bn2"))
            y = file.bn(file.conv(y, f"{name}.conv3", branch, 1, groups=3), f"{name}.bn3")
            x = F.relu(x + y if i else torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1))
    return file.fc(x, "linear")


def shuffle_v2(file: File, x: Tensor) -> Tensor:
    def unit(x: Tensor, name: str, number: int, out: int, size: int = 1, stride: int = 1) -> Tensor:
        x = file.conv(x, f"{name}.conv{number}", out, size, stride, out if size == 3 else 1)
        return file.bn(x, f"{name}.bn{number}")

    x = F.relu(file.bn(file.conv(x, "conv1", 24, 1), "bn1"))
    for stage, count, out in ((1, 3, 116), (2, 7, 232), (3, 3, 464)):
        name, half = f"layer{stage}.0", out // 2
        left = F.relu(unit(unit(x, name, 1, x.shape[1], 3, 2), name, 2, half))
        right = unit(F.relu(unit(x, name, 3, half)), name, 4, half, 3, 2)
        x = shuffled(torch.cat([left, F.relu(unit(right, name, 5, half))], 1), 2)
        for i in range(1, count + 1):
            name = f"layer{stage}.{i}"
            y = unit(F.relu(unit(x[:, half:], name, 1, half)), name, 2, half, 3)
            x = shuffled(torch.cat([x[:, :half], F.relu(unit(y, name, 3, half))], 1), 2)
    x = F.relu(file.bn(file.conv(x, "conv2", 1024, 1), "bn2"))
    return file.fc(x, "linear")


class Case(NamedTuple):
    """A network of ours, the benchmark's as a function, and where some of its tensors must land."""

    ours: Callable[[], nn.Module]
    theirs: Callable[[File, Tensor], Tensor]
    landed: dict[str, str]


def small(block: Any, *blocks: int) -> nn.Module:
    return ResNet(block, blocks, K, 8, (8, 16, 32, 64)[: len(blocks)])


CASES = {
    "resnet": Case(
        lambda: small(Basic, 2, 1, 2),
        lambda f, x: resnet(f, x, (2, 1, 2), False, "downsample", "fc"),
        {
            "conv1.weight": "conv.weight",
            "bn1.running_mean": "bn.running_mean",
            "layer1.1.bn1.bias": "stages.0.1.bn1.bias",
            "layer2.0.downsample.0.weight": "stages.1.0.shortcut.0.weight",
            "layer2.0.downsample.1.running_var": "stages.1.0.shortcut.1.running_var",
            "layer3.1.conv2.weight": "stages.2.1.conv2.weight",
            "fc.bias": "fc.bias",
        },
    ),
    "bottleneck resnet": Case(
        lambda: small(Bottleneck, 2, 1, 1),
        lambda f, x: resnet(f, x, (2, 1, 1), True, "downsample", "fc"),
        {
            "layer1.0.downsample.0.weight": "stages.0.0.shortcut.0.weight",
            "layer3.0.bn3.weight": "stages.2.0.bn3.weight",
        },
    ),
    "four-stage resnet": Case(
        lambda: small(Basic, 1, 1, 2, 1),
        lambda f, x: resnet(f, x, (1, 1, 2, 1), False, "shortcut", "linear"),
        {
            "layer4.0.shortcut.1.running_var": "stages.3.0.shortcut.1.running_var",
            "layer3.1.conv1.weight": "stages.2.1.conv1.weight",
            "linear.weight": "fc.weight",
        },
    ),
    "four-stage bottleneck resnet": Case(
        lambda: small(Bottleneck, 1, 1, 1, 1),
        lambda f, x: resnet(f, x, (1, 1, 1, 1), True, "shortcut", "linear"),
        {"layer4.0.conv3.weight": "stages.3.0.conv3.weight", "linear.bias": "fc.bias"},
    ),
    "wrn": Case(
        lambda: WideResNet(16, 2, K),
        wrn_16_2,
        {
            "conv1.weight": "conv.weight",
            "block1.layer.0.bn1.running_var": "stages.0.0.bn1.running_var",
            "block2.layer.0.convShortcut.weight": "stages.1.0.shortcut.weight",
            "block3.layer.1.conv2.weight": "stages.2.1.conv2.weight",
            "bn1.weight": "bn.weight",
            "fc.weight": "fc.weight",
        },
    ),
    "vgg": Case(
        lambda: VGG((2, 1, 1, 1, 1), K),
        lambda f, x: vgg(f, x, (2, 1, 1, 1, 1)),
        {
            "block0.3.weight": "stages.0.3.weight",
            "block0.4.running_mean": "stages.0.4.running_mean",
            "block4.0.bias": "stages.4.0.bias",
            "classifier.weight": "fc.weight",
        },
    ),
    "mobilenet_v2": Case(
        lambda: MobileNetV2(K),
        mobile_half,
        {
            "conv1.0.weight": "conv.weight",
            "conv1.1.weight": "bn.weight",
            "blocks.0.0.conv.0.weight": "stages.0.0.conv1.weight",
            "blocks.1.1.conv.4.running_var": "stages.0.2.bn2.running_var",
            "blocks.2.2.conv.3.weight": "stages.1.2.conv2.weight",
            "blocks.3.3.conv.1.bias": "stages.2.3.bn1.bias",
            "blocks.4.1.conv.6.weight": "stages.2.5.conv3.weight",
            "blocks.5.0.conv.7.running_mean": "stages.3.0.bn3.running_mean",
            "blocks.6.0.conv.6.weight": "stages.3.3.conv3.weight",
            "conv2.0.weight": "conv_last.weight",
            "conv2.1.running_var": "bn_last.running_var",
            "classifier.0.bias": "fc.bias",
        },
    ),
    "shufflenet_v1": Case(
        lambda: ShuffleNetV1(K),
        shuffle_v1,
        {
            "bn1.bias": "bn.bias",
            "layer2.7.conv3.weight": "stages.1.7.conv3.weight",
            "layer3.0.bn2.running_mean": "stages.2.0.bn2.running_mean",
            "linear.weight": "fc.weight",
        },
    ),
    "shufflenet_v2": Case(
        lambda: ShuffleNetV2(K),
        shuffle_v2,
        {
            "conv1.weight": "conv.weight",
            "layer1.0.conv5.weight": "stages.0.0.conv5.weight",
            "layer3.3.conv2.weight": "stages.2.3.conv2.weight",
            "conv2.weight": "conv_last.weight",
            "bn2.running_var": "bn_last.running_var",
            "linear.bias": "fc.bias",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_benchmark_file(name: str, tmp_path: Path) -> None:
    case, file, x = CASES[name], File(), torch.randn(3, 3, 16, 16)
    logits = case.theirs(file, x)
    network = case.ours()
    path = tmp_path / "ckpt_epoch_240.pth"
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9).state_dict()
    accuracy = torch.tensor(72.34)
    torch.save({"epoch": 240, "model": file.tensors, "accuracy": accuracy, "optimizer": optimizer}, path)

    report = load_weights(network, path)

    state = network.state_dict()
    assert (report.path, report.layout, report.kept) == (path, "CIFAR benchmark", [])
    assert report.matched == len(file.tensors) == len(state)
    for theirs, ours in case.landed.items():
        assert report.renamed.get(theirs, theirs) == ours
        assert torch.equal(state[ours], file.tensors[theirs])
    for key, tensor in file.tensors.items():
        assert torch.equal(state[report.renamed.get(key, key)], tensor)
    assert logits.std() > 0.1
    torch.testing.assert_close(as_output(network.eval()(x)).logits, logits, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- what may wrap weights


def tiny(classes: int = K) -> nn.Module:
    return ResNet(Basic, 1, classes, 4, (4, 8, 16))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}


def benchmarks() -> dict[str, Tensor]:
    """Weights of ``tiny()`` under the benchmark's names."""
    state = tiny().state_dict()
    block = ["conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1"]
    modules = [
        "conv1",
        "bn1",
        *(f"layer{s}.0.{m}" for s in (1, 2, 3) for m in block[: 4 if s == 1 else 6]),
        "fc",
    ]
    tensors = iter(state.values())
    file = {}
    for module in modules:
        norm = "bn" in module or module.endswith("downsample.1")
        leaves = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
        for leaf in leaves if norm else leaves[:2] if module == "fc" else leaves[:1]:
            file[f"{module}.{leaf}"] = next(tensors)
    assert next(tensors, None) is None
    return file


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".tar", ".bin", ""])
def test_own_keys_of_any_kind_of_file(suffix: str, tmp_path: Path) -> None:
    network, other, path = tiny(), tiny(), tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(weights(network), path)
    report = load_weights(other, str(path))
    assert same(weights(other), weights(network))
    assert (report.path, report.layout, report.renamed) == (path, "own keys", {})
    assert str(report) == f"loaded {len(weights(network))} tensors of weights{suffix} (own keys)"


def test_an_adapted_network_has_its_own_keys(tmp_path: Path) -> None:
    """Of a library, say: its names are taken as they are, also where the benchmark has them too."""

    def network() -> nn.Module:
        parts = {"conv1": nn.Conv2d(3, 4, 1), "bn1": nn.BatchNorm2d(4), "classifier": nn.Conv2d(4, K, 1)}
        return Classifier(nn.Sequential(OrderedDict(parts)))

    one, other = network(), network()
    assert "conv1.weight" in one.state_dict()
    torch.save(weights(one), tmp_path / "w.pth")
    assert load_weights(other, tmp_path / "w.pth").renamed == {}
    assert same(weights(other), weights(one))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_what_wrapped_the_network_of_the_file(prefix: str, tmp_path: Path) -> None:
    network, other = tiny(), tiny()
    torch.save({"state_dict": {prefix + k: v for k, v in weights(network).items()}}, tmp_path / "w.pth")
    report = load_weights(other, tmp_path / "w.pth")
    assert same(weights(other), weights(network))
    assert report.layout == "own keys"
    assert report.renamed[f"{prefix}fc.weight"] == "fc.weight"
    torch.save({prefix + k: v for k, v in benchmarks().items()}, tmp_path / "w.pth")
    report = load_weights(other, tmp_path / "w.pth")
    assert report.renamed[f"{prefix}layer2.0.downsample.1.bias"] == "stages.1.0.shortcut.1.bias"


def test_what_wraps_the_network(tmp_path: Path) -> None:
    network, wrapped = tiny(), nn.DataParallel(tiny())
    torch.save(weights(network), tmp_path / "w.pth")
    assert load_weights(wrapped, tmp_path / "w.pth").renamed["fc.weight"] == "module.fc.weight"
    assert same(weights(wrapped.module), weights(network))


@pytest.mark.parametrize("beside", ["head", "_orig_mod"])
def test_a_prefix_of_only_some_keys_is_part_of_the_name(beside: str, tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.ModuleDict({"module": nn.Linear(2, 2), beside: nn.Linear(2, K)})

    one, other = network(), network()
    torch.save(weights(one), tmp_path / "w.pth")
    assert load_weights(other, tmp_path / "w.pth").renamed == {}
    torch.save({f"module.{k}": v for k, v in weights(one).items()}, tmp_path / "w.pth")
    assert load_weights(other, tmp_path / "w.pth").renamed["module.module.bias"] == "module.bias"
    assert same(weights(other), weights(one))


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "net", "network", "student"])
def test_where_a_file_keeps_its_weights(key: str, tmp_path: Path) -> None:
    network, other = tiny(), tiny()
    held = {"epoch": 3, "best": 0.5, "model_ema": weights(tiny()), "optimizer": {"state": {}}}
    torch.save(held | {key: weights(network)}, tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth")
    assert same(weights(other), weights(network))


@pytest.mark.parametrize(
    "order", [("model", "state_dict"), ("state_dict", "model_state_dict"), ("net", "student")]
)
def test_the_first_of_several_counts(order: tuple[str, str], tmp_path: Path) -> None:
    first, second, other = tiny(), tiny(), tiny()
    torch.save({order[1]: weights(second), order[0]: weights(first)}, tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth")
    assert same(weights(other), weights(first))
    torch.save({order[0]: "resnet8", order[1]: weights(second)}, tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth")
    assert same(weights(other), weights(second))


def test_old_file_without_counters(tmp_path: Path) -> None:
    path, network = tmp_path / "old.pth", tiny()
    file = {key: v for key, v in benchmarks().items() if not key.endswith("num_batches_tracked")}
    torch.save({"model": file}, path, _use_new_zipfile_serialization=False)
    state = network.state_dict()
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    for key in counters:
        state[key].fill_(5)
    report = load_weights(network, path)
    assert report.kept == counters
    assert all(network.state_dict()[key] == 5 for key in counters)
    assert torch.equal(network.state_dict()["stages.2.0.shortcut.1.bias"], file["layer3.0.downsample.1.bias"])
    said = (
        f"(CIFAR benchmark: {len(file) - 2} renamed); {len(counters)} batch-norm counters are not in the file"
    )
    assert str(report) == f"loaded {len(file)} tensors of old.pth {said}"


# ---------------------------------------------------------------- what is refused


def refused(path: Path, message: str, network: nn.Module | None = None) -> None:
    """Refused with that message, and the network is as it was."""
    network = tiny() if network is None else network
    before = weights(network)
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(network, path)
    assert str(path) in str(caught.value)
    assert same(weights(network), before)


def test_missing_unknown_and_other_shapes(tmp_path: Path) -> None:
    path, file = tmp_path / "w.pth", weights(tiny())
    del file["fc.bias"]
    torch.save(file, path)
    refused(path, r"do not fit ResNet \(read as own keys\): 1 missing in the file \(fc.bias\)$")
    torch.save(weights(tiny()) | {f"more.{i}": torch.zeros(1) for i in range(5)}, path)
    refused(path, r": 5 unknown to the network \(more.0, more.1, more.2\)$")
    refused(path, r"do not fit ReLU \(read as own keys\): 61 unknown to the network", nn.ReLU())
    kernel = {"conv.weight": torch.zeros(4, 3, 5, 5)}
    torch.save(weights(tiny()) | kernel, path)
    refused(path, r": 1 of another shape \(conv.weight: file \(4, 3, 5, 5\) network \(4, 3, 3, 3\)\)$")
    file |= kernel | {"extra": torch.zeros(2)}
    torch.save(file, path)
    refused(
        path,
        r": 1 missing in the file \(fc.bias\); 1 unknown to the network \(extra\); 1 of another shape "
        r"\(conv.weight: file \(4, 3, 5, 5\) network \(4, 3, 3, 3\)\)$",
    )


def test_the_nearest_names_are_blamed(tmp_path: Path) -> None:
    path, file = tmp_path / "w.pth", benchmarks()
    del file["layer2.0.downsample.0.weight"]
    file["layer4.0.conv1.weight"] = torch.zeros(1)
    torch.save(file, path)
    refused(
        path,
        r"\(read as CIFAR benchmark\): 1 missing in the file \(stages.1.0.shortcut.0.weight\); "
        r"1 unknown to the network \(layer4.0.conv1.weight\)$",
    )


def test_no_tensor_is_dropped_when_two_get_one_name(tmp_path: Path) -> None:
    file = benchmarks()
    torch.save(file | {"linear.weight": file["fc.weight"]}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", r"read as own keys.* missing .* unknown to the network")


def test_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(benchmarks(), path)
    refused(path, r"\(read as CIFAR benchmark\): the file predicts 7 classes, the network 10$", tiny(10))
    save_file(weights(tiny(100)), path.with_suffix(".safetensors"))
    refused(path.with_suffix(".safetensors"), r": the file predicts 100 classes, the network 7$")
    torch.save(weights(ResNet(Basic, 1, K, 4, (4, 8, 12))), path)
    refused(path, r"\): 16 of another shape \(stages.2.0.conv1.weight: file \(12, 8, 3, 3\) network \(16,")
    torch.save(weights(ResNet(Basic, 2, 100, 4, (4, 8, 16))), path)
    refused(path, r"\): 36 unknown to the network .*; 2 of another shape \(fc.weight: file \(100, 16\)")


class Harm:
    """What it pickles to opens a file for writing when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.victim), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(zipped: bool, tmp_path: Path) -> None:
    path, victim = tmp_path / "w.pth", tmp_path / "victim"
    held = {"model": weights(tiny()), "more": Harm(victim)}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    refused(
        path, r"holds Python objects \(io.open\), which are not loaded: they can run any code\. .*torch\.save"
    )
    assert not victim.exists()
    torch.load(path, weights_only=False)["more"].close()
    assert victim.exists()


def test_a_whole_network_is_code(tmp_path: Path) -> None:
    torch.save(tiny(), tmp_path / "w.pth")
    refused(tmp_path / "w.pth", r"holds Python objects \(cohobate.models.backbones.resnet.ResNet\)")


@pytest.mark.parametrize("share", [0, 0.0005, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_file(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(weights(tiny()), path)
    else:
        torch.save(weights(tiny()), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(
        path,
        f"w.{path.suffix[1:]} is truncated or not a "
        + ("safetensors" if kind == "safetensors" else "file of"),
    )


def test_no_weights_at_all(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("<html>404: Not Found</html>")
    refused(path, "is truncated or not a file of torch.save")
    torch.save({"epoch": 3, "model_ema": weights(tiny())}, path)
    refused(
        path, r"holds no weights .* under model, .*; it holds epoch, model_ema: save the part that you mean"
    )
    torch.save({"model": {}, "state_dict": {"epoch": 3}}, path)
    refused(path, "holds no weights .*; it holds model, state_dict")
    torch.save([torch.zeros(3)], path)
    refused(path, "holds no weights .*; it holds list")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.pth"):
        load_weights(tiny(), tmp_path / "nowhere.pth")
