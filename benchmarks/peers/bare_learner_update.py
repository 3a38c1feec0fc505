"""A PPO update of 4,096 rows as a bare torch loop: what a learner has to be measured against.

Four epochs over shuffled minibatches of 256 rows, two separate 64-64 tanh networks, the clipped surrogate,
a squared value error and an entropy term through ``log_softmax``, default Adam and ``clip_grad_norm_``.
It is a plain loop that stands on its own, neither slowed nor specially tuned, and it does not change once
figures refer to it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

NUM_ROWS = 4096
MINIBATCH_SIZE = 256
NUM_EPOCHS = 4
NUM_MINIBATCHES = NUM_EPOCHS * NUM_ROWS // MINIBATCH_SIZE
NUM_INPUTS = 4
NUM_ACTIONS = 2


def build_net(num_outputs: int) -> nn.Sequential:
    """Two tanh layers of 64 and a linear one."""
    return nn.Sequential(nn.Linear(NUM_INPUTS, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, num_outputs))


def build_batch() -> dict[str, torch.Tensor]:
    """4,096 rows of the columns that a PPO update reads."""
    return {
        "obs": torch.randn(NUM_ROWS, NUM_INPUTS),
        "actions": torch.randint(NUM_ACTIONS, (NUM_ROWS,)),
        "action_logp": torch.full((NUM_ROWS,), 1.0 / NUM_ACTIONS).log(),
        "advantages": torch.randn(NUM_ROWS),
        "value_targets": torch.randn(NUM_ROWS),
    }


def update(
    policy: nn.Module, value_net: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]
) -> None:
    """One update: 4 x 16 minibatch steps."""
    parameters = [*policy.parameters(), *value_net.parameters()]
    raw = batch["advantages"]
    batch = {**batch, "advantages": (raw - raw.mean()) / (raw.std() + 1e-8)}
    for _ in range(NUM_EPOCHS):
        for rows in torch.randperm(NUM_ROWS).split(MINIBATCH_SIZE):
            obs, actions, old_logp, advantages, targets = (column[rows] for column in batch.values())
            log_probs = F.log_softmax(policy(obs), dim=-1)
            logp = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
            entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
            ratio = torch.exp(logp - old_logp)
            surrogate = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
            value_loss = F.mse_loss(value_net(obs).squeeze(-1), targets)
            loss = -surrogate.mean() + 0.5 * value_loss - 0.01 * entropy
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()


def run(seed: int, threads: int, updates: int = 10) -> float:
    """Median seconds of one update, over ``updates`` of them after one that is not counted."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    policy, value_net = build_net(NUM_ACTIONS), build_net(1)
    optimizer = torch.optim.Adam([*policy.parameters(), *value_net.parameters()], lr=3e-4)
    batch = build_batch()
    update(policy, value_net, optimizer, batch)
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        update(policy, value_net, optimizer, batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--updates", type=int, default=10)
    print(run(**vars(parser.parse_args())))
