"""A PPO minibatch step in bare torch, captured as one CUDA graph: what captured steps are measured against.

The maths of ``bare_learner_update.py`` with a fused, capturable Adam, for two tanh networks or a Nature CNN with two
heads (Mnih et al. 2015, https://doi.org/10.1038/nature14236). Without a GPU the same step runs eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peers.bare_learner_update import NUM_ACTIONS, NUM_INPUTS, build_net
from torch import nn
from torch.nn import functional as F

FILTERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
IMAGE = (84, 84, 4)
WARM_UPS = 3


class Mlp(nn.Module):
    """Two networks of two tanh layers of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.policy, self.value = build_net(NUM_ACTIONS), build_net(1)

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, actions)`` and values ``(B, 1)``."""
        return self.policy(obs), self.value(obs)


class NatureCnn(nn.Module):
    """Three convolutions, a layer of 512, two heads; bytes ``(B, 84, 84, 4)`` in."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, size = IMAGE[2], IMAGE[0]
        for out, kernel, stride in FILTERS:
            layers += [nn.Conv2d(channels, out, kernel, stride), nn.ReLU()]
            channels, size = out, (size - kernel) // stride + 1
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size * size, 512), nn.ReLU())
        self.policy, self.value = nn.Linear(512, NUM_ACTIONS), nn.Linear(512, 1)

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, actions)`` and values ``(B, 1)``."""
        hidden = self.body(obs.permute(0, 3, 1, 2).float() / 255.0)
        return self.policy(hidden), self.value(hidden)


NETWORKS = {"mlp": Mlp, "cnn": NatureCnn}


def build_batch(network: str, rows: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Rows of the columns that a PPO update reads."""
    frames = (rows, *IMAGE)
    obs = torch.randn(rows, NUM_INPUTS) if network == "mlp" else torch.randint(256, frames, dtype=torch.uint8)
    batch = {
        "obs": obs,
        "actions": torch.randint(NUM_ACTIONS, (rows,)),
        "action_logp": torch.full((rows,), 1.0 / NUM_ACTIONS).log(),
        "advantages": torch.randn(rows),
        "value_targets": torch.randn(rows),
    }
    return {name: column.to(device) for name, column in batch.items()}


class BareUpdate:
    """Epochs over shuffled minibatches, each one replay of a graph.

    Args:
        network: ``"mlp"`` or ``"cnn"``.
        batch: from :func:`build_batch`.
        minibatch_size: rows of one step.
    """

    def __init__(self, network: str, batch: dict[str, torch.Tensor], minibatch_size: int) -> None:
        device = batch["obs"].device
        self.batch, self.size = batch, minibatch_size
        self.net = NETWORKS[network]().to(device)
        on_gpu = device.type == "cuda"
        self.adam = torch.optim.Adam(self.net.parameters(), lr=3e-4, eps=1e-5, fused=True, capturable=on_gpu)
        self.static = {name: column[:minibatch_size].clone() for name, column in batch.items()}
        self.replay = self._capture() if on_gpu else self.step

    def step(self) -> None:
        """Forward, loss, backward, clip, Adam on the static minibatch."""
        rows = self.static
        logits, values = self.net(rows["obs"])
        log_probs = F.log_softmax(logits, dim=-1)
        logp = log_probs.gather(-1, rows["actions"].unsqueeze(-1)).squeeze(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        ratio = torch.exp(logp - rows["action_logp"])
        surrogate = torch.min(ratio * rows["advantages"], ratio.clamp(0.8, 1.2) * rows["advantages"])
        value_loss = F.mse_loss(values.squeeze(-1), rows["value_targets"])
        loss = -surrogate.mean() + 0.5 * value_loss - 0.01 * entropy
        self.adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        self.adam.step()

    def _capture(self) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph: Any = torch.cuda.CUDAGraph()
        self.adam.zero_grad()
        with torch.cuda.graph(graph, stream=stream):
            self.step()
        replay: Callable[[], None] = graph.replay
        return replay

    def __call__(self, epochs: int) -> None:
        """One update."""
        count, device = len(self.batch["obs"]), self.batch["obs"].device
        for _ in range(epochs):
            order = torch.randperm(count, device=device)
            shuffled = {name: column[order] for name, column in self.batch.items()}
            for start in range(0, count, self.size):
                for name, column in shuffled.items():
                    self.static[name].copy_(column[start : start + self.size])
                self.replay()
