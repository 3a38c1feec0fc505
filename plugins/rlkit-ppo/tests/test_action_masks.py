"""An env that punishes illegal actions never sees one: while exploring, training, evaluating and deployed."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_ppo import PPOConfig

pytestmark = pytest.mark.usefixtures("next_step_resets")

BITS = gym.spaces.MultiBinary

ACTIONS = {
    "discrete": (gym.spaces.Discrete(5, start=3), BITS(5)),
    "multi-discrete": (gym.spaces.MultiDiscrete([3, 4]), BITS(7)),
    "multi-binary": (BITS(3), BITS(3)),
    "dict": (
        gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": gym.spaces.Tuple((gym.spaces.Discrete(4),))}),
        gym.spaces.Dict({"a": BITS(3), "b": gym.spaces.Tuple((BITS(4),))}),
    ),
}


class Picky(gym.Env):
    """Draws which actions are legal at every step; anything else raises."""

    def __init__(self, config):
        self.kind = config["kind"]
        self.action_space, mask_space = ACTIONS[self.kind]
        self.observation_space = gym.spaces.Dict(
            {"action_mask": mask_space, "x": gym.spaces.Box(-1.0, 1.0, (2,), np.float32)}
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        for part, mask in self._parts(action):
            assert mask[part], f"illegal action {action} under {self.mask}"
        self.t += 1
        return self._obs(), 1.0, self.t == 9, self.t == 4 and self.np_random.random() < 0.5, {}

    def _obs(self):
        def one(n):
            mask = self.np_random.integers(0, 2, n).astype(np.int8)
            mask[self.np_random.integers(n)] = 1
            return mask

        if self.kind == "discrete":
            self.mask = one(5)
        elif self.kind == "multi-discrete":
            self.mask = np.concatenate([one(3), one(4)])
        elif self.kind == "multi-binary":
            self.mask = self.np_random.integers(0, 2, 3).astype(np.int8)
        else:
            self.mask = {"a": one(3), "b": (one(4),)}
        return {"action_mask": self.mask, "x": self.np_random.uniform(-1, 1, 2).astype(np.float32)}

    def _parts(self, action):
        if self.kind == "discrete":
            return [(action - 3, self.mask)]
        if self.kind == "multi-discrete":
            return [(action[0], self.mask[:3]), (action[1], self.mask[3:])]
        if self.kind == "multi-binary":
            return [(i, self.mask) for i in range(3) if action[i]]
        return [(action["a"], self.mask["a"]), (action["b"][0], self.mask["b"][0])]


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("recurrent", [False, True], ids=["plain", "lstm"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_no_illegal_action_is_ever_taken(kind, recurrent, mode):
    model_config = {"fcnet_hiddens": [8], "fusionnet_hiddens": [8], "lstm_cell_size": 8, "max_seq_len": 6}
    config = (
        PPOConfig()
        .environment(Picky, env_config={"kind": kind})
        .env_runners(num_envs_per_env_runner=4, gym_env_vectorize_mode=mode)
        .training(train_batch_size=128, minibatch_size=64, num_epochs=3, lr=0.01)
        .training(use_kl_loss=True, entropy_coeff=0.01)
        .rl_module(model_config={**model_config, "use_lstm": recurrent})
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        for _ in range(3):
            result = algo.train()["learners"]["default_policy"]
            assert all(np.isfinite(v) for v in result.values())
            assert 0 <= result["mean_kl_loss"] < 1
        algo.evaluate(4)
        learner = algo.learner_group.learner
        rollout = algo.env_runner_group.sample()["default_policy"]
        assert rollout["action_logp"].isfinite().all()
        batch = learner.build_train_batch("default_policy", rollout)
        module = learner.module["default_policy"]
        out = module.forward_train(batch)
        dist = module.get_train_action_dist_cls().from_logits(out["action_dist_inputs"])
        logp = dist.logp(batch["actions"])
        mask = batch.get("loss_mask", torch.ones_like(logp, dtype=torch.bool))
        torch.testing.assert_close(logp[mask], batch["action_logp"][mask], rtol=1e-4, atol=1e-5)
        env, state = Picky({"kind": kind}), None
        obs, _ = env.reset(seed=1)
        for explore in [True, False] * 4:
            action, state = algo.get_module().compute_single_action(obs, state, explore=explore)
            obs, *_ = env.step(action)
