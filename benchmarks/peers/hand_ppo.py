"""PPO on CartPole-v1 written by hand for speed, without a library: how near to the hardware Python and torch come.

The same work as ``bare_ppo.py``. Rollouts lie in arrays ``[T, N]`` that are made once, the envs' loop writes into their
rows, only the actor runs while acting, its noise is drawn once a rollout, and values follow for all steps in one call.
Advantages are a scan that doubles its stride. Parameters and gradients are views of two flat buffers, and the whole
gradient step but Adam is recorded once, below autograd, as a TorchScript graph that is replayed without Python.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from _span import (
    CLIP,
    ENTROPY_COEFF,
    ENV_ID,
    GAMMA,
    LAMBDA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    NUM_STEPS,
    ROLLOUT,
    VALUE_COEFF,
    Work,
    measure,
    parse_work,
)
from bare_ppo import mlp
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: Weights ``(inputs, outputs)`` and biases of each layer.
Layers = list[tuple[Tensor, Tensor]]


class Recorded(TorchDispatchMode):
    """A function of tensors, run once and replayed as a graph of the operations that it was made of.

    Tensors that it reads or writes beside its inputs keep their memory; shapes and Python numbers are frozen.

    Args:
        function: returns one tensor.
        inputs: what it is run with; a replay takes others of the same shapes.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # the other answer imports the compiler

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._graph: Any = torch._C.Graph()
        self._nodes = {self._place(tensor): self._graph.addInput() for tensor in inputs}
        self._outer: dict[Any, Tensor] = {}
        self._alive: list[Any] = [inputs]  # so that no address is used twice
        with self:
            result = function(*inputs)
        self._graph.registerOutput(self._node(result))
        self._run = torch._C._create_function_from_graph("step", self._graph)
        self._rest = tuple(self._outer.values())

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Replay it."""
        result: Tensor = self._run(*inputs, *self._rest)
        return result

    @staticmethod
    def _place(tensor: Tensor) -> Any:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    def _node(self, tensor: Tensor) -> Any:
        place = self._place(tensor)
        if place not in self._nodes:
            self._nodes[place], self._outer[place] = self._graph.addInput(), tensor
        return self._nodes[place]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self._alive.append((args, kwargs, out))
        source = self._place(args[0]) if func.is_view else None
        if source is not None and (source in self._outer or source not in self._nodes):
            return out  # a view of what stays where it is
        declared = func._schema.arguments
        given = [*args, *(kwargs.get(one.name, one.default_value) for one in declared[len(args) :])]
        values = [self._argument(value, one.type) for value, one in zip(given, declared, strict=True)]
        node = self._graph.insertNode(self._graph.create(func._schema.name, values, len(func._schema.returns)))
        for made, one, result in zip(
            node.outputs(), func._schema.returns, out if isinstance(out, tuple) else (out,), strict=True
        ):
            made.setType(one.type)
            self._nodes[self._place(result)] = made
        return out

    def _argument(self, value: Any, declared: Any) -> Any:
        if isinstance(value, Tensor):
            return self._node(value)
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
            node = self._graph.insertNode(self._graph.create("prim::ListConstruct", [self._node(v) for v in value], 1))
            made = next(iter(node.outputs()))
            made.setType(declared)
            return made
        if isinstance(value, torch.layout):
            value = 0
        elif isinstance(value, int) and not isinstance(value, bool) and "float" in str(declared):
            value = float(value)
        return self._graph.insertConstant(list(value) if isinstance(value, (list, tuple)) else value)


def forward(layers: Layers, x: Tensor) -> Tensor:
    """Tanh layers and a linear last one."""
    *hidden, (last_weight, last_bias) = layers
    for weight, bias in hidden:
        x = torch.addmm(bias, x, weight).tanh()
    return torch.addmm(last_bias, x, last_weight)


class HandPPO:
    """The loop, with its envs, networks and storage built in the constructor."""

    def __init__(self, work: Work) -> None:
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        self.work = work
        self.envs = [gym.make(ENV_ID, disable_env_checker=True) for _ in range(NUM_ENVS)]
        space: Any = self.envs[0].action_space
        (num_inputs,) = self.envs[0].observation_space.shape or ()
        num_actions = int(space.n)
        self._networks(num_inputs, num_actions)

        self.obs = torch.zeros(NUM_STEPS + 1, NUM_ENVS, num_inputs)
        self.actions = torch.zeros(NUM_STEPS, NUM_ENVS, dtype=torch.int64)
        self.rewards = torch.zeros(NUM_STEPS, NUM_ENVS)
        self.going_on = torch.zeros(NUM_STEPS, NUM_ENVS)
        self.noise = torch.zeros(NUM_STEPS, NUM_ENVS, num_actions)
        self.hidden = [torch.zeros(NUM_ENVS, weight.shape[1]) for weight, _ in self.policy]
        # Rows as tensors and as arrays, so that no step makes a view.
        rows = zip(self.obs[:-1], self.noise, self.actions, strict=True)
        arrays = zip(self.obs.numpy()[1:], self.rewards.numpy(), self.going_on.numpy(), strict=True)
        self.rows = [(*row, *array) for row, array in zip(rows, arrays, strict=True)]

        columns = (self.obs[:-1].reshape(ROLLOUT, -1), self.actions.reshape(-1), *torch.zeros(3, ROLLOUT))
        self.shuffled = [torch.zeros_like(column) for column in columns]
        self.minibatches = list(zip(*(column.split(MINIBATCH_SIZE) for column in self.shuffled), strict=True))
        self.one = torch.ones(())  # the gradient of the loss
        self.step: Recorded | None = None
        self.running_return = [0.0] * NUM_ENVS
        self.returns: deque[float] = deque(maxlen=100)

    def _networks(self, num_inputs: int, num_actions: int) -> None:
        """Both networks, as views of one flat buffer."""
        nets = mlp(num_inputs, num_actions, 0.01), mlp(num_inputs, 1, 1.0)
        made = [layer for net in nets for layer in net if isinstance(layer, nn.Linear)]
        tensors = [tensor.detach() for layer in made for tensor in (layer.weight.t(), layer.bias)]
        self.parameters = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self.gradients = torch.zeros_like(self.parameters)
        parts = self.parameters.split([tensor.numel() for tensor in tensors])
        self.leaves = [part.view(t.shape).requires_grad_() for part, t in zip(parts, tensors, strict=True)]
        layers = list(zip(self.leaves[::2], self.leaves[1::2], strict=True))
        self.policy, self.value = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        self.parameters.grad = self.gradients
        self.adam = torch.optim.Adam([self.parameters], lr=LEARNING_RATE, fused=True)

    def train(self) -> tuple[int, float]:
        """Train for the whole work; return the steps done and the mean of the last 100 returns."""
        self.begin()
        for _ in range(self.work.iterations):
            with torch.no_grad():
                ended = self.sample()
                columns = self.columns(ended)
            self.update(columns)
        return self.work.iterations * ROLLOUT, float(np.mean(self.returns)) if self.returns else float("nan")

    def begin(self) -> None:
        """Begin episodes in all envs."""
        for i, env in enumerate(self.envs):
            self.obs[-1, i] = torch.from_numpy(env.reset(seed=self.work.seed + i)[0])

    def sample(self) -> list[tuple[int, int, np.ndarray]]:
        """Fill the storage with one rollout; return step, env and last observation where a time limit ended one."""
        self.obs[0] = self.obs[-1]
        self.noise.exponential_().log_().neg_()  # the greatest of logits + such noise is a draw from their softmax
        self.going_on.fill_(1.0)
        (w1, b1), (w2, b2), (w3, b3) = self.policy
        h1, h2, logits = self.hidden
        addmm, argmax, tanh = torch.addmm, torch.argmax, torch.tanh
        envs, running, cut = self.envs, self.running_return, []
        for t, (obs, noise, actions, following, rewards, going_on) in enumerate(self.rows):
            tanh(addmm(b1, obs, w1, out=h1), out=h1)
            tanh(addmm(b2, h1, w2, out=h2), out=h2)
            addmm(b3, h2, w3, out=logits).add_(noise)
            argmax(logits, 1, out=actions)
            for i, action in enumerate(actions.tolist()):
                seen, reward, terminated, truncated, _ = envs[i].step(action)
                rewards[i] = reward
                running[i] += float(reward)
                if terminated or truncated:
                    if not terminated:
                        cut.append((t, i, seen))
                    going_on[i] = 0.0
                    self.returns.append(running[i])
                    running[i] = 0.0
                    seen, _ = envs[i].reset()
                following[i] = seen
        return cut

    def columns(self, cut: list[tuple[int, int, np.ndarray]]) -> list[Tensor]:
        """What the update reads: observations, actions, their log-probabilities, advantages and value targets."""
        values = forward(self.value, self.obs.view(ROLLOUT + NUM_ENVS, -1)).view(NUM_STEPS + 1, NUM_ENVS)
        obs, actions = self.obs[:-1].reshape(ROLLOUT, -1), self.actions.view(-1)
        logp = forward(self.policy, obs).log_softmax(1).gather(1, actions.unsqueeze(1)).squeeze(1)
        for t, i, last in cut:
            self.rewards[t, i] += GAMMA * forward(self.value, torch.from_numpy(last).unsqueeze(0))[0, 0]
        factors = self.going_on * (GAMMA * LAMBDA)
        advantages = torch.addcmul(self.rewards - values[:-1], self.going_on, values[1:], value=GAMMA)
        stride = 1
        while stride < NUM_STEPS:  # each row then holds the sum over twice as many steps
            advantages[:-stride] += factors[:-stride] * advantages[stride:]
            factors[:-stride] = factors[:-stride] * factors[stride:]
            stride *= 2
        targets = advantages + values[:-1]
        return [obs, actions, logp, advantages.view(-1), targets.view(-1)]

    def loss(self, obs: Tensor, actions: Tensor, old_logp: Tensor, advantages: Tensor, targets: Tensor) -> Tensor:
        """PPO's loss of a minibatch; its clipped gradients are in the flat buffer afterwards."""
        log_probs = forward(self.policy, obs).log_softmax(1)
        logp = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)
        entropy = -(log_probs.exp() * log_probs).sum(1).mean()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = (logp - old_logp).exp()
        policy_loss = -torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
        value_loss = (forward(self.value, obs).squeeze(1) - targets).square().mean()
        loss = policy_loss + VALUE_COEFF * value_loss - ENTROPY_COEFF * entropy
        found = torch.autograd.grad(loss, self.leaves, self.one)
        with torch.no_grad():
            torch.cat([gradient.reshape(-1) for gradient in found], out=self.gradients)
            norm = torch.linalg.vector_norm(self.gradients)
            self.gradients.mul_((MAX_GRAD_NORM / (norm + 1e-6)).clamp(max=1.0))
        return loss.detach()

    def update(self, columns: list[Tensor]) -> None:
        """Four epochs of minibatches of 256 over the rollout, each column shuffled once an epoch."""
        if self.step is None:
            self.step = Recorded(self.loss, [column[:MINIBATCH_SIZE].clone() for column in columns])
        with torch.no_grad():
            for _ in range(NUM_EPOCHS):
                order = torch.randperm(ROLLOUT)
                for column, shuffled in zip(columns, self.shuffled, strict=True):
                    torch.index_select(column, 0, order, out=shuffled)
                for minibatch in self.minibatches:
                    self.step(*minibatch)
                    self.adam.step()


if __name__ == "__main__":
    measure(HandPPO(parse_work()).train, ["torch", "gymnasium", "numpy"])
