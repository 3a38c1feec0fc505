"""Steps as CUDA graphs against eager ones.

Without a GPU, the few calls of torch.cuda are played by the CPU: a replay runs the same function on the same static
memory, and refuses to read a value. All else is what runs on a GPU. The tests at the end need one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rlkit_capture.cuda_graph import CudaGraphRecording, NoReads
from rlkit_capture.cuda_step import CudaStep
from rlkit_capture.recording import NotTraceableError
from rlkit_core import RLModuleSpec
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.learner.learner_settings import pick_device
from rlkit_ppo import PPOConfig, PPOTorchLearner

sys.path.insert(0, str(Path(__file__).parent))
from capture_learners import BOX, SPACES, Dropout, ReadsValues, Separate, build, rows, update
from device_waits import Waits

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class PlayedGraph(CudaGraphRecording):
    """A graph whose replay runs the function again, into the memory that the capture returned."""

    replays = 0

    def _warm_up(self, runs):
        runs()

    def _capture(self, function):
        self._function = function
        return [tensor.detach().clone() for tensor in function()]

    def _replay(self):
        type(self).replays += 1
        with NoReads():
            new = self._function()
        for place, value in zip(self._outputs, new, strict=True):
            place.copy_(value)


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setattr(PlayedGraph, "replays", 0)
    monkeypatch.setattr(CudaStep, "recording_class", PlayedGraph)

    def make(*args, **kwargs):
        learner = build("capture", *args, **kwargs)
        learner.engine.on_gpu = learner.engine.checks.on_gpu = True
        return learner

    return make


def close(a, b):
    for name, value in a.module["default_policy"].get_state().items():
        np.testing.assert_allclose(
            b.module["default_policy"].get_state()[name], value, rtol=1e-4, atol=1e-6, err_msg=name
        )


def same_results(a, b):
    assert list(a) == list(b)
    for module_id, metrics in a.items():
        assert list(metrics) == list(b[module_id])
        for name, value in metrics.items():
            assert b[module_id][name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"entropy_coeff": [[0, 0.5], [100, 0.0]], "lr": [[0, 0.01], [100, 0.001]]},
        {"use_kl_loss": True, "kl_coeff": 0.7, "kl_target": 1e-4},
        {"grad_clip": 0.1, "grad_clip_by": "norm"},
    ],
    ids=lambda training: "-".join(training) or "defaults",
)
def test_equals_eager_whatever_changes_between_updates(played, training):
    eager, graph = build(None, SPACES["dict"], **training), played(SPACES["dict"], **training)
    for k, steps in enumerate((0, 30, 60)):
        batch = rows(eager, seed=k)
        same_results(update(eager, batch, steps), update(graph, batch, steps))
    close(eager, graph)
    (step,) = graph.engine.steps.values()
    assert isinstance(step, CudaStep)
    assert step._inside
    assert PlayedGraph.replays == 3 * 8


def test_the_first_step_is_taken_once(played):
    eager, graph = build(None, SPACES["discrete"]), played(SPACES["discrete"])
    batch = rows(eager, 16)
    for learner in (eager, graph):
        learner.update(batch)
    close(eager, graph)
    adams = [learner.get_optimizer("default_policy") for learner in (eager, graph)]
    steps = [float(next(iter(adam.state.values()))["step"]) for adam in adams]
    assert steps == [1.0, 1.0]


def test_batches_are_copied_into_memory_of_the_graphs_own(played):
    graph = played(SPACES["discrete"])
    batch = rows(graph)
    before = {name: column.clone() for name, column in batch["default_policy"].items()}
    for _ in range(2):
        update(graph, batch)
    for name, column in batch["default_policy"].items():
        assert torch.equal(column, before[name])


def test_optimizers_that_do_not_fit_step_outside(played):
    eager = build(None, SPACES["discrete"], learner_class=Separate)
    graph = played(SPACES["discrete"], learner_class=Separate)
    for k in range(2):
        batch = rows(eager, seed=k)
        same_results(update(eager, batch), update(graph, batch))
    close(eager, graph)
    assert all(step._inside is None for step in graph.engine.steps.values())


def test_running_statistics_and_random_numbers_go_on_as_in_an_eager_run(played):
    eager = build(None, SPACES["discrete"], module_class=Dropout)
    graph = played(SPACES["discrete"], module_class=Dropout)
    graph.module["default_policy"].set_state(eager.module["default_policy"].get_state())
    batch = rows(eager)
    for _ in range(2):
        same_results(update(eager, batch), update(graph, batch))
    close(eager, graph)


def test_the_host_waits_once_an_update_and_not_at_each_minibatch(played, monkeypatch):
    graph = played(SPACES["discrete"])
    batch = rows(graph)
    while all(step.due._next < 1_000 for step in graph.engine.steps.values()):  # behind the first checks of a replay
        graph.update(batch, minibatch_size=16, shuffle_batch_per_epoch=True, num_epochs=20)
    waits = []
    for epochs in (1, 8):
        with monkeypatch.context() as patch:
            count = Waits(patch)
            before = PlayedGraph.replays
            graph.update(batch, minibatch_size=16, shuffle_batch_per_epoch=True, num_epochs=epochs)
        assert PlayedGraph.replays - before == 4 * epochs
        waits.append(count.count)
    assert waits[0] == waits[1] <= 2


def with_nan(batch, *at):
    advantages = batch["default_policy"]["advantages"].clone()
    advantages[list(at)] = float("nan")
    return {"default_policy": {**batch["default_policy"], "advantages": advantages}}


def whole(learner, batch, size=16):
    return learner.update(batch, minibatch_size=size)


NO_MEANS = {"normalize_advantages": None}


@pytest.mark.parametrize("first", [True, False], ids=["while recording", "while replaying"])
def test_bad_minibatches_are_skipped_on_the_device_and_counted(played, first):
    learners = [build(None, SPACES["discrete"], **NO_MEANS), played(SPACES["discrete"], **NO_MEANS)]
    for learner in learners:
        learner.config = learner.config.copy(copy_frozen=False).learners(on_nonfinite="skip")
    good = rows(learners[0])
    results = []
    for learner in learners:
        if not first:
            whole(learner, good)
        results.append(whole(learner, with_nan(good, 3, 40)))
        whole(learner, good)
    same_results(*results)
    assert results[1]["default_policy"]["num_nonfinite_updates_lifetime"] == 2
    close(*learners)
    assert np.isfinite(learners[1].module["default_policy"].get_state()["pi.net.layers.0.weight"]).all()


def test_a_bad_minibatch_raises_when_the_update_is_over(played, tmp_path):
    graph = played(SPACES["discrete"], **NO_MEANS)
    graph.report_dir = tmp_path
    good = rows(graph)
    whole(graph, good)
    expected = build(None, SPACES["discrete"], **NO_MEANS)
    whole(expected, good)
    expected.config = expected.config.copy(copy_frozen=False).learners(on_nonfinite="skip")
    whole(expected, with_nan(good, 20, 33))
    with pytest.raises(NonFiniteError, match=r"the loss is nan, in minibatch 2 of 4 \(2 were not finite\)") as caught:
        whole(graph, with_nan(good, 20, 33))
    assert caught.value.module_id == "default_policy"
    close(expected, graph)
    from rlkit_core.checkpoint import load_tree

    saved = load_tree(caught.value.report_path, "minibatch")["default_policy"]
    assert np.array_equal(np.asarray(saved["obs"]), good["default_policy"]["obs"][16:32].numpy())
    assert np.isnan(np.asarray(saved["advantages"])).tolist() == [k == 4 for k in range(16)]


def test_the_bad_minibatch_of_a_shuffled_update_is_found_again(played, tmp_path):
    graph = played(SPACES["discrete"], **NO_MEANS)
    graph.report_dir = tmp_path
    good = rows(graph)
    update(graph, good)
    with pytest.raises(NonFiniteError) as caught:
        update(graph, with_nan(good, 7))
    from rlkit_core.checkpoint import load_tree

    saved = load_tree(caught.value.report_path, "minibatch")["default_policy"]
    assert np.isnan(np.asarray(saved["advantages"])).sum() == 1
    assert len(saved["obs"]) == 16


def test_zero_is_eager_and_says_so(played, caplog):
    graph = played(SPACES["discrete"], **NO_MEANS)
    eager = build(None, SPACES["discrete"], **NO_MEANS)
    for learner in (graph, eager):
        learner.config = learner.config.copy(copy_frozen=False).learners(on_nonfinite="zero")
    batch = with_nan(rows(graph), 5)
    with caplog.at_level("WARNING", logger="rlkit_capture"):
        for _ in range(2):
            same_results(whole(eager, batch), whole(graph, batch))
    assert [r.message for r in caplog.records if "on_nonfinite='zero'" in r.message][1:] == []
    assert PlayedGraph.replays == 0
    close(eager, graph)


def test_what_reads_values_is_refused_before_anything_changes(played):
    graph = played(SPACES["discrete"], learner_class=ReadsValues)
    before = graph.module["default_policy"].get_state()
    with pytest.raises(NotTraceableError, match=r"capture_learners.py:\d+ in compute_loss\w+: \S+ reads a tensor's"):
        update(graph, rows(graph))
    after = graph.module["default_policy"].get_state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


class Calls(PPOTorchLearner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss * self.calls


def test_a_replay_that_differs_is_refused(played):
    graph = played(SPACES["discrete"], learner_class=Calls)
    before = graph.module["default_policy"].get_state()
    with pytest.raises(
        NotTraceableError, match=r"test_cuda_step.py:\d+ in compute_loss\w+: aten::mul\S+ takes another num"
    ):
        update(graph, rows(graph))
    after = graph.module["default_policy"].get_state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_rates_in_tensors_survive_a_checkpoint(played):
    graph = played(SPACES["discrete"], lr=[[0, 0.01], [100, 0.001]])
    batch = rows(graph)
    update(graph, batch, 50)
    other = played(SPACES["discrete"], lr=[[0, 0.01], [100, 0.001]])
    update(other, batch)
    (before,) = other.engine.steps.values()
    other.set_state(graph.get_state())
    adam = other.get_optimizer("default_policy")
    assert isinstance(adam.param_groups[0]["lr"], torch.Tensor)
    assert float(adam.param_groups[0]["lr"]) == pytest.approx(0.0055)
    for learner in (graph, other):
        update(learner, batch, 60)
    close(graph, other)
    (after,) = other.engine.steps.values()
    assert after is not before  # a graph would go on with the moments of before


def test_a_rate_that_is_set_as_a_number_is_followed(played):
    eager, graph = build(None, SPACES["discrete"]), played(SPACES["discrete"])
    batch = rows(eager)
    for learner in (eager, graph):
        update(learner, batch)
    held = graph.get_optimizer("default_policy").param_groups[0]["lr"]
    for learner in (eager, graph):
        learner.get_optimizer("default_policy").param_groups[0]["lr"] = 0.002
        update(learner, batch)
    assert graph.get_optimizer("default_policy").param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(0.002)
    close(eager, graph)


# -- picking a device -------------------------------------------------------------------------------------------------


def test_without_cuda_a_gpu_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = PPOConfig().learners(num_gpus_per_learner=0.5)
    with pytest.raises(
        ConfigError, match=r"num_gpus_per_learner=0.5\).*sees no CUDA device.*set num_gpus_per_learner=0"
    ):
        config.build_learner(spaces={"default_policy": (SPACES["box"], SPACES["discrete"])}).build()
    assert pick_device(PPOConfig()) == torch.device("cpu")


def test_the_gpu_is_the_one_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(PPOConfig().learners(num_gpus_per_learner=1)) == torch.device("cuda", 0)
    assert pick_device(PPOConfig().learners(num_gpus_per_learner=1, local_gpu_idx=1)) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"local_gpu_idx=2\): torch sees 2 CUDA devices; use 0 to 1"):
        pick_device(PPOConfig().learners(num_gpus_per_learner=1, local_gpu_idx=2))


# -- on a GPU ---------------------------------------------------------------------------------------------------------


def on_gpu(compile, space="discrete", **training):
    """A learner on the GPU, and whether its steps are graphs."""
    learner_class, module_class = training.pop("learner_class", None), training.pop("module_class", None)
    config = (
        PPOConfig()
        .training(**{"lr": 0.01, "minibatch_size": 16, **training})
        .learners(
            compile=compile,
            num_gpus_per_learner=1,
            **({"learner_class": learner_class} if learner_class else {}),
        )
        .rl_module(model_config={"fcnet_hiddens": [8, 8]})
        .debugging(seed=4)
    )
    if module_class is not None:
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class))
    learner = config.build_learner(spaces={"default_policy": (BOX, SPACES[space])})
    learner.build()
    assert learner.device.type == "cuda"
    return learner


@needs_gpu
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"entropy_coeff": [[0, 0.5], [100, 0.0]], "lr": [[0, 0.01], [100, 0.001]]},
        {"use_kl_loss": True, "kl_coeff": 0.7, "kl_target": 1e-4},
        {"value_clip": 0.1, "vf_clip_param": 0.5, "normalize_advantages": "minibatch"},
        {"grad_clip": 0.1, "grad_clip_by": "value"},
        {"learner_class": Separate},
    ],
    ids=lambda training: "-".join(training) or "defaults",
)
def test_gpu_graph_equals_eager(space, training):
    cpu = build(None, SPACES[space])
    eager, graph = on_gpu(None, space, **training), on_gpu("capture", space, **training)
    for k, steps in enumerate((0, 30, 60)):
        batch = rows(cpu, seed=k)
        same_results(update(eager, batch, steps), update(graph, batch, steps))
    close(eager, graph)
    assert all(isinstance(step, CudaStep) for step in graph.engine.steps.values())


@needs_gpu
def test_gpu_dropout_differs_from_replay_to_replay_and_is_that_of_an_eager_run():
    cpu = build(None, SPACES["discrete"])
    eager, graph = on_gpu(None, module_class=Dropout), on_gpu("capture", module_class=Dropout)
    graph.module["default_policy"].set_state(eager.module["default_policy"].get_state())
    batch = rows(cpu)
    for _ in range(3):
        same_results(update(eager, batch), update(graph, batch))
    close(eager, graph)


@needs_gpu
def test_gpu_bad_minibatches_are_skipped_or_raised():
    cpu = build(None, SPACES["discrete"])
    good = rows(cpu)
    learners = [on_gpu(None, **NO_MEANS), on_gpu("capture", **NO_MEANS)]
    results = []
    for learner in learners:
        learner.config = learner.config.copy(copy_frozen=False).learners(on_nonfinite="skip")
        whole(learner, good)
        results.append(whole(learner, with_nan(good, 3, 40)))
    same_results(*results)
    close(*learners)
    raising = on_gpu("capture", **NO_MEANS)
    whole(raising, good)
    with pytest.raises(NonFiniteError, match="in minibatch 2 of 4"):
        whole(raising, with_nan(good, 20))
    assert np.isfinite(raising.module["default_policy"].get_state()["pi.net.layers.0.weight"]).all()


@needs_gpu
def test_gpu_state_goes_to_a_learner_on_the_cpu_and_back():
    cpu, graph = build("capture", SPACES["discrete"]), on_gpu("capture")
    batch = rows(cpu)
    update(graph, batch)
    cpu.set_state(graph.get_state())
    other = on_gpu("capture")
    other.set_state(cpu.get_state())
    for learner in (cpu, graph, other):
        learner.update(batch)
    close(graph, cpu)
    close(graph, other)
    weights = graph.get_weights().state["default_policy"]
    assert all(isinstance(value, np.ndarray) for value in weights.values())


@needs_gpu
@pytest.mark.timeout(300)
def test_gpu_learner_with_runners_on_the_cpu():
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .training(train_batch_size=256, minibatch_size=64, num_epochs=2)
        .learners(num_gpus_per_learner=1, compile="capture")
        .debugging(seed=1)
    )
    algo = config.build_algo()
    for _ in range(3):
        result = algo.train()
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
    algo.stop()
