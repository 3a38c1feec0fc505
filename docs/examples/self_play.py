"""Self-play against a league: a policy plays itself, a random player, and frozen copies of what it once was.

    python docs/examples/self_play.py --steps 1000000 --out run_folder

needs `pip install "rlkit-core[multi-agent]" rlkit-ppo`. Every few iterations the policy's weights are copied into a new
module that is never trained, and the oldest copy leaves, even while a game that it plays is open.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from rlkit_core import Algorithm, Columns, MultiRLModuleSpec, RLModuleSpec, TorchRLModule
from rlkit_ppo import PPOConfig, PPOTorchRLModule

ENV = "classic/tictactoe_v3"
MAIN, RANDOM = "main", "random"
# A board of 3 x 3 fields is too small for the convolutions that its shape asks for.
PLAYER = RLModuleSpec(
    components={"encoder:observation": "rlkit-core/mlp"},
    model_config={"fcnet_hiddens": [256], "fusionnet_hiddens": [256]},
)


class League:
    """Who plays a game: in a quarter of them main plays itself, in the others a guest sits on one side.

    Half of the guests play at random, so that main learns an answer to every move and not only to good ones. Two of
    three begin, since it is harder to answer than to begin.

    Args:
        past: ids of past selves, the other half.
    """

    def __init__(self, past: tuple[str, ...] = ()) -> None:
        self.past = past

    def __call__(self, agent_id: str, episode: Any, **kwargs: object) -> str:
        """The module that an agent plays with; every run draws the same."""
        draw = zlib.crc32(episode.id_.encode())
        guest_sits_at = "player_2" if draw // 4 % 3 == 0 else "player_1"
        if draw % 4 == 0 or agent_id != guest_sits_at:
            return MAIN
        return self.past[draw // 24 % len(self.past)] if self.past and draw // 12 % 2 else RANDOM


class RandomPlayer(TorchRLModule):
    """Any legal move, each as likely as the others."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        mask = batch[Columns.OBS]["action_mask"]
        return {Columns.ACTION_DIST_INPUTS: torch.where(mask.bool(), 0.0, torch.finfo(torch.float32).min)}


class PastSelf(PPOTorchRLModule):
    """What main once was, but three moves of ten are any legal one: it comes everywhere, and plays well from there."""

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        outputs = super()._forward_exploration(batch, **kwargs)
        legal = batch[Columns.OBS]["action_mask"].bool()
        lowest = torch.finfo(torch.float32).min
        own = torch.where(legal, outputs[Columns.ACTION_DIST_INPUTS], lowest).softmax(-1)
        mixed = 0.7 * own + 0.3 * legal / legal.sum(-1, keepdim=True)
        return {**outputs, Columns.ACTION_DIST_INPUTS: torch.where(legal, mixed.log(), lowest)}


def make_config(steps: int) -> PPOConfig:
    """PPO for one policy that plays both sides."""
    modules = {MAIN: PLAYER, RANDOM: RLModuleSpec(module_class=RandomPlayer)}
    return (
        PPOConfig()
        .environment(ENV)
        .multi_agent(policies=list(modules), policy_mapping_fn=League(), policies_to_train=[MAIN])
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=modules))
        .env_runners(num_envs_per_env_runner=16)
        .training(
            train_batch_size=2048,
            minibatch_size=256,
            num_epochs=8,
            lr=[[0, 1e-3], [steps, 1e-4]],
            use_kl_loss=False,
            gamma=1.0,
            lambda_=0.9,
            entropy_coeff=[[0, 0.03], [steps, 0.003]],
        )
    )


def freeze_main(algorithm: Algorithm, number: int, past: tuple[str, ...]) -> tuple[str, ...]:
    """Put a copy of main as it is now into the league, and let the oldest go if there are more than eight."""
    name = f"past_{number}"
    gone, past = past[:-7], (*past[-7:], name)
    spec = RLModuleSpec(module_class=PastSelf, components=PLAYER.components, model_config=PLAYER.model_config)
    algorithm.add_module(name, spec, new_agent_to_module_mapping_fn=League(past))
    algorithm.learner_group.foreach_learner(partial(copy_weights, to=name))
    algorithm.sync_weights()
    for member in gone:
        algorithm.remove_module(member)
    return past


def copy_weights(learner: Any, to: str) -> None:
    """Give a module the weights of main, on one learner."""
    learner.module[to].set_state(learner.module[MAIN].get_state())


def train(
    steps: int, *, seed: int = 1, every: int = 20, until: Callable[[Algorithm], bool] | None = None
) -> tuple[Algorithm, tuple[str, ...]]:
    """Train for so many moves, or until somebody is content; a past self joins every so many iterations."""
    algorithm = make_config(steps).debugging(seed=seed).build()
    past: tuple[str, ...] = ()
    while algorithm.num_env_steps_sampled_lifetime < steps:
        result = algorithm.train()
        if algorithm.iteration % every:
            continue
        past = freeze_main(algorithm, algorithm.iteration // every, past)
        moves, entropy = algorithm.num_env_steps_sampled_lifetime, result["learners"][MAIN]["entropy"]
        print(f"{moves:>9,} moves, {len(past)} past selves, entropy {entropy:.2f}")
        if until is not None and until(algorithm):
            break
    return algorithm, past


def main() -> None:
    """Train, save, stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="tictactoe")
    args = parser.parse_args()
    algorithm, _ = train(args.steps, seed=args.seed)
    print(f"saved {algorithm.save_to_path(args.out)}")
    algorithm.stop()


if __name__ == "__main__":
    main()
