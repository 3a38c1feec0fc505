"""CartPole-v1 as a simulator: N poles at once, in torch tensors on any device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

GRAVITY, LENGTH, FORCE, TAU = 9.8, 0.5, 10.0, 0.02
MASS_OF_POLE, TOTAL_MASS = 0.1, 1.1
FARTHEST, STEEPEST = 2.4, math.radians(12.0)
STARTS = 0.05
"""Each number of a first state is drawn between minus this and this."""

Step = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]


class TensorCartPole:
    """The dynamics, ends and rewards of gymnasium's CartPole-v1, for N poles together.

    A step has no branch on data and does not make the host wait; on a GPU it is one CUDA graph, recorded at the first
    step. An episode's end and the reset are one step, and ``infos["final_obs"]`` has what each env showed before it.

    State is float64, as gymnasium's, and observations float32. Tensors that a step returns are overwritten by the next.

    Args:
        num_envs: N.
        device: where the poles are.
        max_episode_steps: an episode is truncated after so many.
    """

    single_action_space = gym.spaces.Discrete(2)
    single_observation_space = gym.spaces.Box(
        -np.array([2 * FARTHEST, np.inf, 2 * STEEPEST, np.inf], np.float32),
        np.array([2 * FARTHEST, np.inf, 2 * STEEPEST, np.inf], np.float32),
    )
    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int, *, device: torch.device | str = "cpu", max_episode_steps: int = 500) -> None:
        self.num_envs, self.device = num_envs, torch.device(device)
        self.max_episode_steps = max_episode_steps
        number: dict[str, Any] = {"dtype": torch.float64, "device": self.device}
        self.state = torch.zeros(4, num_envs, **number)  # position, speed, angle, angular speed
        self.lengths = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._limits = torch.tensor([[FARTHEST], [STEEPEST]], **number)
        self._most_inertia = torch.tensor(LENGTH * 4.0 / 3.0, **number)
        self._actions = torch.zeros(num_envs, **number)  # as numbers of that type, for the arithmetic
        self._obs = torch.zeros(num_envs, 4, device=self.device)
        self._final_obs = torch.zeros_like(self._obs)
        self._rewards = torch.ones(num_envs, device=self.device)
        self._terminated = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._truncated = torch.zeros_like(self._terminated)
        self._generator = torch.Generator(self.device)
        self._generator.manual_seed(0)
        self._run: Callable[[], None] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Begin all episodes; a seed fixes everything that follows."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self.state.uniform_(-STARTS, STARTS, generator=self._generator)
        self.lengths.zero_()
        self._obs.copy_(self.state.T)
        return self._obs, {}

    def step(self, actions: Tensor) -> Step:
        """Push each cart to the left (0) or to the right (1).

        Args:
            actions: ``[N]`` integers.

        Returns:
            Observations ``[N, 4]``, rewards, terminations and truncations ``[N]``, and infos with ``final_obs``
            ``[N, 4]``: what each env shows before a reset.
        """
        self._actions.copy_(actions)
        if self._run is None:
            self._run = self._recorded() if self.device.type == "cuda" else self._step
        self._run()
        return self._obs, self._rewards, self._terminated, self._truncated, {"final_obs": self._final_obs}

    def _step(self) -> None:
        """From actions and state to what a step returns and the next state, all of it in place."""
        _, speed, angle, spin = self.state
        sine, cosine = angle.sin(), angle.cos()
        force = self._actions * (2.0 * FORCE / TOTAL_MASS) - FORCE / TOTAL_MASS
        # Equations of Florian, "Correct equations for the dynamics of the cart-pole system" (2007), without friction.
        share = MASS_OF_POLE / TOTAL_MASS
        pushed = torch.addcmul(force, spin.square(), sine, value=LENGTH * share)
        inertia = torch.addcmul(self._most_inertia, cosine, cosine, value=-LENGTH * share)
        spin_change = torch.addcmul(sine * GRAVITY, cosine, pushed, value=-1.0) / inertia
        speed_change = torch.addcmul(pushed, spin_change, cosine, value=-LENGTH * share)
        after = torch.add(self.state, torch.stack((speed, speed_change, spin, spin_change)), alpha=TAU)
        self._final_obs.copy_(after.T)
        torch.any(after[0::2].abs() > self._limits, 0, out=self._terminated)
        torch.ge(self.lengths.add_(1), self.max_episode_steps, out=self._truncated)
        ends = self._terminated | self._truncated
        starts = torch.empty_like(after).uniform_(-STARTS, STARTS, generator=self._generator)
        torch.where(ends, starts, after, out=self.state)
        self.lengths.masked_fill_(ends, 0)
        self._obs.copy_(self.state.T)

    def _recorded(self) -> Callable[[], None]:
        """The step as a CUDA graph; state and random numbers go on from where they were."""
        kept = self.state.clone(), self.lengths.clone(), self._generator.get_state()
        stream: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(2):  # kernels are loaded before a capture
                self._step()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        self.state.copy_(kept[0])
        self.lengths.copy_(kept[1])
        self._generator.set_state(kept[2])
        graph: Any = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph, stream=stream):
            self._step()
        replay: Callable[[], None] = graph.replay
        return replay
