"""Distributions compute what the core's compute, from the same parameters, noise and actions."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlkit_core import Catalog
from rlkit_core import distributions as core
from rlkit_core.errors import ConfigError
from rlkit_core.models.tf import tf_distributions
from rlkit_core.spaces import nested_map

NUMBERS = st.floats(-8, 8, width=32, allow_subnormal=False)  # which TensorFlow takes for zero
FEW = settings(max_examples=40, deadline=None)


def close(ours, theirs, tolerance=1e-5):
    nested_map(
        lambda mine, other: np.testing.assert_allclose(np.asarray(mine), other.numpy(), rtol=tolerance, atol=tolerance),
        ours,
        theirs,
    )


def pairs(ours, theirs, width):
    """Two distributions of each, of the same logits."""
    return arrays(np.float32, (2, 3, width), elements=NUMBERS).map(
        lambda x: [(ours.from_logits(tf.constant(row)), theirs.from_logits(torch.tensor(row))) for row in x]
    )


def multi(module):
    pair = (module.DiagGaussian, module.MultiCategorical.get_partial_dist_cls(input_lens=(2, 3)))
    children = {"a": module.Categorical, "b": pair}
    return module.MultiDistribution.get_partial_dist_cls(child_distribution_cls_struct=children, input_lens=(4, 2, 5))


CASES = {
    "Categorical": (tf_distributions.Categorical, core.Categorical, 4),
    "DiagGaussian": (tf_distributions.DiagGaussian, core.DiagGaussian, 6),
    "MultiCategorical": (
        tf_distributions.MultiCategorical.get_partial_dist_cls(input_lens=(2, 4)),
        core.MultiCategorical.get_partial_dist_cls(input_lens=(2, 4)),
        6,
    ),
    "MultiDistribution": (multi(tf_distributions), multi(core), 11),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_entropies_divergences_modes_and_draws_are_the_cores(name):
    ours, theirs, width = CASES[name]

    @FEW
    @given(two=pairs(ours, theirs, width), seed=st.integers(0, 100))
    def check(two, seed):
        (mine, other), (mine2, other2) = two
        noise = theirs.noise((3,), width, generator=torch.Generator().manual_seed(seed))
        actions, expected = mine.sample(noise=noise), other.sample(noise=noise)
        close(actions, expected)
        raw = nested_map(lambda x: tf.constant(x.numpy()), expected)
        scale = 1.0 + float(other.logp(expected).abs().max())
        np.testing.assert_allclose(mine.logp(raw) / scale, other.logp(expected) / scale, atol=1e-5)
        close(mine.entropy(), other.entropy())
        divergence = other.kl(other2)
        np.testing.assert_allclose(mine.kl(mine2) / (1 + divergence), divergence / (1 + divergence), atol=1e-5)
        close(mine.to_deterministic().sample(), other.to_deterministic().sample())
        torch.manual_seed(seed)
        drawn = mine.sample(sample_shape=(5,))
        torch.manual_seed(seed)
        close(drawn, other.sample(sample_shape=(5,)))

    check()


@FEW
@given(logits=arrays(np.float32, (2, 3), elements=NUMBERS), temperature=st.floats(0.25, 4))
def test_probabilities_and_temperatures(logits, temperature):
    mine = tf_distributions.Categorical(probs=tf.exp(logits), temperature=temperature)
    other = core.Categorical(probs=torch.tensor(logits).exp(), temperature=temperature)
    close(mine.probs, other.probs)
    close(mine.logp(tf.constant([0, 2])), other.logp(torch.tensor([0, 2])), 1e-4)
    assert tuple(mine.logp(tf.constant([[0, 2], [1, 1]])).shape) == (2, 2)


def test_gradients_are_the_cores():
    logits = np.array([[0.3, -1.0, 2.0]], np.float32)
    with tf.GradientTape() as tape:
        x = tf.constant(logits)
        tape.watch(x)
        mine = tf_distributions.Categorical(x)
        loss = tf.reduce_sum(mine.logp(tf.constant([1])) + mine.entropy() + mine.rsample()[:, 0] * 0.0)
    y = torch.tensor(logits, requires_grad=True)
    other = core.Categorical(y)
    (other.logp(torch.tensor([1])) + other.entropy()).sum().backward()
    close(tape.gradient(loss, x), y.grad)
    with tf.GradientTape() as tape:
        z = tf.constant([[1.0, 2.0]])
        tape.watch(z)
        torch.manual_seed(3)
        drawn = tf_distributions.DiagGaussian.from_logits(z).rsample()
    z2 = torch.tensor([[1.0, 2.0]], requires_grad=True)
    torch.manual_seed(3)
    core.DiagGaussian.from_logits(z2).rsample().sum().backward()
    close(tape.gradient(drawn, z), z2.grad)


def test_draws_have_the_right_frequencies_inside_of_a_function_too():
    probs = np.array([0.1, 0.6, 0.3], np.float32)

    @tf.function
    def draw():
        return tf_distributions.Categorical(probs=tf.constant(probs)).sample(sample_shape=(20_000,))

    first, second = draw().numpy(), draw().numpy()
    assert (first != second).any()
    np.testing.assert_allclose(np.bincount(first) / len(first), probs, atol=0.02)
    gaussian = tf.function(
        lambda: tf_distributions.DiagGaussian(tf.constant([1.0]), 2.0).sample(sample_shape=(20_000,))
    )
    assert abs(float(tf.reduce_mean(gaussian())) - 1.0) < 0.06


def test_a_point_mass():
    point = tf_distributions.Deterministic(tf.constant([[1.0, 2.0]]))
    assert point.sample().numpy().tolist() == [[1.0, 2.0]]
    assert tuple(point.sample(sample_shape=(3,)).shape) == (3, 1, 2)
    assert point.logp(point.sample()).numpy().tolist() == [0.0]
    assert point.event_shape == (2,)
    assert tf_distributions.Deterministic.from_logits(tf.zeros((1, 2))).to_deterministic().event_shape == (2,)
    with pytest.raises(RuntimeError, match="entropy"):
        point.entropy()


def test_masks_and_what_is_refused():
    logits, mask = tf.zeros((2, 3)), tf.constant([[1, 0, 1], [0, 1, 0]])
    masked = tf_distributions.Categorical.mask_logits(logits, mask)
    probs = tf_distributions.Categorical(masked).probs.numpy()
    np.testing.assert_allclose(probs, [[0.5, 0, 0.5], [0, 1, 0]])
    assert math.isfinite(float(tf.reduce_sum(tf_distributions.Categorical(masked).entropy())))
    with pytest.raises(ConfigError, match="3 entries"):
        tf_distributions.Categorical.mask_logits(logits, mask[:, :2])
    with pytest.raises(ConfigError, match="exactly one"):
        tf_distributions.Categorical()
    with pytest.raises(ConfigError, match="input_lens"):
        tf_distributions.MultiCategorical.from_logits(logits)


NESTED = {"a": gym.spaces.Discrete(2), "b": gym.spaces.Tuple([gym.spaces.Box(-1, 1, (2,))])}
SPACES = [
    (gym.spaces.Discrete(3, start=2), "Categorical"),
    (gym.spaces.Box(-1, 1, (2,)), "DiagGaussian"),
    (gym.spaces.MultiDiscrete([2, 3]), "MultiCategorical"),
    (
        gym.spaces.Dict({"a": gym.spaces.Discrete(2), "b": gym.spaces.Tuple([gym.spaces.Box(-1, 1, (2,))])}),
        "MultiDistribution",
    ),
]


@pytest.mark.parametrize(("space", "name"), SPACES, ids=lambda x: x if isinstance(x, str) else "")
def test_the_catalog_chooses_as_for_torch_and_says_so(space, name):
    catalog = Catalog(gym.spaces.Box(-1, 1, (4,)), space)
    cls, other = catalog.get_action_dist_cls(framework="tf2"), catalog.get_action_dist_cls(framework="torch")
    assert issubclass(cls, getattr(tf_distributions, name))
    assert next(choice.id for choice in catalog.trace if choice.kind == "distribution").startswith("rlkit-core/")
    width = other.required_input_dim(space)
    assert cls.required_input_dim(space) == width
    logits = np.random.default_rng(0).standard_normal((5, width)).astype(np.float32)
    mode = cls.from_logits(tf.constant(logits)).to_deterministic().sample()
    theirs = other.from_logits(torch.tensor(logits)).to_deterministic().sample()
    close(mode, theirs)
    in_env = cls.to_env(nested_map(np.asarray, mode), space)
    assert space.contains(nested_map(lambda x: x[0], in_env))


def test_a_distribution_without_a_twin():
    with pytest.raises(ConfigError, match=r"Bernoulli.*TensorFlow has Categorical"):
        Catalog(gym.spaces.Box(-1, 1, (4,)), gym.spaces.MultiBinary(3)).get_action_dist_cls(framework="tf2")
