"""Behaviour cloning from a recorded data set in Minari's format: no env is stepped, only played in to evaluate.

    python docs/examples/bc_from_recording.py lab/cartpole-v0 CartPole-v1

needs `pip install rlkit-core "minari[hdf5]"` and a data set of array observations, recorded or downloaded with Minari.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
import gymnasium as gym
import minari
import numpy as np
import torch

from rlkit_core import ActorCriticCatalog, Algorithm, AlgorithmConfig, Columns, Learner, RLModuleSpec, TorchRLModule
from rlkit_core.data import Rollout
from rlkit_core.protocols import EnvRunner
from rlkit_core.settings import redeclare, setting


class Recording(EnvRunner):
    """Plays a data set from its first step to its last, and again: what `env_runners(env_runner_cls=)` names."""

    def __init__(self, config: BCConfig, *, worker_index: int) -> None:
        self.dataset = dataset = minari.load_dataset(config.recording)
        episodes = list(dataset.iterate_episodes())
        self.next_obs = np.concatenate([episode.observations[1:] for episode in episodes])
        self.columns = columns = {
            Columns.OBS: np.concatenate([episode.observations[:-1] for episode in episodes]),
            Columns.ACTIONS: as_sampled(np.concatenate([e.actions for e in episodes]), dataset.action_space),
            Columns.REWARDS: np.concatenate([episode.rewards for episode in episodes]).astype(np.float32),
            Columns.TERMINATEDS: np.concatenate([episode.terminations for episode in episodes]),
            Columns.TRUNCATEDS: np.concatenate([episode.truncations for episode in episodes]),
        }
        last = np.cumsum([len(episode.rewards) for episode in episodes]) - 1
        columns[Columns.TRUNCATEDS][last] = ~columns[Columns.TERMINATEDS][last]  # recording may have stopped there
        self.at, self.size = 0, int(last[-1]) + 1

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """Those of the data set, for every module."""
        return {"__env__": (self.dataset.observation_space, self.dataset.action_space)}

    def sample(self, *, num_timesteps: int, explore: bool, timestep: int) -> Rollout:
        """The next steps, `[T, 1, ...]`; the end of the data set ends a rollout early."""
        rows = slice(self.at, min(self.at + num_timesteps, self.size))
        cut = np.flatnonzero(self.columns[Columns.TRUNCATEDS][rows])
        fresh, self.at = self.at == 0, rows.stop % self.size
        return Rollout(
            {name: torch.from_numpy(column[rows]).unsqueeze(1) for name, column in self.columns.items()},
            bootstrap_obs=torch.from_numpy(self.next_obs[rows][-1:]),
            final_obs=torch.from_numpy(self.next_obs[rows][cut]),
            final_index=torch.from_numpy(cut),
            weights_version=None,  # nobody knows who acted
            fresh_start=fresh,
        )

    def get_state(self) -> dict[str, Any]:
        """Where it has got to."""
        return {"at": self.at}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.at = int(state["at"])


def as_sampled(actions: Any, space: Any) -> Any:
    """Recorded actions in the units in which distributions sample them: from 0, or within [-1, 1]."""
    if isinstance(space, gym.spaces.Discrete):
        return actions.astype(np.int64) - int(space.start)
    return (2.0 * (actions - space.low) / (space.high - space.low) - 1.0).reshape(len(actions), -1).astype(np.float32)


class Policy(TorchRLModule):
    """An encoder and a head of actions, as the catalog chooses them."""

    def setup(self) -> None:
        """Build both."""
        self.encoder, self.pi = self.catalog.build_encoder(), self.catalog.build_pi_head()

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.pi(self.encoder(batch)["encoder_out"])}


class Cloning(Learner):
    """Minus the mean log-probability of what was recorded."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> torch.Tensor:
        """`-E[log pi(a | s)]`."""
        dist_cls = self.module[module_id].get_train_action_dist_cls()
        return -dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS]).logp(batch[Columns.ACTIONS]).mean()


@attrs.define
class BCConfig(AlgorithmConfig):
    """Which data set, and the core's own training step on it."""

    algo_class = Algorithm
    recording: str = setting("", section="training", help="A data set of Minari's, by its id.")
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 1024)
    minibatch_size: int | None = redeclare(AlgorithmConfig, "minibatch_size", 64)
    env_runner_cls: type[Any] | None = redeclare(AlgorithmConfig, "env_runner_cls", Recording)

    def get_default_learner_class(self) -> Any:
        """The loss."""
        return Cloning

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The policy."""
        return RLModuleSpec(module_class=Policy, catalog_class=ActorCriticCatalog)


if __name__ == "__main__":
    data_set, env = sys.argv[1:]
    with BCConfig().environment(env).training(recording=data_set).build_algo() as algorithm:
        print("recorded:", [algorithm.train() for _ in range(30)][-1]["env_runners"]["episode_return_mean"])
        print("cloned:", algorithm.evaluate(20)["env_runners"]["episode_return_mean"])
