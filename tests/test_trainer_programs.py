"""Saved programs: what stands in the operator's place, and whole networks that run without this package."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from geometries import Pair, geometries, pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dcnv3.geometry import Geometry
from dcnv3.layer import ChannelsLast, DCNv3
from dcnv3.registration import arguments_of, reference
from searchspace.model_config import ModelConfig
from searchspace.styles import STYLES, styled
from trainer import onnx_program, programs
from trainer.internimage import InternImage
from trainer.onnx_program import DeformConv, save_onnx
from trainer.programs import Place, evaluating
from trainer.torch_program import Sampling, save_torch_program
from trainer.whole_file import replacing

ROOT = Path(__file__).parents[1]
SIZE = 32


def config(style: str, **changes: Any) -> ModelConfig:
    every_norm = {"level2_post_norm_block_ids": (0,)} if style in {"h", "g"} else {}
    return replace(styled(channels=16, group_channels=4, depths=(1, 1, 1, 1), style=style), **every_norm, **changes)


CONFIGS = {
    "t": config("t", kernel_size=5),
    "s": config("s", remove_center=True, mask_activation="sigmoid"),
    "l": config("l", one_group=True, group_channels=16, mask_activation="sigmoid"),
    "h": config("h"),
    "g": config("g", remove_center=True),
}
RECOMBINED = ("s", "g")  # nothing that the other styles and switches do not hold
UNSHARED = config("h", unshared_weights=True, offset_scale=2.0, clip_projector=False)


class Unshared(nn.Module):
    """One layer whose points have weights of their own, with every other switch."""

    def __init__(self) -> None:
        super().__init__()
        switches = {"offset_scale": 2.0, "remove_center": True, "center_feature_scale": True, "unshared_weights": True}
        self.body = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), ChannelsLast(), DCNv3(16, 4, **switches))
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).mean((1, 2)))


def trained(model: nn.Module) -> nn.Module:
    """`model` in evaluation mode after every parameter and statistic has moved."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
        model.train()(torch.randn(4, 3, SIZE, SIZE, generator=draw))
    return model.eval()


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return trained(Unshared() if name == "unshared" else InternImage(CONFIGS[name], num_classes=10))


def images(n: int, size: int = SIZE) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))


def logits(model: nn.Module, n: int, size: int = SIZE) -> Tensor:
    with torch.no_grad():
        return model(images(n, size))


def by_onnxruntime(path: Path, n: int, size: int = SIZE) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images(n, size).numpy()})[0])


@st.composite
def places(draw: st.DrawFn) -> Place:
    fields, size = draw(geometries(kernels=pairs(1, 4), padding=2, groups=3, room=4, scales=(0.5, 1.0, 2.0, -1.5)))
    geometry = Geometry(**fields)
    channels = geometry.groups * draw(st.integers(1, 4))
    outputs = geometry.output_size(size)
    return Place(geometry=geometry, softmax=draw(st.booleans()), channels=channels, input_size=size, output_size=outputs)


def tensors(place: Place, n: int = 2) -> list[Tensor]:
    per_pixel = place.geometry.groups * place.geometry.points
    draw = torch.Generator().manual_seed(0)

    def random(size: Pair, last: int) -> Tensor:
        return torch.randn(n, *size, last, generator=draw)

    return [random(place.input_size, place.channels), 2 * random(place.output_size, 2 * per_pixel), random(place.output_size, per_pixel)]


def expected(place: Place, inputs: list[Tensor]) -> Tensor:
    return reference(*inputs, arguments_of(place.geometry, place.softmax))


@settings(max_examples=60)
@given(places(), st.integers(1, 3))
def test_a_weighted_sum_of_table_rows_is_the_operator(place: Place, n: int) -> None:
    inputs = tensors(place, n)
    torch.testing.assert_close(Sampling(place)(*inputs), expected(place, inputs), rtol=1e-5, atol=2e-5)


@given(places(), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30]))
def test_points_far_off_the_plane_add_nothing_in_a_program_either(place: Place, far: float) -> None:
    inputs = tensors(place)
    inputs[1].flatten()[::3] = far
    torch.testing.assert_close(Sampling(place)(*inputs), expected(place, inputs), rtol=1e-5, atol=2e-5)


def test_a_program_s_operator_has_the_operator_s_gradients() -> None:
    geometry = Geometry(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=2, offset_scale=2.0, remove_center=True)
    place = Place(geometry=geometry, softmax=True, channels=8, input_size=(5, 6), output_size=(5, 6))
    inputs = [tensor.requires_grad_() for tensor in tensors(place)]
    found, known = (torch.autograd.grad(out.square().sum(), inputs) for out in (Sampling(place)(*inputs), expected(place, inputs)))
    for mine, theirs in zip(found, known, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def deform_conv(_: str, inputs: Any, attributes: dict[str, Any], **options: Any) -> Tensor:
    """What onnxruntime makes of one node; its shape must be what the exporter has been told."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    feeds = {name: tensor.contiguous().numpy() for name, tensor in zip("xwobm", inputs, strict=True) if tensor is not None}
    floats = onnx.TensorProto.FLOAT
    infos = [onnx.helper.make_tensor_value_info(name, floats, array.shape) for name, array in feeds.items()]
    node = onnx.helper.make_node("DeformConv", ["x", "w", "o", "", "m"], ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "one", infos, [onnx.helper.make_tensor_value_info("y", floats, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", options["version"])], ir_version=10)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    assert found.shape == tuple(options["shape"])
    return torch.from_numpy(found)


@settings(max_examples=60)
@given(place=places())
def test_a_deform_conv_of_the_exchanged_image_is_the_operator(place: Place) -> None:
    inputs = tensors(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx.ops, "symbolic", deform_conv)
        found = DeformConv(place)(*inputs)
    torch.testing.assert_close(found, expected(place, inputs), rtol=1e-5, atol=5e-5)


ELSEWHERE = """
import sys
sys.modules.update(dict.fromkeys(("dcnv3", "trainer", "searchspace", "studies", "nas"), None))
import torch

for name, cases in torch.load(sys.argv[1] + "/cases.pt").items():
    program = torch.export.load(f"{sys.argv[1]}/{name}.pt2")
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [target for target in targets if "dcnv3" in target], targets
    with torch.no_grad():
        for images, logits in cases:
            torch.testing.assert_close(program.module()(images), logits, rtol=0, atol=1e-4)
    print(name)
"""


def run_elsewhere(folder: Path, models: dict[str, nn.Module]) -> None:
    cases = {}
    for name, model in models.items():
        save_torch_program(model, folder / f"{name}.pt2", image_size=SIZE)
        cases[name] = [(images(n), logits(model, n)) for n in (1, 5)]
    torch.save(cases, folder / "cases.pt")
    done = subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, str(folder)], capture_output=True, text=True, timeout=300)
    assert (done.stdout.split(), done.stderr) == (list(models), "")


def test_pytorch_programs_run_without_this_package(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = [name for name in (*STYLES, "unshared") if name not in RECOMBINED]
    run_elsewhere(tmp_path, {name: network(name) for name in names})
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {"cases.pt", *(f"{name}.pt2" for name in names)}
    with zipfile.ZipFile(tmp_path / "t.pt2") as archive:
        texts = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".json"))
    assert not [word for word in (str(ROOT), "trainer", "dcnv3") if word.encode() in texts]
    with pytest.raises(RuntimeError, match="to be equal to 32, but got 64"):
        torch.export.load(tmp_path / "t.pt2").module()(images(1, 64))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in RECOMBINED)) for name in (*STYLES, "unshared")])
def test_onnx_models_of_every_style_and_switch_give_the_network_s_logits(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    model, path = network(name), tmp_path / "new" / "model.onnx"
    assert save_onnx(model, path, image_size=SIZE) == path
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    for n in (1, 5):
        known = logits(model, n)
        torch.testing.assert_close(by_onnxruntime(path, n), known, rtol=0, atol=float(1e-3 * known.abs().max()))
    saved = onnx.load(path)
    assert {(each.domain, each.version) for each in saved.opset_import} == {("", 20)}
    assert {node.domain for node in saved.graph.node} == {""}
    assert sum(node.op_type == "DeformConv" for node in saved.graph.node) == (8 if name == "unshared" else 4)
    assert len(saved.functions) == 0
    assert not [word for word in (str(ROOT), "trainer.", "dcnv3.layer") if word.encode() in path.read_bytes()]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_every_other_network_runs_without_this_package_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained(InternImage(UNSHARED, num_classes=10))
    run_elsewhere(tmp_path, {"whole": model, **{name: network(name) for name in RECOMBINED}})
    known = logits(model, 3)
    found = by_onnxruntime(save_onnx(model, tmp_path / "model.onnx", image_size=SIZE), 3)
    torch.testing.assert_close(found, known, rtol=0, atol=float(1e-3 * known.abs().max()))


SAVE = {".pt2": save_torch_program, ".onnx": save_onnx}


@pytest.fixture(params=SAVE)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The name of a program that does not exist yet, in every format in turn."""
    return tmp_path / f"model{request.param}"


def save(model: nn.Module, path: Path) -> None:
    SAVE[path.suffix](model, path, image_size=SIZE)


class Head(nn.Module):
    """A network that takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean((2, 3)))


def test_a_program_that_computes_something_else_is_not_delivered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("an older program")
    traced = programs.traced

    def wrong(model: nn.Module, *arguments: Any) -> Any:
        other = Head()
        other.head.weight = nn.Parameter(model.head.weight * 1.01)
        return traced(other.eval(), *arguments)

    monkeypatch.setattr(sys.modules[SAVE[path.suffix].__module__], "traced", wrong)
    with pytest.raises(ValueError, match=r"must give the network's logits within 0\.0\d+1 of the largest, .*; nothing was saved"):
        save(Head(), path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "an older program"


def test_a_network_that_has_diverged_is_not_delivered(path: Path) -> None:
    model = Head()
    nn.init.constant_(model.head.bias, np.nan)
    with pytest.raises(ValueError, match="the largest is nan; nothing was saved"):
        save(model, path)
    assert not path.exists()


def test_saving_leaves_the_network_and_the_random_numbers_as_they_were(path: Path) -> None:
    model = nn.Sequential(Head(), nn.Dropout(0.5)).train()
    model[0].eval()
    state = torch.random.get_rng_state()
    save(model, path)
    assert [module.training for module in (model, model[0], model[1])] == [True, False, True]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert path.stat().st_size > 0


def test_an_image_size_that_the_network_refuses_is_refused_in_its_words(path: Path) -> None:
    with pytest.raises(ValueError, match="stage-3 map of exactly twice stage 4's size"):
        SAVE[path.suffix](InternImage(CONFIGS["h"], num_classes=10), path, image_size=40)
    assert not path.exists()


@pytest.mark.parametrize(
    ("move", "words"), [({"dtype": torch.float64}, "torch.float64 on cpu"), ({"device": "meta"}, "torch.float32 on meta")]
)
def test_other_dtypes_and_devices_are_refused(path: Path, move: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"in float32 and from the CPU, got head.weight in {words}"):
        save(Head().to(**move), path)


def test_a_pytorch_program_s_name_ends_as_pytorch_wants_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name must end in \.pt2, got .*model\.pth"):
        save_torch_program(Head(), tmp_path / "model.pth", image_size=SIZE)


def test_networks_beyond_the_format_s_limit_are_refused_before_any_work(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.Linear(25_000, 25_000)
    with pytest.raises(ValueError, match=r"an ONNX file holds at most 2 GiB, got a network of 2\.3 GiB"):
        save_onnx(model, tmp_path / "model.onnx", image_size=SIZE)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_extra_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_program, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(ImportError, match=rf"saving ONNX models needs {missing}: pip install 'nas-scaling\[onnx\]'"):
        save_onnx(Head(), tmp_path / "model.onnx", image_size=SIZE)


def test_without_onnxruntime_the_file_is_written_and_the_missing_comparison_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnx_program, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    path = save_onnx(Head(), tmp_path / "model.onnx", image_size=SIZE)
    assert path.exists()
    assert [record.getMessage() for record in caplog.records if record.name == "trainer.onnx_program"] == [
        f"onnxruntime is not installed: {path} has not been compared with the network"
    ]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.bin"

    def fail_midway() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert list(path.parent.iterdir()) == []
    with replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert [each.read_bytes() for each in path.parent.iterdir()] == [b"whole"]


def test_evaluation_ends_with_an_error_too() -> None:
    model = Head().train()

    def fail_midway() -> None:
        with evaluating(model):
            assert not model.training
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert model.training
