"""V-trace against the paper's sum written out, against GAE, and against rlax."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import gae, vtrace

sys.path.insert(0, str(Path(__file__).parent))
from rlax_vtrace import CLIPS, inputs, rlax_vtrace

RLAX = json.loads((Path(__file__).parent / "fixtures" / "rlax_vtrace.json").read_text(encoding="utf-8"))


def brute_force(
    behaviour_logp,
    target_logp,
    rewards,
    values,
    bootstrap_value,
    discounts,
    clip_rho,
    clip_c,
    clip_pg_rho,
    truncateds,
    final_values,
):
    """Equation 1 literally: a sum over the steps to come, each with the product of the traces before it."""
    steps = values.shape[0]
    vs, advantages = np.zeros(values.shape), np.zeros(values.shape)
    rho = np.exp(target_logp - behaviour_logp)
    for place in np.ndindex(values.shape[1:]):

        def following(t, column, place=place):
            if truncateds is not None and truncateds[(t, *place)] and final_values is not None:
                return final_values[(t, *place)]
            if truncateds is not None and truncateds[(t, *place)]:
                column = values
            return bootstrap_value[place] if t + 1 == steps else column[(t + 1, *place)]

        for s in range(steps):
            total = 0.0
            for t in range(s, steps):
                weight = 1.0
                for i in range(s, t):
                    weight *= discounts[(i, *place)] * min(clip_c, rho[(i, *place)])
                at = (t, *place)
                future = discounts[at] * following(t, values)
                total += weight * min(clip_rho, rho[at]) * (rewards[at] + future - values[at])
                if truncateds is not None and truncateds[at]:
                    break
            vs[(s, *place)] = values[(s, *place)] + total
        for s in range(steps):
            at = (s, *place)
            target = rewards[at] + discounts[at] * following(s, vs)
            advantages[at] = min(clip_pg_rho, rho[at]) * (target - values[at])
    return vs, advantages


def random_arrays(seed, shape, ends):
    rng = np.random.default_rng(seed)
    arrays = {
        "behaviour_logp": rng.normal(size=shape) * 0.7 - 1.0,
        "target_logp": rng.normal(size=shape) * 0.7 - 1.0,
        "rewards": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "bootstrap_value": rng.normal(size=shape[1:]),
        "discounts": 0.95 * (rng.random(shape) > 0.15),
        "truncateds": None,
        "final_values": None,
    }
    if ends != "none":
        arrays["truncateds"] = rng.random(shape) < 0.2
    if ends == "same-step":
        arrays["final_values"] = rng.normal(size=shape)
    return arrays


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 13),
    tail=st.sampled_from([(), (1,), (3,), (2, 2)]),
    ends=st.sampled_from(["none", "same-step", "next-step"]),
    clips=st.sampled_from([(1.0, 1.0, 1.0), (0.7, 1.3, 2.0), (3.0, 0.5, 0.9), (np.inf, np.inf, np.inf)]),
)
def test_equals_the_sum_of_equation_1(seed, steps, tail, ends, clips):
    arrays = random_arrays(seed, (steps, *tail), ends)
    clips = dict(zip(("clip_rho", "clip_c", "clip_pg_rho"), clips, strict=True))
    expected = brute_force(**arrays, **clips)
    for mine, his in zip(vtrace(**arrays, **clips), expected, strict=True):
        assert isinstance(mine, np.ndarray)
        np.testing.assert_allclose(mine, his, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ends", ["none", "same-step", "next-step"])
def test_on_policy_it_is_the_n_step_return_which_is_gae_with_lambda_1(ends):
    arrays = random_arrays(4, (17, 5), ends)
    arrays["target_logp"] = arrays["behaviour_logp"]
    vs, advantages = vtrace(**arrays, clip_rho=10.0, clip_c=10.0, clip_pg_rho=10.0)
    truncateds = arrays["truncateds"] if ends != "none" else np.zeros((17, 5), bool)
    expected, targets = gae(
        arrays["rewards"],
        arrays["values"],
        arrays["bootstrap_value"],
        arrays["discounts"] == 0,
        truncateds,
        arrays["final_values"],
        gamma=0.95,
        lambda_=1.0,
    )
    np.testing.assert_allclose(vs, targets, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(advantages, expected, rtol=1e-9, atol=1e-9)


def test_a_smaller_clip_of_c_is_gae_with_a_smaller_lambda():
    arrays = random_arrays(5, (9, 2), "same-step")
    arrays["target_logp"] = arrays["behaviour_logp"]
    vs, _ = vtrace(**arrays, clip_c=0.6)
    _, targets = gae(
        arrays["rewards"],
        arrays["values"],
        arrays["bootstrap_value"],
        arrays["discounts"] == 0,
        arrays["truncateds"],
        arrays["final_values"],
        gamma=0.95,
        lambda_=0.6,
    )
    np.testing.assert_allclose(vs, targets, rtol=1e-9, atol=1e-9)


def test_tensors_give_tensors_that_autograd_takes_for_constants():
    arrays = random_arrays(6, (8, 3), "same-step")
    tensors = {k: None if v is None else torch.as_tensor(v) for k, v in arrays.items()}
    for name in ("target_logp", "values"):
        tensors[name] = tensors[name].float().requires_grad_()
    tensors = {k: v.float() if v is not None and v.is_floating_point() else v for k, v in tensors.items()}
    vs, advantages = vtrace(**tensors)
    assert vs.dtype == advantages.dtype == torch.float32
    assert not vs.requires_grad
    assert not advantages.requires_grad
    for mine, his in zip((vs, advantages), vtrace(**arrays), strict=True):
        np.testing.assert_allclose(mine.numpy(), his, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", range(len(CLIPS)))
def test_equals_rlax_on_kept_arrays(case):
    clip_rho, clip_pg_rho = CLIPS[case]
    found = vtrace(**kept_inputs(), clip_rho=clip_rho, clip_pg_rho=clip_pg_rho)
    for mine, his in zip(found, RLAX["found"][case], strict=True):
        np.testing.assert_allclose(mine, his, atol=1e-9)


@pytest.mark.parametrize("case", range(len(CLIPS)))
def test_the_kept_arrays_are_what_rlax_says(case):
    pytest.importorskip("rlax")
    for now, kept in zip(rlax_vtrace(kept_inputs(), *CLIPS[case]), RLAX["found"][case], strict=True):
        np.testing.assert_allclose(now, kept, rtol=1e-4, atol=1e-5)  # jax counts in float32 unless told otherwise


def kept_inputs():
    return {name: np.asarray(RLAX[name]) for name in inputs(7)}
