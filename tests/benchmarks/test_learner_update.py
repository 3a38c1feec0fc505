"""The learner's benchmark does the same maths on both sides. No figure is judged here."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks" / "learner_update.py"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("bench_learner_update", FILE)
    module = importlib.util.module_from_spec(spec)
    threads = torch.get_num_threads()
    before = set(sys.modules)
    spec.loader.exec_module(module)
    yield module
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("peers", "side_by_side"):
            del sys.modules[name]


def by_shape(parameters):
    """Parameters sorted by shape; those of one shape in the order of the layers."""
    return sorted(parameters, key=lambda p: tuple(p.shape))


def sides(bench, network):
    torch.manual_seed(0)
    batch = bench.bare_graph.build_batch(network, 8, torch.device("cpu"))
    peer = bench.bare_graph.BareUpdate(network, batch, 8)
    learner = bench.make_graph_learner(network, "cpu", None, seed=1)
    ours = by_shape(learner.module["default_policy"].parameters())
    return batch, peer, learner, ours, by_shape(peer.net.parameters())


def test_the_convolutional_networks_have_the_same_layers(bench):
    _, _, _, ours, theirs = sides(bench, "cnn")
    assert [p.shape for p in ours] == [p.shape for p in theirs]


def test_ours_takes_the_steps_of_the_bare_graph(bench):
    batch, peer, learner, ours, theirs = sides(bench, "mlp")
    with torch.no_grad():
        for own, other in zip(ours, theirs, strict=True):
            own.copy_(other)
    before = [p.detach().clone() for p in ours]
    learner.update({"default_policy": batch})
    peer.step()
    for own, other, old in zip(ours, theirs, before, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=2e-5)
        assert not torch.equal(own, old)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_gpu_contestants_run_on_a_cpu_too(bench, network):
    updates = bench.graph_contestants(network, "cpu", rows=8, minibatch_size=4, epochs=1, seed=1)
    figures, exceeded = bench.measure(updates, rounds=1, minibatches=2, limits={"captured": 1e9})
    assert list(figures) == ["bare", "eager", "captured"]
    assert all(row["us_per_minibatch"] > 0 for row in figures.values())
    assert not exceeded


class Operations(TorchDispatchMode):
    """Counts those that compute something: on a GPU each is a kernel or more."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        returns = function._schema.returns
        looks = any(one.alias_info is not None and not one.alias_info.is_write for one in returns)
        self.count += not looks and "empty" not in str(function) and str(function).startswith("aten")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_recorded_step_has_about_as_many_operations_as_the_bare_graph(bench, monkeypatch, network):
    monkeypatch.syspath_prepend(str(ROOT / "plugins" / "rlkit-capture" / "tests"))
    from test_cuda_step import CudaStep, PlayedGraph

    monkeypatch.setattr(CudaStep, "recording_class", PlayedGraph)
    batch = bench.bare_graph.build_batch(network, 8, torch.device("cpu"))
    peer = bench.bare_graph.BareUpdate(network, batch, 4)
    peer.step()
    learner = bench.make_graph_learner(network, "cpu", "capture", seed=1)
    learner.engine.on_gpu = learner.engine.checks.on_gpu = True
    learner.update({"default_policy": batch}, minibatch_size=4)
    (recorded,) = learner.engine.steps.values()
    with Operations() as ours:
        recorded._body()
    with Operations() as theirs:
        peer.step()
    assert theirs.count > 80
    assert ours.count <= 1.15 * theirs.count


def test_a_limit_is_a_limit(bench):
    _, exceeded = bench.measure({"bare": lambda: None, "ours": lambda: sum(range(10_000))}, 3, 1, {"ours": 1e-9})
    assert exceeded


def test_without_a_gpu_it_says_so(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(bench.main, ["--device", "cuda"])
    assert done.exit_code == 1
    assert "sees no CUDA device here" in done.output


def test_the_cpu_run_writes_its_figures(bench, tmp_path):
    file = tmp_path / "figures.json"
    done = CliRunner().invoke(bench.main, ["--rounds", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert report["device"] == "cpu"
    assert list(report["contestants"]) == ["bare", "eager", "captured"]
