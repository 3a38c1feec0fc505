"""Train on an env that plays somewhere else and speaks over a TCP socket, one line of JSON for each step.

    python docs/examples/play_over_a_socket.py train 5555 &
    python docs/examples/play_over_a_socket.py play 5555

needs `pip install rlkit-ppo`. The player knows nothing of rlkit: it says what it sees and does what it is told, so it
may be a simulator in another language. Whoever trains is started first, with the spaces that the player speaks of.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlkit_core import Columns
from rlkit_core.data import Rollout
from rlkit_core.protocols import EnvRunner
from rlkit_ppo import PPOConfig

FLAGS = {Columns.REWARDS: torch.float32, Columns.TERMINATEDS: torch.bool, Columns.TRUNCATEDS: torch.bool}


class Listener(EnvRunner):
    """Answers one player's observations with actions: what `env_runners(env_runner_cls=)` names."""

    def __init__(self, config: Any, *, worker_index: int) -> None:
        self.config, self.stream = config, None
        self.server = socket.create_server(("127.0.0.1", config.env_config["port"]))

    def get_spaces(self) -> dict[str, Any]:
        """Those that the config says the player has."""
        return {"__env__": (self.config.observation_space, self.config.action_space)}

    def set_weights(self, modules: Any, version: int) -> None:
        """Act with these from now on."""
        self.module, self.version = next(iter(modules.values())).unwrapped(), version

    def sample(self, *, num_timesteps: int, explore: bool, timestep: int) -> Rollout:
        """Play so many steps, `[T, 1, ...]`."""
        fresh = self.stream is None
        if fresh:  # the first player that calls
            self.stream = self.server.accept()[0].makefile("rw")
            self.obs = self.hear()["obs"]
        dist_cls = self.module.get_exploration_action_dist_cls()
        steps: list[dict[str, Any]] = []
        finals: dict[int, Any] = {}
        for t in range(num_timesteps):
            obs = torch.tensor([self.obs], dtype=torch.float32)
            with torch.no_grad():
                inputs = self.module.forward_exploration({Columns.OBS: obs})[Columns.ACTION_DIST_INPUTS]
                dist = dist_cls.from_logits(inputs)
                actions = dist.sample() if explore else dist.to_deterministic().sample()
                logp = dist.logp(actions)
            answer = {"action": self.module.actions_to_env(actions.numpy())[0].tolist()}
            print(json.dumps(answer), file=self.stream, flush=True)
            heard = self.hear()
            told = {name: torch.tensor([heard[name]], dtype=dtype) for name, dtype in FLAGS.items()}
            acted = {Columns.ACTIONS: actions, Columns.ACTION_DIST_INPUTS: inputs, Columns.ACTION_LOGP: logp}
            steps.append({Columns.OBS: obs, **acted, **told})
            if heard[Columns.TRUNCATEDS] and not heard[Columns.TERMINATEDS]:
                finals[t] = heard["final_obs"]
            self.obs = heard["obs"]
        return Rollout(
            {name: torch.stack([step[name] for step in steps]) for name in steps[0]},
            bootstrap_obs=torch.tensor([self.obs], dtype=torch.float32),
            final_obs=torch.tensor(list(finals.values()), dtype=torch.float32) if finals else None,
            final_index=torch.tensor(list(finals)) if finals else None,
            weights_version=self.version,
            fresh_start=fresh,
        )

    def hear(self) -> dict[str, Any]:
        """One line from the player."""
        if not (line := self.stream.readline()):
            raise ConnectionError("the player has hung up")
        return dict(json.loads(line))

    def stop(self) -> None:
        """Hang up."""
        if self.stream is not None:
            self.stream.close()
        self.server.close()


def play(port: int, env_id: str = "CartPole-v1") -> None:
    """The player: does what it is told until the other side hangs up."""
    env = gym.make(env_id)
    stream = socket.create_connection(("127.0.0.1", port)).makefile("rw")
    message: dict[str, Any] = {"obs": env.reset(seed=0)[0].tolist()}
    while True:
        print(json.dumps(message), file=stream, flush=True)
        if not (answer := stream.readline()):
            break
        obs, reward, terminated, truncated, _ = env.step(np.asarray(json.loads(answer)["action"]))
        following = env.reset()[0] if terminated or truncated else obs
        message = {"obs": following.tolist(), "final_obs": obs.tolist(), "rewards": float(reward)}
        message |= {"terminateds": bool(terminated), "truncateds": bool(truncated)}


def make_config(port: int) -> PPOConfig:
    """PPO for one env with CartPole's spaces."""
    seen, done = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32), gym.spaces.Discrete(2)
    config = PPOConfig().environment(env_config={"port": port}, observation_space=seen, action_space=done)
    return config.env_runners(env_runner_cls=Listener, num_envs_per_env_runner=1)


if __name__ == "__main__":
    if sys.argv[1] == "play":
        play(int(sys.argv[2]))
    else:
        with make_config(int(sys.argv[2])).build_algo() as algorithm:
            for _ in range(50):
                print(algorithm.train()["env_runners"]["episode_return_mean"], flush=True)
