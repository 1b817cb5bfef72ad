"""Every network of the zoo as ONNX and as .pt2, against the network itself."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from zoo import SIZE, ZOO, Case, seeded, toy

import cohobate.inference.exporting as exporting
from cohobate.config.forms import Values
from cohobate.config.opsets import OLDEST_OPSET, OPSET, check_opset, newest_opset
from cohobate.core import Classifier, Method
from cohobate.inference.agreement import Agreement, agreement
from cohobate.inference.deployable import Deployable, Normalisation
from cohobate.inference.exporting import METADATA, captured, onnx_bytes, pt2_bytes
from cohobate.inference.onnx_network import OnnxNetwork

SHAPE = (3, SIZE, SIZE)
NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
BATCHES = (1, 5)
"""Numbers of images, none of them that with which a network is captured."""

cases = pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())


def uneven(method: Method) -> Method:
    """With batch-norm statistics and weights that are not those of a fresh network: folding must be right."""
    generator = torch.Generator().manual_seed(1)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            for each, low in ((module.running_var, 0.5), (module.weight, 0.5)):
                assert each is not None
                each.data = low + torch.rand(each.shape, generator=generator)
            for each in (module.running_mean, module.bias):
                assert each is not None
                each.data = 0.3 * torch.randn(each.shape, generator=generator)
    return method.eval()


def predictors(case: Case) -> Iterator[tuple[str, nn.Module]]:
    for name, network in uneven(seeded(case.make)).predictors().items():
        yield name, network.eval()


def deployable(network: nn.Module, values: Values = "0-255") -> Deployable:
    return Deployable(network, NORMALISATION, values).eval()


def images(count: int, values: Values = "0-255") -> Tensor:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return NORMALISATION.of_bytes(pixels, values)


def compared(network: Deployable, file: object) -> list[Agreement]:
    """Of a form of the network that is called with images, for each size of a batch."""
    assert callable(file)
    with torch.no_grad():
        batches = [images(count, network.values) for count in BATCHES]
        return [agreement(network(batch), file(batch)) for batch in batches]


def assert_same(network: Deployable, file: object) -> None:
    with torch.no_grad():
        logits = network(images(16, network.values))
    assert logits.std(dim=0).max() > 1e-3, "logits that do not vary show no fault"
    for found in compared(network, file):
        assert found.same, found


def read(form: str, program: ExportedProgram) -> object:
    """The network in a file."""
    if form == "onnx":
        return OnnxNetwork(onnx_bytes(program, {}))
    return torch.export.load(io.BytesIO(pt2_bytes(program, {}))).module()


def structure(program: ExportedProgram) -> tuple[object, ...]:
    """Equal for networks that differ by the values of their weights alone."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in program.state_dict.items()]
    return program.graph_module.code, *shapes


def operations(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


WRITTEN: set[tuple[object, ...]] = set()
"""Structures of which files were written and read in this process: writing one takes about a second."""


def test_the_whole_zoo_is_here() -> None:
    assert len(ZOO) >= 81
    assert sum(1 for case in ZOO.values() for _ in predictors(case)) >= 164


@cases
def test_every_predictor_is_captured_and_every_structure_written(case: Case) -> None:
    """The graph of each one, which the files hold, and both files of the first one of each structure."""
    for _, network in predictors(case):
        whole = deployable(network)
        program = captured(whole, SHAPE)
        assert_same(whole, program.module())
        if (found := structure(program)) in WRITTEN:
            continue
        WRITTEN.add(found)
        data = onnx_bytes(program, {})
        assert_same(whole, OnnxNetwork(data))
        assert_same(whole, read("pt2", program))
        # A trunk that several branches share is computed once, what an early exit does not need never.
        assert operations(data).count("Conv") <= convolutions(network)


@pytest.mark.slow
@cases
def test_every_predictor_is_written(case: Case) -> None:
    kinds: tuple[Values, ...] = ("0-255", "0-1", "normalised")
    for i, (_, network) in enumerate(predictors(case), list(ZOO.values()).index(case)):
        whole = deployable(network, kinds[i % 3])
        program = captured(whole, SHAPE)
        for form in ("onnx", "pt2"):
            assert_same(whole, read(form, program))


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())


def test_an_ensemble_of_branches_computes_the_trunk_once() -> None:
    method = uneven(seeded(ZOO["cl_ilr"].make))
    group = method.get_submodule("group")
    trunk, tails = (convolutions(group.get_submodule(name)) for name in ("trunk", "tails"))
    assert trunk > 0
    assert tails >= 3
    networks = method.predictors()
    assert operations(file_of(networks["ensemble"])).count("Conv") == trunk + tails
    assert operations(file_of(networks["peer_2"])).count("Conv") == trunk + tails // 3


def file_of(network: nn.Module) -> bytes:
    return onnx_bytes(captured(deployable(network), SHAPE), {})


def test_an_early_exit_computes_nothing_behind_it() -> None:
    at_exit = dict(predictors(ZOO["byot"]))["exit_1"]
    needed = (at_exit.get_submodule(name) for name in ("network.conv", "network.stages.0", "exit"))
    assert operations(file_of(at_exit)).count("Conv") == sum(map(convolutions, needed))


def test_the_three_kinds_of_images_give_the_same_logits() -> None:
    (_, network), *_ = predictors(ZOO["self_guidance wide"])
    with torch.no_grad():
        expected = network(NORMALISATION.of_bytes(images(5), "normalised"))
    kinds: Mapping[Values, torch.dtype] = {
        "0-255": torch.uint8,
        "0-1": torch.float32,
        "normalised": torch.float32,
    }
    for values, kind in kinds.items():
        file = OnnxNetwork(onnx_bytes(captured(deployable(network, values), SHAPE), {}))
        assert file.kind == kind
        assert file.shape[1:] == SHAPE
        assert isinstance(file.shape[0], str)
        shown = NORMALISATION.of_bytes(images(5), values)
        assert shown.dtype == kind
        assert agreement(expected, file(shown)).same


def test_images_are_normalised_as_written_down() -> None:
    """(x / 255 - mean) / std, in float64; and a network that sees the wrong mean is another one."""
    pixels = images(5)
    mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in NORMALISATION)
    expected = (pixels.double() / 255 - mean) / std
    for values in ("normalised", "0-1", "0-255"):
        seen = Deployable(nn.Identity(), NORMALISATION, values)(NORMALISATION.of_bytes(pixels, values))
        torch.testing.assert_close(seen.double(), expected, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- planted faults are seen


def test_a_wrong_mean_is_seen() -> None:
    network = Classifier(toy()).eval()
    other = Deployable(network, Normalisation((0.5, 0.4, 0.35), NORMALISATION.std), "0-255").eval()
    file = OnnxNetwork(onnx_bytes(captured(other, SHAPE), {}))
    assert not any(found.same for found in compared(deployable(network), file))


@pytest.mark.parametrize("name", ["self_guidance", "self_guidance wide", "stochastic_depth"])
def test_survival_that_is_not_folded_in_is_seen(name: str) -> None:
    method = uneven(seeded(ZOO[name].make))
    (network,) = method.predictors().values()
    plain = Classifier(method.get_submodule("network")).eval()
    assert plain.state_dict().keys() == network.state_dict().keys()
    program = captured(deployable(plain), SHAPE)
    assert not any(found.same for found in compared(deployable(network), program.module()))


def test_another_branch_is_seen() -> None:
    networks = dict(predictors(ZOO["cl_ilr"]))
    file = OnnxNetwork(file_of(networks["peer_2"]))
    assert not any(found.same for found in compared(deployable(networks["peer_1"]), file))


# ---------------------------------------------------------------- files


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    torch.manual_seed(0)
    return captured(deployable(Classifier(toy())), SHAPE)


def test_metadata_is_read_by_other_tools(program: ExportedProgram) -> None:
    metadata = {"classes": json.dumps(["a", "b\"'"]), "data": "päth\\udce9"}
    assert OnnxNetwork(onnx_bytes(program, metadata)).metadata == metadata
    extra = {METADATA: ""}
    torch.export.load(io.BytesIO(pt2_bytes(program, metadata)), extra_files=extra)
    assert json.loads(extra[METADATA]) == metadata


def test_files_are_the_same_each_time_and_say_nothing_of_this_machine() -> None:
    files = [
        [onnx_bytes(made, {"a": "b"}), pt2_bytes(made, {"a": "b"})]
        for made in (captured(deployable(Classifier(seeded_toy())), SHAPE) for _ in range(2))
    ]
    assert files[0] == files[1]
    here = [str(Path(exporting.__file__).parent), str(Path(__file__).parent), os.getcwd(), "deployable.py"]
    for data in files[0]:
        assert not any(place.encode() in data for place in here)
    model = onnx.load_from_string(files[0][0])
    assert [each.key for each in model.metadata_props] == ["a"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def seeded_toy() -> nn.Module:
    torch.manual_seed(0)
    return toy()


@pytest.mark.parametrize("opset", [OPSET, newest_opset()])
def test_the_opset_is_that_asked_for(program: ExportedProgram, opset: int) -> None:
    data = onnx_bytes(program, {}, opset)
    assert onnx.load_from_string(data).opset_import[0].version == opset
    assert_same(deployable(Classifier(seeded_toy())), OnnxNetwork(data))


@pytest.mark.parametrize("opset", [-1, 17, newest_opset() + 1, 1000])
def test_an_opset_that_cannot_be_written_is_refused(program: ExportedProgram, opset: int) -> None:
    for refuse in (check_opset, lambda each: onnx_bytes(program, {}, each)):
        said = rf"opset {opset} .* {OLDEST_OPSET} and newer.* {newest_opset()}$"
        with pytest.raises(ValueError, match=said):
            refuse(opset)


def test_more_weights_than_a_file_holds_are_refused(
    program: ExportedProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LARGEST", 1000)
    with pytest.raises(ValueError, match=r"2 GiB, the weights are .* pt2 and safetensors"):
        onnx_bytes(program, {})


class OfValues(nn.Module):
    """Does something else with dark images, which no graph can do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if float(x.mean()) > 0 else x.flatten(1) + 1


class OneByOne(nn.Module):
    """Loops over the images, of which there are then always as many."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([image.flatten() for image in x])


@pytest.mark.parametrize("kind", [OfValues, OneByOne])
def test_a_network_that_cannot_be_captured_is_named(kind: type[nn.Module]) -> None:
    said = rf"^{kind.__name__} cannot be captured .* the whole batch$"
    with pytest.raises(ValueError, match=said) as error:
        captured(deployable(kind()), SHAPE)
    assert "\n" not in str(error.value)


class Unknown(nn.Module):
    """With an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x.mean((2, 3)))


def test_an_operator_that_onnx_does_not_have_is_named_and_pt2_holds_it() -> None:
    whole = deployable(Unknown())
    program = captured(whole, SHAPE)
    said = r"^the network cannot be written as ONNX: ONNX has no operator for prims\.bessel_j0; .* pt2 .*$"
    with pytest.raises(ValueError, match=said) as error:
        onnx_bytes(program, {})
    assert "\n" not in str(error.value)
    assert_same(whole, read("pt2", program))


def test_what_torch_cannot_store_is_refused_in_a_line(
    program: ExportedProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **options: object) -> None:
        raise RuntimeError("no serialiser for Odd. See the stack trace.\nAt line 3")

    monkeypatch.setattr(torch.export, "save", fails)
    with pytest.raises(ValueError, match=r"^.* written as pt2: no serialiser for Odd; try the format onnx$"):
        pt2_bytes(program, {})


class Counted(nn.Module):
    """Asks for the number of images as people do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1)[:, :5]


def test_a_network_that_asks_for_the_number_of_images_is_captured() -> None:
    whole = deployable(Counted())
    program = captured(whole, SHAPE)
    for form in ("onnx", "pt2"):
        assert_same(whole, read(form, program))
