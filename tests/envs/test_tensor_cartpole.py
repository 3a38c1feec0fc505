"""The vector CartPole of tensors is gymnasium's CartPole-v1, step by step."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from device_waits import Waits

from actor_critic import ACConfig
from rlkit_core.testing import TensorCartPole

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
N = 16


def actions(kind, sim, generator):
    if kind == "random":
        return torch.randint(2, (sim.num_envs,), generator=generator).to(sim.device)
    _, speed, angle, spin = sim.state  # a policy that balances until the time is over
    return (angle + 0.3 * spin + 0.05 * speed > 0).long()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "steps"), [("random", 200), ("balancing", 1_100)])
def test_each_step_is_gymnasiums(device, kind, steps):
    sim = TensorCartPole(N, device=device)
    sim.reset(seed=3)
    poles = [gym.make("CartPole-v1") for _ in range(N)]
    for pole in poles:
        pole.reset(seed=0)
    generator, ends = torch.Generator().manual_seed(1), {"terminated": 0, "truncated": 0}
    after = sim.state.cpu().numpy().copy()
    for _ in range(steps):
        before, pushes = after, actions(kind, sim, generator)
        obs, rewards, terminated, truncated, infos = sim.step(pushes)
        final, after = infos["final_obs"].cpu().numpy(), sim.state.cpu().numpy().copy()
        shown = [rewards.tolist(), terminated.tolist(), truncated.tolist()]
        for n, pole in enumerate(poles):
            pole.unwrapped.state = before[:, n]  # rounding grows where a pole falls
            expected, reward, fell, late, _ = pole.step(int(pushes[n]))
            assert np.allclose(final[n], expected, rtol=1e-6, atol=1e-9)
            assert [part[n] for part in shown] == [reward, fell, late]
            ends["terminated"] += fell
            ends["truncated"] += late
            if fell or late:
                pole.reset()
                assert (np.abs(after[:, n]) <= 0.05).all()
                assert len(set(after[:, n])) == 4
            else:
                assert np.allclose(after[:, n], pole.unwrapped.state, rtol=1e-10, atol=1e-12)
        assert np.array_equal(obs.cpu().numpy(), after.T.astype(np.float32))
    assert ends["terminated" if kind == "random" else "truncated"] > N


@pytest.mark.parametrize("device", DEVICES)
def test_a_seed_fixes_everything(device):
    def run(sim, seed):
        shown = [sim.reset(seed=seed)[0].clone()]
        pushes = torch.ones(N, dtype=torch.int64, device=device)
        return torch.stack([*shown, *(sim.step(pushes)[0].clone() for _ in range(30))])

    sim = TensorCartPole(N, device=device)
    first, again, other = run(sim, 1), run(sim, 1), run(sim, 2)
    assert torch.equal(first, again)
    assert torch.equal(first, run(TensorCartPole(N, device=device), 1))
    assert not torch.equal(first, other)
    assert len(set(first[0, :, 0].tolist())) == N  # each env has its own start
    ends = first[10:12].flatten(0, 1)
    assert len({tuple(row) for row in ends.tolist()}) == 2 * N


def test_spaces_are_gymnasiums():
    theirs = gym.make("CartPole-v1")
    assert TensorCartPole.single_observation_space == theirs.observation_space
    assert TensorCartPole.single_action_space == theirs.action_space


def config_of(device, envs):
    return (
        ACConfig()
        .environment(TensorCartPole, env_config={"device": device})
        .env_runners(num_envs_per_env_runner=envs)
        .learners(num_gpus_per_learner=float(device == "cuda"))
        .debugging(seed=1)
    )


def test_nobody_waits_for_the_device_at_each_step(monkeypatch):
    with config_of("cpu", envs=256).build_algo() as algo:
        counts = []
        for steps in (16, 32, 64):
            algo.env_runner.sample(num_timesteps=256 * steps)
            with monkeypatch.context() as patch:
                waits = Waits(patch)
                rollout = algo.env_runner.sample(num_timesteps=256 * steps)["default_policy"]
            assert int(rollout["terminateds"].any(1).sum()) == steps  # an episode ends at every step
            counts.append(waits.count)
    assert counts[0] == counts[1] == counts[2]


@needs_gpu
def test_on_a_gpu_nobody_waits_at_each_step():
    with config_of("cuda", envs=256).build_algo() as algo:
        counts = []
        for steps in (16, 32, 64):
            algo.env_runner.sample(num_timesteps=256 * steps)
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with warnings.catch_warnings(record=True) as waits:
                    warnings.simplefilter("always")
                    algo.env_runner.sample(num_timesteps=256 * steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            counts.append(sum("synchronizing" in str(one.message) for one in waits))
    assert 0 < counts[0] < 30
    assert counts[0] == counts[1] == counts[2]
