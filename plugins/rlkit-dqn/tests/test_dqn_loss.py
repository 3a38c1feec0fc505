"""DQN's loss and priorities equal what the equations say, row by row, with no tensor operation over rows."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_envs import Ragged

from rlkit_dqn import DQNConfig
from rlkit_offpolicy import PrioritizedReplayBuffer

sys.path.insert(0, str(Path(__file__).parent))

GAMMA, ATOMS = 0.9, 7
KINDS = [(1, "huber"), (1, "mse"), (ATOMS, "cross-entropy")]
GRID = list(itertools.product([True, False], [True, False], KINDS, [1, 3, [1, 3]]))


@pytest.fixture(scope="module")
def recorded():
    """A rollout of ragged episodes, with its runner's env settings."""
    config = DQNConfig().environment(Ragged).env_runners(num_envs_per_env_runner=2).debugging(seed=3)
    with config.build_algo() as algo:
        return algo.env_runner_group.sample(num_timesteps=80)["default_policy"].clone()


def by_hand(rollout, index, n_max):
    """Every prefix of the n-step return of a row: ``[(R, discount, successor), ...]`` for n = 1, 2, ..."""
    steps, envs = rollout.num_steps, rollout.num_envs
    finals = {} if rollout.final_index is None else {int(i): k for k, i in enumerate(rollout.final_index)}
    t, env = divmod(int(index), envs)
    found, total, factor = [], 0.0, 1.0
    while t < steps and len(found) < n_max:
        total += factor * float(rollout["rewards"][t, env])
        factor *= GAMMA
        terminated, truncated = bool(rollout["terminateds"][t, env]), bool(rollout["truncateds"][t, env])
        if truncated and not terminated:
            after = rollout.final_obs[finals[t * envs + env]]
        else:
            after = rollout["obs"][t + 1, env] if t + 1 < steps else rollout.bootstrap_obs[env]
        found.append((total, 0.0 if terminated else factor, after))
        if terminated or truncated:
            break
        t += 1
    return found


def q_of(module, obs, *, target, atoms):
    """Lists ``q[a]`` and ``p[a][k]`` of one observation, from the outputs of the layers alone."""
    names = ("_target_encoder", "_target_af", "_target_vf") if target else ("encoder", "af", "vf")
    encoder, af, vf = (getattr(module, name) for name in names)
    with torch.no_grad():
        embedding = encoder({"obs": obs.unsqueeze(0)})["encoder_out"]
        advantages = af(embedding)[0].double().reshape(3, -1).tolist()
        values = None if vf is None else vf(embedding)[0].double().tolist()
    width = len(advantages[0])
    logits = [list(row) for row in advantages]
    if values is not None:
        for k in range(width):
            mean = sum(row[k] for row in advantages) / 3
            for a in range(3):
                logits[a][k] = values[k] + advantages[a][k] - mean
    if atoms is None:
        return [row[0] for row in logits], None
    probs = []
    for row in logits:
        high = max(row)
        total = sum(math.exp(x - high) for x in row)
        probs.append([math.exp(x - high) / total for x in row])
    return [sum(p * z for p, z in zip(row, atoms, strict=True)) for row in probs], probs


def projected(reward, discount, probs, atoms):
    """The sum over atoms of equation 7 of Bellemare et al., with its clipped triangle."""
    width = atoms[1] - atoms[0]
    result = []
    for z_i in atoms:
        mass = 0.0
        for p, z_j in zip(probs, atoms, strict=True):
            moved = min(max(reward + discount * z_j, atoms[0]), atoms[-1])
            mass += p * min(max(1.0 - abs(moved - z_i) / width, 0.0), 1.0)
        result.append(mass)
    return result


def row_by_hand(module, row, double_q, atoms, kind):
    """``(loss, td error)`` of one row ``(obs, action, R, discount, successor)``."""
    obs, action, reward, discount, after = row
    q, p = q_of(module, obs, target=False, atoms=atoms)
    q_target, p_target = q_of(module, after, target=True, atoms=atoms)
    deciding = q_of(module, after, target=False, atoms=atoms)[0] if double_q else q_target
    best = deciding.index(max(deciding))
    if atoms is None:
        error = q[action] - (reward + discount * q_target[best])
        if kind == "mse":
            return error**2, abs(error)
        return (0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5), abs(error)
    target = projected(reward, discount, p_target[best], atoms)
    loss = -sum(m * math.log(x) for m, x in zip(target, p[action], strict=True))
    return loss, loss + sum(m * math.log(m) for m in target if m > 0)


@pytest.mark.parametrize(("double_q", "dueling", "kind", "n_step"), GRID)
def test_equals_the_equations(recorded, double_q, dueling, kind, n_step):
    atoms, kind = kind
    config = (
        DQNConfig()
        .environment(observation_space=Ragged.observation_space, action_space=Ragged.action_space)
        .training(double_q=double_q, dueling=dueling, num_atoms=atoms, v_min=-3.0, v_max=3.0, gamma=GAMMA)
        .training(n_step=n_step, hiddens=[8], grad_clip=None)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=1)
    )
    if atoms == 1:
        config.training(td_error_loss_fn=kind)
    learner = config.build_learner()
    learner.build()
    module = learner.module["default_policy"]
    with torch.no_grad():  # far from the copies, and from each other
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    buffer = PrioritizedReplayBuffer(200, n_step=config.n_step_range, gamma=GAMMA, seed=1)
    buffer.add(recorded)
    buffer.update_priorities(torch.rand(20), torch.arange(20))
    batch = {name: column.clone() for name, column in buffer.sample(24).items()}
    assert len(set(batch["weights"].tolist())) > 1

    support = None if atoms == 1 else [-3.0 + 6.0 * k / (atoms - 1) for k in range(atoms)]
    losses, errors = [], []
    for b, index in enumerate(buffer.last_indices):
        options = by_hand(recorded, index, config.n_step_range[1])
        used = int(batch["n_step"][b])
        assert used in range(1, len(options) + 1)
        if not isinstance(n_step, list):
            assert used == len(options)
        obs, action = recorded["obs"].flatten(0, 1)[index], int(recorded["actions"].flatten()[index])
        loss, error = row_by_hand(module, (obs, action, *options[used - 1]), double_q, support, kind)
        losses.append(loss * float(batch["weights"][b]))
        errors.append(error)

    result = learner.update(batch={"default_policy": batch}, timesteps={"num_env_steps_sampled_lifetime": 1})
    assert result["default_policy"]["qf_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    np.testing.assert_allclose(learner.take_rows()["default_policy"]["td_error"].numpy(), errors, rtol=2e-3, atol=2e-5)


def test_a_range_of_n_steps_includes_both_ends(recorded):
    buffer = PrioritizedReplayBuffer(200, n_step=DQNConfig().training(n_step=[2, 4]).n_step_range, seed=1)
    buffer.add(recorded)
    inside = [len(by_hand(recorded, i, 4)) == 4 for i in range(80)]
    used = {int(n) for n, i in zip(buffer.sample(400)["n_step"], buffer.last_indices, strict=True) if inside[int(i)]}
    assert used == {2, 3, 4}
