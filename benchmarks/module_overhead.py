"""What an RLModule's forwards cost beside the bare networks, interleaved.

Two networks of two 64-unit tanh layers. ``forward_exploration`` at batch 1 (module in eval mode) is held against the
bare policy under ``no_grad``; ``forward_train`` with ``compute_values`` against both bare networks.

    python benchmarks/module_overhead.py [--repeats 40] [--check]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import gymnasium as gym
import torch
from torch import nn

from rlkit_core import ActorCriticTorchRLModule

LIMITS = {"forward_exploration, batch 1": 1.3, "forward_train + compute_values, batch 1": 1.2}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="interleaved rounds of each")
    parser.add_argument("--calls", type=int, default=500, help="calls in one round")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is exceeded")
    args = parser.parse_args()
    torch.set_num_threads(1)

    def net(outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))

    pi, vf = net(2), net(1)
    module = ActorCriticTorchRLModule(
        observation_space=gym.spaces.Box(-1.0, 1.0, (4,)),
        action_space=gym.spaces.Discrete(2),
        model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False},
    )
    exceeded = False
    for batch_size in (1, 256):
        obs = torch.randn(batch_size, 4)
        batch = {"obs": obs}

        def bare_act(obs: torch.Tensor = obs) -> None:
            with torch.no_grad():
                pi(obs)

        def act(batch: dict[str, torch.Tensor] = batch) -> None:
            module.forward_exploration(batch)

        def bare_train(obs: torch.Tensor = obs) -> None:
            pi(obs)
            vf(obs).squeeze(-1)

        def train(batch: dict[str, torch.Tensor] = batch) -> None:
            out = module.forward_train(batch)
            module.compute_values(batch, embeddings=out["embeddings"])

        for name, ours, bare, mode in (
            (f"forward_exploration, batch {batch_size}", act, bare_act, False),
            (f"forward_train + compute_values, batch {batch_size}", train, bare_train, True),
        ):
            module.train(mode)
            mine, theirs = interleaved(ours, bare, args.repeats, args.calls)
            ratio = mine / theirs
            limit = LIMITS.get(name)
            exceeded |= limit is not None and ratio > limit
            note = f"  (limit {limit})" if limit else ""
            print(f"{name}: {mine:.1f} us, bare {theirs:.1f} us, ratio {ratio:.2f}{note}")
    return int(args.check and exceeded)


def interleaved(ours: Callable[[], None], bare: Callable[[], None], repeats: int, calls: int) -> tuple[float, float]:
    """Median microseconds of one call of each, from rounds in turn."""
    times: dict[Callable[[], None], list[float]] = {ours: [], bare: []}
    for _ in range(repeats + 1):
        for function, seen in times.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            seen.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times[ours][1:]), statistics.median(times[bare][1:])


if __name__ == "__main__":
    sys.exit(main())
