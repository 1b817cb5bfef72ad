"""Networks of timm and torchvision by name: what they give, beside the library's own."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from cohobate.core import Batch, Classifier, Frozen, Gate, fold, gate_names, run
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.models.build import build
from cohobate.models.registry import parse
from cohobate.models.surgery.adapt import Adapted, adapt

CLASSES = 10
SIZE = 64
SHAPE = (3, SIZE, SIZE)


@dataclass(frozen=True)
class Expected:
    """Stages as channels and size at 64 x 64, residual branches, classifier, width of its input."""

    names: str
    maps: list[tuple[int, int]]
    gates: int
    head: str | None
    pooled: int | None


RESNET = "layer1 layer2 layer3 layer4"
BASIC = [(64, 16), (128, 8), (256, 4), (512, 2)]
BOTTLENECK = [(256, 16), (512, 8), (1024, 4), (2048, 2)]
EFFICIENT = "blocks.1 blocks.2 blocks.4 blocks.6"
DENSE = [(256, 16), (512, 8), (1024, 4), (1024, 2)]

# timm: channels, strides and modules are the last four of its feature_info; ViT has one stride only.
# Branches: He et al. table 1; EfficientNet, MobileNet: blocks of stride 1 whose width stays.
NETWORKS = {
    "timm:resnet18": Expected(RESNET, BASIC, 8, "fc", 512),
    "timm:resnet50": Expected(RESNET, BOTTLENECK, 16, "fc", 2048),
    "timm:resnext50_32x4d": Expected(RESNET, BOTTLENECK, 16, "fc", 2048),
    "timm:efficientnet_b0": Expected(
        EFFICIENT, [(24, 16), (40, 8), (112, 4), (320, 2)], 9, "classifier", 1280
    ),
    "timm:efficientnet_b1": Expected(
        EFFICIENT, [(24, 16), (40, 8), (112, 4), (320, 2)], 16, "classifier", 1280
    ),
    "timm:mobilenetv3_small_100": Expected(
        "blocks.0 blocks.1 blocks.3 blocks.5", [(16, 16), (24, 8), (48, 4), (576, 2)], 6, "classifier", 1024
    ),
    "timm:convnext_atto": Expected(
        "stages.0 stages.1 stages.2 stages.3", [(40, 16), (80, 8), (160, 4), (320, 2)], 12, "head.fc", 320
    ),
    "timm:vit_tiny_patch16_224:img_size=64": Expected(
        "blocks.2 blocks.5 blocks.8 blocks.11", [(192, 4)] * 4, 24, "head", 192
    ),
    "timm:regnety_002": Expected("s1 s2 s3 s4", [(24, 16), (56, 8), (152, 4), (368, 2)], 13, "head.fc", 368),
    "timm:densenet121": Expected(
        "features.denseblock1 features.denseblock2 features.denseblock3 features.norm5", DENSE, 0,
        "classifier", 1024,
    ),
    "timm:legacy_xception": Expected(
        "block2.rep.0 block3.rep.0 block12.rep.0 act4", [(128, 15), (256, 8), (728, 4), (2048, 2)], 0,
        "fc", 2048,
    ),
    "timm:vgg11_bn": Expected(
        "features.13 features.20 features.27 features.28", [(256, 16), (512, 8), (512, 4), (512, 2)], 0,
        "head.fc", 4096,
    ),
    "torchvision:resnet18": Expected(RESNET, BASIC, 8, "fc", 512),
    "torchvision:resnet34": Expected(RESNET, BASIC, 16, "fc", 512),
    "torchvision:resnet50": Expected(RESNET, BOTTLENECK, 16, "fc", 2048),
    "torchvision:resnext50_32x4d": Expected(RESNET, BOTTLENECK, 16, "fc", 2048),
    "torchvision:efficientnet_b0": Expected(
        "features.2 features.3 features.5 features.8", [(24, 16), (40, 8), (112, 4), (1280, 2)], 9,
        "classifier.1", 1280,
    ),
    "torchvision:mobilenet_v2": Expected(
        "features.3 features.6 features.13 features.18", [(24, 16), (32, 8), (96, 4), (1280, 2)], 10,
        "classifier.1", 1280,
    ),
    "torchvision:mobilenet_v3_small": Expected(
        "features.1 features.3 features.8 features.12", [(16, 16), (24, 8), (48, 4), (576, 2)], 6,
        "classifier.3", 1024,
    ),
    "torchvision:convnext_tiny": Expected(
        "features.1 features.3 features.5 features.7", [(96, 16), (192, 8), (384, 4), (768, 2)], 18,
        "classifier.2", 768,
    ),
    "torchvision:densenet121": Expected(
        "features.denseblock1 features.denseblock2 features.denseblock3 features.denseblock4", DENSE, 0,
        "classifier", 1024,
    ),
    "torchvision:regnet_y_400mf": Expected(
        "trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output.block4",
        [(48, 16), (104, 8), (208, 4), (440, 2)], 16, "fc", 440,
    ),
    "torchvision:shufflenet_v2_x1_0": Expected(
        "stage2 stage3 stage4", [(116, 8), (232, 4), (464, 2)], 0, "fc", 1024
    ),
    "torchvision:vgg11_bn": Expected(
        "features.6 features.13 features.20 features.27", [(128, 32), (256, 16), (512, 8), (512, 4)], 0,
        "classifier.6", 4096,
    ),
    # Its classifier is a convolution; its maps are not padded.
    "torchvision:squeezenet1_1": Expected(
        "features.1 features.4 features.7 features.12", [(64, 31), (128, 15), (256, 7), (512, 3)], 0, None,
        None,
    ),
    # Channels come last: no stage can be told from the shapes, and one StochasticDepth serves two branches.
    "torchvision:swin_t": Expected("", [], 0, "head", 768),
}  # fmt: skip

every = pytest.mark.parametrize("spec", NETWORKS)
gated = pytest.mark.parametrize("spec", [spec for spec, expected in NETWORKS.items() if expected.gates])


def bare(spec: str, classes: int = CLASSES) -> nn.Module:
    """The library's own network, of the same options, untouched."""
    name, options = parse(spec)
    library, _, name = name.partition(":")
    if library == "timm":
        return timm.create_model(name, num_classes=classes, **options)
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **options)


def made(spec: str) -> Adapted:
    network = build(spec, CLASSES, shape=SHAPE)
    assert isinstance(network, Adapted)
    return network


def images(number: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(number, *SHAPE, dtype=torch.float64).to(dtype)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def out_of_place(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return network


def stages_by_hand(network: Any, names: tuple[str, ...], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and stages: by timm's own interface, else by hooks that copy."""
    if hasattr(network, "forward_intermediates"):
        modules = [info["module"] for info in network.feature_info]
        indices = [modules.index(name) for name in names]
        last, stages = network.forward_intermediates(x, indices=indices)
        return network.forward_head(last), stages
    found: list[Tensor] = []
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda m, i, o: found.append(o.clone()))
    return network(x), found


def stirred(network: nn.Module) -> nn.Module:
    """In float64, nothing zero or one by chance: last norms and scales of branches start so."""
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter) + (0.5 if parameter.dim() < 2 else 0.0))
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.1 * torch.rand_like(buffer))
    return network


def test_every_family_is_here() -> None:
    assert len(NETWORKS) == 26
    assert sum(spec.startswith("timm:") for spec in NETWORKS) == 12
    assert sum(expected.gates > 0 for expected in NETWORKS.values()) == 18


@every
def test_network_is_the_librarys(spec: str) -> None:
    expected, network, plain = NETWORKS[spec], made(spec), bare(spec)
    assert network.stage_names == tuple(expected.names.split())
    assert network.head == expected.head
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    assert len(gates) == expected.gates
    assert count(network) == count(plain)
    assert list(network.state_dict()) == list(plain.state_dict())

    network.load_state_dict(plain.state_dict())
    twin = out_of_place(plain)
    x = images()
    for training in (False, True):
        network.train(training), twin.train(training)
        torch.manual_seed(1)
        output = network(x)
        torch.manual_seed(1)
        logits, stages = stages_by_hand(twin, network.stage_names, x)
        torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(list(output.stages), stages, rtol=1e-5, atol=1e-6)
    assert [(s.shape[1], s.shape[2]) for s in output.stages] == expected.maps
    assert all(s.shape[2] == s.shape[3] for s in output.stages)
    if expected.pooled is None:
        assert output.pooled is None
    else:
        assert output.pooled.shape == (2, expected.pooled)
        assert isinstance(network.head, str)
        head = network.network.get_submodule(network.head)
        torch.testing.assert_close(head(output.pooled), output.logits)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value, msg=key)

    sum(part.mean() for part in (output.logits, *output.stages)).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("spec", [spec for spec in NETWORKS if spec.startswith("timm:")])
def test_stages_are_what_timm_says(spec: str) -> None:
    info = bare(spec).feature_info
    if "vit" not in spec:
        stages = NETWORKS[spec]
        found = [
            (name, channels, round(SIZE / size))
            for name, (channels, size) in zip(stages.names.split(), stages.maps, strict=True)
        ]
        assert found == [(f["module"], f["num_chs"], f["reduction"]) for f in list(info)[-4:]]


@gated
def test_half_of_every_branch_folds(spec: str) -> None:
    network = stirred(made(spec)).eval()
    x = images(dtype=torch.float64)
    names = gate_names(network)
    half = {name: torch.tensor(0.5, dtype=torch.float64) for name in names}
    with torch.no_grad():
        gated, folded = run(network, x, gates=half), fold(network, dict.fromkeys(names, 0.5))
        scale = float(gated.logits.abs().max())
        torch.testing.assert_close(folded(x).logits, gated.logits, rtol=1e-8, atol=1e-8 * scale)
        assert not torch.allclose(gated.logits, network(x).logits, rtol=1e-2, atol=1e-2 * scale)
    plain = bare(spec).double().eval()
    plain.load_state_dict(folded.state_dict())
    torch.testing.assert_close(plain(x), folded(x).logits, rtol=1e-8, atol=1e-8 * scale)


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ("timm:resnext50_32x4d", 25_028_904), ("torchvision:resnext50_32x4d", 25_028_904),
        ("timm:legacy_xception", 22_855_952),
        ("timm:resnet34", 21_797_672), ("torchvision:resnet34", 21_797_672),
    ],
)  # fmt: skip
def test_sizes_at_1000_classes(spec: str, parameters: int) -> None:
    """What the built-in networks of these names are derived from."""
    assert count(bare(spec, 1000)) == parameters


def test_levels_of_timm_may_be_named_by_number() -> None:
    adapted = adapt(bare("timm:resnet18"), stages=[0, 2], shape=SHAPE)
    assert [tuple(s.shape[1:]) for s in adapted(images()).stages] == [(64, 32, 32), (128, 8, 8)]
    levels = r"from 0 to 4, shallow to deep \(0 act1, 1 layer1, 2 layer2, 3 layer3, 4 layer4\)"
    for wrong in ([2, 5], [2, 1], [-1]):
        with pytest.raises(ValueError, match=levels):
            adapt(bare("timm:resnet18"), stages=wrong, shape=SHAPE)
    by_path = adapt(bare("timm:resnet18"), stages=["layer1.0", "layer2"], shape=SHAPE)
    assert [tuple(s.shape[1:]) for s in by_path(images()).stages] == [(64, 16, 16), (128, 8, 8)]


# ---------------------------------------------------------------- what they live among


COMPILED = [
    "timm:test_resnet", "timm:vit_tiny_patch16_224:img_size=64:depth=2", "torchvision:mobilenet_v3_small",
    "torchvision:resnet18",
]  # fmt: skip


@pytest.mark.parametrize("spec", COMPILED)
def test_compiled_equals_eager_in_one_graph(spec: str) -> None:
    eager = stirred(made(spec)).eval()  # a compiled dropout draws other numbers
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    x = images(dtype=torch.float64)
    one, two = eager(x), compiled(x)
    torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-8)
    for output in (one, two):
        sum(part.square().mean() for part in (output.logits, *output.stages)).backward()  # type: ignore[union-attr]
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-8)
    assert counter.frame_count == 1


@pytest.mark.parametrize("spec", ["timm:test_resnet"])
def test_self_guidance_compiles_into_one_graph(spec: str) -> None:
    eager = SelfGuidance(stirred(made(spec)))
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    batch = Batch((images(4, torch.float64),), torch.arange(4))
    found = []
    for method in (eager, compiled):
        torch.manual_seed(1)
        found.append(method(batch))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-8)
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # the exporter's own code
@pytest.mark.parametrize("spec", ["timm:test_resnet", "timm:mobilenetv3_small_050", "torchvision:resnet18"])
def test_onnx_runtime_gives_the_logits(spec: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = Classifier(made(spec)).eval()
    plain = bare(spec).eval()
    plain.load_state_dict(network.state_dict())
    file = tmp_path / "network.onnx"
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network, (images(),), file, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = images(5)
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), plain(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", ["timm:mobilenetv3_small_100", "torchvision:mobilenet_v3_small"])
def test_frozen_teacher_and_copy(spec: str) -> None:
    network = made(spec).eval()
    teacher = Frozen(network).train()
    x = images()
    torch.testing.assert_close(teacher(x), network(x))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert teacher(x).stages[0].any()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("name", ["resnet81", "efficientnet_bo", ""])
def test_an_unknown_name_has_three_nearest(library: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{library} has no model '{name}'; the nearest are ") as error:
        build(f"{library}:{name}", CLASSES)
    near = str(error.value).partition("the nearest are ")[2].split(", ")
    known = timm.list_models() if library == "timm" else torchvision.models.list_models()
    assert len(set(near)) == 3
    assert all(n.startswith(f"{library}:") and n.partition(":")[2] in known for n in near)
    if name == "resnet81":
        assert f"{library}:resnet18" in near


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_an_option_that_the_library_does_not_know(library: str) -> None:
    with pytest.raises(ValueError, match=f"{library}:resnet18 does not take these options: .*'nonsense'"):
        build(f"{library}:resnet18:nonsense=3", CLASSES, shape=SHAPE)


def test_images_of_another_size_than_the_transformers() -> None:
    with pytest.raises(ValueError, match=r"not take images of 3 x 64 x 64: .* doesn't match model \(224\)"):
        build("timm:vit_tiny_patch16_224", CLASSES, shape=SHAPE)


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_googlenet_returns_a_tuple_in_training_unless_told_otherwise() -> None:
    with pytest.raises(ValueError, match=r"GoogLeNet: .* got GoogLeNetOutputs; wrap the network"):
        build("torchvision:googlenet", CLASSES, shape=SHAPE)
    network = build("torchvision:googlenet:aux_logits=false:init_weights=false", CLASSES, shape=SHAPE)
    assert network.stage_names == ("conv3", "inception3b", "inception4e", "inception5b")


@pytest.mark.parametrize("name", ["seresnet18", "ecaresnet26t"])
def test_attention_after_the_last_norm_leaves_no_gates_and_says_why(name: str) -> None:
    network = build(f"timm:{name}", CLASSES, shape=SHAPE)
    why = "gate 'layer1.0.drop_path': scaling the layer before it does not scale the branch (an activation"
    with pytest.raises(ValueError, match=re.escape(f"Adapted has no gates: {why}")):
        gate_names(network)
    with pytest.raises(ValueError, match=re.escape(why)):
        SelfGuidance(network)


# ---------------------------------------------------------------- weights


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_that_cannot_be_fetched(library: str, offline: Path) -> None:
    options = {"cache_dir": str(offline)} if library == "timm" else {}
    message = (
        rf"the pretrained weights of {library}:resnet18 could not be fetched \(.+\); with a file of them"
    )
    with pytest.raises(ValueError, match=f"{message}: {library}:resnet18:weights=FILE"):
        build(f"{library}:resnet18:pretrained", CLASSES, shape=SHAPE, **options)


def same(one: nn.Module, state: dict[str, Tensor], without: str = "nothing") -> bool:
    mine = one.state_dict()
    return mine.keys() == state.keys() and all(
        torch.equal(mine[key], value) for key, value in state.items() if not key.startswith(without)
    )


@pytest.mark.parametrize("classes", [CLASSES, 1000])
def test_pretrained_of_torchvision_gets_a_head_of_ours(classes: int, offline: Path) -> None:
    source = bare("torchvision:mobilenet_v3_small", 1000).state_dict()
    (offline / "hub" / "checkpoints").mkdir(parents=True)
    weights = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT
    torch.save(source, offline / "hub" / "checkpoints" / Path(weights.url).name)
    network = build("torchvision:mobilenet_v3_small:pretrained", classes, shape=SHAPE)
    head = network.network.classifier[3]
    assert same(network, source, without="nothing" if classes == 1000 else "classifier.3")
    assert torch.equal(head.weight, source["classifier.3.weight"]) == (classes == 1000)
    assert [module for module in network.modules() if isinstance(module, nn.Linear)][-1] is head
    assert network(images()).logits.shape == (2, classes)


@pytest.mark.parametrize("classes", [CLASSES, 1000])
def test_pretrained_of_timm_gets_a_head_of_ours(classes: int, offline: Path) -> None:
    source = bare("timm:mobilenetv3_small_050", 1000).state_dict()
    save_file(source, offline / "model.safetensors")
    overlay = {"file": str(offline / "model.safetensors")}
    network = build(
        "timm:mobilenetv3_small_050:pretrained", classes, shape=SHAPE, pretrained_cfg_overlay=overlay
    )
    assert same(network, source, without="nothing" if classes == 1000 else "classifier")
    assert network(images()).logits.shape == (2, classes)


def test_weights_of_a_file_as_the_libraries_publish_them(tmp_path: Path) -> None:
    for spec, file in (
        ("torchvision:mobilenet_v3_small", tmp_path / "mobilenet_v3_small-047dcff4.pth"),
        ("timm:mobilenetv3_small_050", tmp_path / "model.safetensors"),
    ):
        source = stirred(bare(spec)).float().state_dict()
        (torch.save if file.suffix == ".pth" else save_file)(source, file)
        assert same(build(spec, CLASSES, shape=SHAPE, weights=str(file)), source)
        assert same(build(f"{spec}:weights={file}", CLASSES, shape=SHAPE), source)
        with pytest.raises(ValueError, match="the file predicts 10 classes, the network 7"):
            build(spec, 7, shape=SHAPE, weights=file)
