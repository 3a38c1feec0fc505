"""Every observation space with every action space, plain and recurrent, shared and separate."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit_core import ActorCriticTorchRLModule, RLModuleSpec
from rlkit_core.rl_module import ActionSampler
from rlkit_core.spaces import flat_leaves

Box = spaces.Box

OBSERVATIONS = {
    "vector": Box(-1.0, 1.0, (3,), np.float32),
    "vector64": Box(-np.inf, np.inf, (3,), np.float64),
    "matrix": Box(-1.0, 1.0, (9, 7), np.float32),
    "bytes-last": Box(0, 255, (12, 10, 3), np.uint8),
    "bytes-first": Box(0, 255, (3, 12, 10), np.uint8),
    "discrete": spaces.Discrete(4, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
    "dict": spaces.Dict({"a": Box(-1.0, 1.0, (2,)), "b.c": spaces.Discrete(3), "img": Box(0, 255, (8, 8), np.uint8)}),
    "tuple": spaces.Tuple((spaces.MultiBinary(2), spaces.Dict({"x": Box(0.0, 1.0, (1,))}))),
}
ACTIONS = {
    "discrete": spaces.Discrete(3, start=2),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(2),
    "box": Box(np.array([0.0, -3.0], np.float32), np.array([10.0, 3.0], np.float32)),
    "matrix": Box(-np.inf, np.inf, (2, 2)),
    "dict": spaces.Dict({"a": spaces.Discrete(2), "b": Box(-1.0, 1.0, (1,))}),
    "tuple": spaces.Tuple((spaces.MultiDiscrete([2, 2]), spaces.Discrete(2))),
}
KINDS = {"plain": {}, "lstm": {"use_lstm": True}, "gru": {"use_gru": True}}
SMALL = {"fcnet_hiddens": [6], "fusionnet_hiddens": [6], "lstm_cell_size": 5, "max_seq_len": 4}
SMALL_IMAGES = {"conv_filters": [[4, 3, 2]]}


def build(obs, act, settings_, inference_only=False):
    images = any(isinstance(leaf, Box) and len(leaf.shape) > 1 for _, leaf in flat_leaves(obs))
    model_config = SMALL | (SMALL_IMAGES if images else {}) | settings_
    spec = RLModuleSpec(ActorCriticTorchRLModule, obs, act, model_config=model_config, inference_only=inference_only)
    return spec.build()


def tensors(rows):
    """Samples ``[...]``, nested as lists, as one structure of tensors."""
    first = rows
    while isinstance(first, list):
        first = first[0]
    if isinstance(first, dict):
        return {key: tensors(_inside(rows, lambda x, k=key: x[k])) for key in first}
    if isinstance(first, tuple):
        return tuple(tensors(_inside(rows, lambda x, i=i: x[i])) for i in range(len(first)))
    tensor = torch.from_numpy(np.asarray(rows))
    return tensor.float() if tensor.dtype is torch.float64 else tensor


def _inside(rows, function):
    return [_inside(row, function) for row in rows] if isinstance(rows, list) else function(rows)


def states(module, rows):
    def batched(leaf):
        return {k: batched(v) for k, v in leaf.items()} if isinstance(leaf, dict) else torch.stack([leaf] * rows)

    return batched(module.get_initial_state())


def check(obs, act, settings_):
    torch.manual_seed(0)
    obs.seed(0)
    module = build(obs, act, settings_)
    stateful = module.is_stateful()
    rows, steps = 3, 4
    if stateful:
        batch = {"obs": tensors([[obs.sample() for _ in range(steps)] for _ in range(rows)])}
        batch["state_in"] = states(module, rows)
    else:
        batch = {"obs": tensors([obs.sample() for _ in range(rows)])}
    lead = (rows, steps) if stateful else (rows,)

    out = module.forward_train(batch)
    dist = module.get_train_action_dist_cls().from_logits(out["action_dist_inputs"])
    actions = dist.sample()
    values = module.compute_values(batch, embeddings=out["embeddings"])
    assert dist.logp(actions).shape == dist.entropy().shape == values.shape == lead
    torch.testing.assert_close(values, module.compute_values(batch), rtol=1e-4, atol=1e-5)
    (dist.logp(actions).sum() + values.sum() + dist.entropy().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())

    # A copy with the same state computes the same; an inference-only one too, with less.
    copy, acting = build(obs, act, settings_), build(obs, act, settings_, inference_only=True)
    copy.set_state(module.get_state())
    acting.set_state(module.get_state(inference_only=True))
    assert set(acting.get_state()) == set(module.get_state(inference_only=True))
    assert not hasattr(acting, "vf")
    for phase in ("forward_exploration", "forward_inference"):
        outs = [getattr(m, phase)(batch) for m in (module, copy, acting)]
        for other in outs[1:]:
            assert torch.equal(outs[0]["action_dist_inputs"], other["action_dist_inputs"])
        torch.testing.assert_close(
            outs[0]["action_dist_inputs"], out["action_dist_inputs"].detach(), rtol=1e-4, atol=1e-5
        )
    with pytest.raises(RuntimeError):
        acting.compute_values(batch)

    # Acting, and what an env gets.
    one = {"obs": tensors([obs.sample() for _ in range(rows)])}
    if stateful:
        one["state_in"] = states(acting, rows)
    for explore in (True, False):
        taken = ActionSampler(acting, explore=explore)(one)
        assert ("state_out" in taken) is stateful
    state = None
    for explore in (True, False):
        action, state = acting.compute_single_action(obs.sample(), state, explore=explore)
        assert act.contains(action)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "separate"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", ACTIONS)
@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_every_combination(obs, act, kind, share):
    check(OBSERVATIONS[obs], ACTIONS[act], {**KINDS[kind], "vf_share_layers": share})


leaf_spaces = st.sampled_from(
    [
        Box(-1.0, 1.0, (2,), np.float32),
        Box(0, 255, (8, 9), np.uint8),
        Box(0, 255, (8, 8, 2), np.uint8),
        spaces.Discrete(3),
        spaces.MultiDiscrete([[2], [3]]),
        spaces.MultiBinary((2, 2)),
    ]
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)
nested_spaces = st.recursive(
    leaf_spaces,
    lambda children: (
        st.dictionaries(names, children, min_size=1, max_size=3).map(spaces.Dict)
        | st.lists(children, min_size=1, max_size=3).map(spaces.Tuple)
    ),
    max_leaves=5,
)
leaf_actions = st.sampled_from(
    [
        spaces.Discrete(2),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(2),
        Box(-2.0, 2.0, (1,), np.float32),
    ]
)
nested_actions = st.recursive(
    leaf_actions,
    lambda children: (
        st.dictionaries(names, children, min_size=1, max_size=2).map(spaces.Dict)
        | st.lists(children, min_size=1, max_size=2).map(spaces.Tuple)
    ),
    max_leaves=3,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nested_spaces, nested_actions, st.sampled_from(sorted(KINDS)), st.booleans())
def test_nested_spaces(obs, act, kind, share):
    if isinstance(obs, gym.spaces.Dict) and "action_mask" in obs.spaces:
        return
    check(obs, act, {**KINDS[kind], "vf_share_layers": share})
