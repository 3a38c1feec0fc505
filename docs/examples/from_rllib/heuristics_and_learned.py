"""Rock, paper, scissors with rules, after RLlib's `examples/multi_agent/rock_paper_scissors_heuristic_vs_learned.py`.

    python docs/examples/from_rllib/heuristics_and_learned.py

One agent learns; the other one is played by one of two rules, drawn each episode. With memory the learner can find out
which of them it has before it.
"""

from __future__ import annotations

import argparse
import zlib
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core import Columns, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.envs import MultiAgentEnv
from rlkit_ppo import PPOConfig

START = 3


class RockPaperScissors(MultiAgentEnv):
    """Ten rounds; each sees the other's last move, and 3 at the start. Move `m` is beaten by `(m + 1) % 3`."""

    possible_agents = ["learner", "opponent"]
    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """No moves yet."""
        super().reset(seed=seed)
        self.rounds = 0
        return dict.fromkeys(self.possible_agents, START), {}

    def step(self, action_dict: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Both move at once."""
        mine, theirs = action_dict["learner"], action_dict["opponent"]
        won = {0: 0.0, 1: 1.0, 2: -1.0}[(mine - theirs) % 3]
        self.rounds += 1
        observations, rewards = {"learner": theirs, "opponent": mine}, {"learner": won, "opponent": -won}
        return observations, rewards, {"__all__": self.rounds == 10}, {"__all__": False}, {}


class Rule(RLModule):
    """A module without parameters: it acts, and is never trained."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTIONS: self.moves(np.asarray(batch[Columns.OBS]))}

    def moves(self, last: np.ndarray) -> np.ndarray:
        """Moves (B,) after the other's last ones (B,)."""
        raise NotImplementedError


class BeatsLast(Rule):
    """What beats the other's last move."""

    def moves(self, last: np.ndarray) -> np.ndarray:
        """Rock at the start."""
        return np.where(last == START, 0, (last + 1) % 3)


class RepeatsLast(Rule):
    """The other's last move."""

    def moves(self, last: np.ndarray) -> np.ndarray:
        """Paper at the start."""
        return np.where(last == START, 1, last)


def opponent_of(agent_id: str, episode: Any) -> str:
    """Which module an agent has in an episode: asked once for each."""
    if agent_id == "learner":
        return "learned"
    return ["beats_last", "repeats_last"][zlib.crc32(episode.id_.encode()) % 2]


def make_config() -> PPOConfig:
    """Three modules, of which one is trained."""
    memory = {"use_lstm": True, "lstm_cell_size": 32, "max_seq_len": 10, "fcnet_hiddens": [32], "vf_share_layers": True}
    specs = {
        "learned": RLModuleSpec(model_config=memory),
        "beats_last": RLModuleSpec(module_class=BeatsLast),
        "repeats_last": RLModuleSpec(module_class=RepeatsLast),
    }
    return (
        PPOConfig()
        .environment(RockPaperScissors)
        .multi_agent(policies=list(specs), policy_mapping_fn=opponent_of, policies_to_train=["learned"])
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        .training(train_batch_size=1280, minibatch_size=320, lr=3e-3, num_epochs=4, entropy_coeff=0.01)
        .debugging(seed=1)
    )


def main() -> None:
    """Train, and show what each module makes of its ten rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=60)
    args = parser.parse_args()
    with make_config().build_algo() as algo:
        for _ in range(args.iterations):
            means = algo.train()["env_runners"]["module_episode_returns_mean"]
            print("   ".join(f"{name} {mean:.2f}" for name, mean in means.items()))


if __name__ == "__main__":
    main()
