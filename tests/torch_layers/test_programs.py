"""What torch makes of the flow: compiled around its operator, exported as plain operations, run by ONNX Runtime."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf import Taylor

torch = pytest.importorskip("torch", reason="needs the extra torch")

from gpulaf.torch import DeepAssignmentFlow, LinearizedAssignmentFlow, NetworkFlow, weights_from_logits  # noqa: E402
from gpulaf.torch.patches import as_rows  # noqa: E402

#: Kinds of flows besides "one".
OTHERS = ("long", "learned", "several")


class Head(torch.nn.Module):
    """A layer of convolution that gives weights and data, and the flow."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.convolution, self.flow = torch.nn.Conv2d(1, 12, 3, padding=1), flow

    def forward(self, x: Any) -> Any:
        y = self.convolution(x)
        return self.flow(weights_from_logits(y[:, :9]), y[:, 9:])


def head(kind: str) -> Head:
    torch.manual_seed(0)
    fixed = Taylor(degree=8, substeps=1)
    flows = {
        "one": lambda: LinearizedAssignmentFlow(3.0),
        "long": lambda: LinearizedAssignmentFlow(7.0),
        "learned": lambda: LinearizedAssignmentFlow(3.0, learn_time=True, solver=fixed),
        "several": lambda: DeepAssignmentFlow([1.0, 2.0]),
    }
    return Head(flows[kind]())


def test_the_number_of_threads_of_torch_stays() -> None:
    code = (
        "import torch; torch.set_num_threads(3); from gpulaf.torch import linear_flow, weights_from_logits;"
        "linear_flow(weights_from_logits(torch.zeros(1, 9, 64, 64)), torch.randn(1, 3, 64, 64), 3.0);"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3"]


def test_the_operator_keeps_the_rules_of_torch() -> None:
    weights, l = weights_from_logits(torch.zeros(2, 9, 4, 5)), torch.randn(2, 3, 4, 5)
    rows = [as_rows(x, "planes").requires_grad_() for x in (weights, l)]
    T = torch.tensor(3.0, requires_grad=True)
    torch.library.opcheck(torch.ops.gpulaf.flow_solution.default, (*rows, T, 0, 0, 1e-4))


@pytest.mark.parametrize("kind", ["one", "learned", "several"])
def test_compiled_whole(kind: str) -> None:
    model, (a, b) = head(kind), (torch.randn(2, 1, 12, 10), torch.randn(3, 1, 9, 16))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for x in (a, b):
        torch.testing.assert_close(compiled(x), model(x))
        found = []
        for each in (compiled, model):
            model.zero_grad()
            each(x).square().sum().backward()
            found.append([p.grad.clone() for p in model.parameters()])
        torch.testing.assert_close(*found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_by_inductor() -> None:
    model, x = head("one"), torch.randn(2, 1, 12, 10)
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x))


def test_exported_programs_hold_plain_operations() -> None:
    model, x = head("one"), torch.randn(2, 1, 12, 10)
    program = torch.export.export(model, (x,))
    assert "gpulaf" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), model(x))
    torch.testing.assert_close(torch.export.export(model, (x,), strict=True).module()(x), model(x))


def test_a_learned_time_asks_for_a_fixed_number_of_terms() -> None:
    with pytest.raises(Exception, match=r"Take Taylor\(degree=8, substeps=1\)"):
        torch.export.export(Head(LinearizedAssignmentFlow(3.0, learn_time=True)), (torch.randn(1, 1, 8, 8),))


@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_onnx_runtime_finds_the_same_flows_of_a_network(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    scenes = [gpulaf.scenes.voronoi_lines(24, sites=5, seed=seed) for seed in range(2)]
    network = gpulaf.WeightNetwork((6,), features="patch:1", n_layers=2).set_params(training__steps=2)
    flow = NetworkFlow(network.fit([s.image for s in scenes], [s.truth for s in scenes], progress=False))
    path, given = tmp_path / "network.onnx", flow.inputs(scenes[0].image)
    torch.onnx.export(flow, given, path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path)
    names = [x.name for x in session.get_inputs()]
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, given, strict=True)})
    expected = flow(*given).detach().numpy()
    assert np.abs(found - expected).max() < 1e-6 * max(1.0, np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("kind", ["one", *(pytest.param(x, marks=pytest.mark.slow) for x in OTHERS)])
def test_onnx_runtime_finds_the_same(tmp_path: Path, kind: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    model, path = head(kind).eval(), tmp_path / "model.onnx"
    size = {0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    torch.onnx.export(model, (torch.randn(2, 1, 16, 12),), path, dynamo=True, dynamic_shapes={"x": size}, verbose=False)
    session = runtime.InferenceSession(path)
    for shape in ((2, 1, 16, 12), (3, 1, 9, 21)):
        x = torch.randn(*shape)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        expected = model(x).detach().numpy()
        assert np.abs(found - expected).max() < 1e-6 * max(1.0, np.abs(expected).max())
