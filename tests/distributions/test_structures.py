"""Multi distributions, partial classes, masks, and the translation to the environment's units."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import rlkit_core.distributions as dists
from rlkit_core.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    DiagGaussian,
    Distribution,
    MultiCategorical,
    MultiDistribution,
    SquashedGaussian,
)
from rlkit_core.errors import ConfigError, PluginNotFoundError

BY_SPACE = {
    spaces.Discrete: Categorical,
    spaces.Box: DiagGaussian,
    spaces.MultiDiscrete: MultiCategorical,
    spaces.MultiBinary: Bernoulli,
    spaces.Dict: MultiDistribution,
    spaces.Tuple: MultiDistribution,
}


def class_for(space, path=()):
    return BY_SPACE[type(space)].for_space(space, None, class_for)


LEAVES = st.one_of(
    st.builds(lambda n, s: spaces.Discrete(n, start=s), st.integers(1, 4), st.integers(-2, 2)),
    st.builds(lambda s: spaces.Box(-2.0, 3.0, tuple(s)), st.lists(st.integers(1, 3), max_size=2)),
    st.builds(
        lambda n, s: spaces.MultiDiscrete(n, start=[s] * len(n)),
        st.lists(st.integers(1, 3), min_size=1, max_size=3),
        st.integers(0, 2),
    ),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda s: spaces.Tuple(s)),
        st.dictionaries(st.sampled_from(["a", "b", "c.d"]), inner, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=5,
)


def leaves(struct):
    if isinstance(struct, dict):
        return [x for v in struct.values() for x in leaves(v)]
    if isinstance(struct, tuple) and not (len(struct) == 2 and isinstance(struct[1], np.dtype)):
        return [x for v in struct for x in leaves(v)]
    return [struct]


def numpy_of(struct):
    if isinstance(struct, dict):
        return {k: numpy_of(v) for k, v in struct.items()}
    if isinstance(struct, tuple):
        return tuple(numpy_of(v) for v in struct)
    return struct.numpy()


def row(struct, i):
    if isinstance(struct, dict):
        return {k: row(v, i) for k, v in struct.items()}
    if isinstance(struct, tuple):
        return tuple(row(v, i) for v in struct)
    return struct[i]


@settings(max_examples=30, deadline=None)
@given(space=NESTED, seed=st.integers(0, 1000))
def test_any_action_space(space, seed):
    torch.manual_seed(seed)
    cls = class_for(space)
    dim = cls.required_input_dim(space)
    dist = cls.from_logits(torch.randn(3, dim))
    actions, logp = dist.sample(return_logp=True)
    assert logp.shape == (3,)
    torch.testing.assert_close(dist.logp(actions), logp)
    assert dist.entropy().shape == (3,)
    torch.testing.assert_close(dist.kl(dist), torch.zeros(3), atol=1e-5, rtol=0)
    layout = cls.action_shape_dtype(space)
    for (shape, dtype), leaf in zip(leaves(layout), leaves(actions), strict=True):
        assert tuple(leaf.shape) == (3, *shape)
        assert leaf.numpy().dtype == dtype
    assert np.prod(dist.event_shape) == sum(np.prod(shape) for shape, _ in leaves(layout))
    env = cls.to_env(numpy_of(actions), space)
    mode = cls.to_env(numpy_of(dist.to_deterministic().sample()), space)
    for i in range(3):
        assert space.contains(row(env, i)), (space, row(env, i))
        assert space.contains(row(mode, i))
    noise = cls.noise((2, 3), dim)
    assert noise.shape == (2, 3, cls.noise_dim(dim))
    first, second = dist.sample(noise=noise[0]), dist.sample(noise=noise[0])
    assert all((a == b).all() for a, b in zip(leaves(first), leaves(second), strict=True))
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_multi_distribution_sums_and_flat_actions():
    space = spaces.Dict({"box": spaces.Box(-1, 1, (2,)), "pick": spaces.Discrete(3)})
    cls = class_for(space)
    raw = torch.randn(5, 7)
    dist = cls.from_logits(raw)
    box, pick = DiagGaussian.from_logits(raw[:, :4]), Categorical(raw[:, 4:])
    actions = dist.sample()
    flat = torch.cat((actions["box"], actions["pick"][:, None].float()), -1)
    expected = box.logp(actions["box"]) + pick.logp(actions["pick"])
    torch.testing.assert_close(dist.logp(actions), expected)
    torch.testing.assert_close(dist.logp(flat), expected)
    torch.testing.assert_close(dist.entropy(), box.entropy() + pick.entropy())
    assert dist.sample(sample_shape=(2,))["box"].shape == (2, 5, 2)
    drawn, logp = dist.rsample(return_logp=True)
    assert drawn["pick"].shape == (5, 3)
    assert logp.shape == (5,)


def test_partial_classes_bind_once_and_compare_equal():
    cls = Categorical.get_partial_dist_cls(temperature=0.5)
    assert cls is Categorical.get_partial_dist_cls(temperature=0.5)
    assert cls is not Categorical.get_partial_dist_cls(temperature=0.25)
    assert issubclass(cls, Categorical)
    raw = torch.randn(2, 3)
    torch.testing.assert_close(cls.from_logits(raw).probs, torch.softmax(raw * 2, -1))
    assert cls.required_input_dim(spaces.Discrete(5)) == 5
    with pytest.raises(ValueError, match="temperature"):
        cls.from_logits(raw, temperature=1.0)
    with pytest.raises(ValueError, match="temperature"):
        cls.get_partial_dist_cls(temperature=1.0)
    both = SquashedGaussian.get_partial_dist_cls(low=0.0).get_partial_dist_cls(high=2.0)
    assert both is SquashedGaussian.get_partial_dist_cls(high=2.0, low=0.0)
    assert copy.deepcopy(both) is both
    assert cloudpickle.loads(cloudpickle.dumps(both)) is both
    with pytest.raises(ConfigError, match="input_lens"):
        MultiCategorical.from_logits(raw)
    with pytest.raises(ConfigError, match="child_distribution_cls_struct"):
        MultiDistribution.from_logits(raw)


def test_partial_classes_pickle_into_another_process():
    space = spaces.Dict({"m": spaces.MultiDiscrete([2, 3]), "t": spaces.Tuple((spaces.Discrete(2),))})
    cls = class_for(space)
    payload = pickle.dumps((cls, space)).hex()
    code = (
        "import pickle, torch\n"
        f"cls, space = pickle.loads(bytes.fromhex({payload!r}))\n"
        "dist = cls.from_logits(torch.zeros(1, cls.required_input_dim(space)))\n"
        "print(pickle.dumps(cls).hex(), round(float(dist.entropy()), 4))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    back, entropy = done.stdout.split()
    assert pickle.loads(bytes.fromhex(back)) is cls
    assert float(entropy) == round(float(np.log(12)), 4)


@pytest.mark.parametrize("with_noise", [False, True])
def test_masks_never_let_an_illegal_action_through(with_noise):
    torch.manual_seed(3)
    n = 1_000_000
    mask = torch.tensor([True, False, True, False])
    raw = Categorical.mask_logits(torch.tensor([0.0, 9.0, -3.0, 1.0]), mask).expand(n, 4)
    noise = Categorical.noise((n,), 4) if with_noise else None
    assert set(Categorical(raw).sample(noise=noise).unique().tolist()) == {0, 2}
    flags = Bernoulli.mask_logits(torch.tensor([3.0, -1.0]), torch.tensor([0, 1])).expand(n, 2)
    noise = Bernoulli.noise((n,), 2) if with_noise else None
    assert Bernoulli(flags).sample(noise=noise).amax(0).tolist() == [0, 1]
    multi = MultiCategorical.get_partial_dist_cls(input_lens=(2, 3))
    masked = multi.mask_logits(torch.zeros(5), torch.tensor([0, 1, 1, 0, 1], dtype=torch.int8)).expand(n, 5)
    noise = multi.noise((n,), 5) if with_noise else None
    draws = multi.from_logits(masked).sample(noise=noise)
    assert set(draws[:, 0].unique().tolist()) == {1}
    assert set(draws[:, 1].unique().tolist()) == {0, 2}


def test_masked_entropy_kl_and_gradients_stay_finite():
    raw = torch.randn(4, 3, requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]])
    dist = Categorical(Categorical.mask_logits(raw, mask))
    legal = Categorical(raw[0, :2])
    torch.testing.assert_close(dist.entropy()[0], legal.entropy())
    total = dist.entropy().sum() + dist.kl(dist).sum() + dist.logp(torch.tensor([0, 0, 1, 2])).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[mask == 0] == 0).all()
    bits = Bernoulli(Bernoulli.mask_logits(raw, mask))
    assert torch.isfinite(bits.entropy()).all()
    assert torch.isfinite(bits.logp(bits.sample())).all()


def test_masks_of_nested_actions_and_refusals():
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (1,)), "c": spaces.MultiBinary(2)})
    cls = class_for(space)
    mask = {"a": torch.tensor([[0, 1]]), "c": torch.tensor([[0, 1]])}
    out = cls.mask_logits(torch.zeros(1, 6), mask)
    lowest = torch.finfo(torch.float32).min
    assert out.tolist() == [[lowest, 0.0, 0.0, 0.0, lowest, 0.0]]
    pair = class_for(spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (1,)))))
    free = torch.zeros(1, 0)
    assert pair.mask_logits(torch.zeros(1, 4), (torch.tensor([[1, 0]]), free))[0, 1] == lowest
    with pytest.raises(ConfigError, match="DiagGaussian cannot take an action mask"):
        cls.mask_logits(torch.zeros(1, 6), {"b": torch.ones(1, 1)})
    for refusing in (DiagGaussian, SquashedGaussian, Deterministic):
        assert not refusing.supports_mask
        with pytest.raises(ConfigError, match="cannot take an action mask"):
            refusing.mask_logits(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(ConfigError, match="expected 3 entries"):
        Categorical.mask_logits(torch.zeros(1, 3), torch.ones(1, 2))


def test_box_units():
    space = spaces.Box(np.array([-2.0, 0.0, -np.inf]), np.array([2.0, np.inf, np.inf]), dtype=np.float64)
    raw = np.array([[0.5, -3.0, 7.0], [3.0, 1.0, -9.0]], dtype=np.float32)
    assert DiagGaussian.to_env(raw, space).tolist() == [[1.0, 0.0, 7.0], [2.0, 1.0, -9.0]]
    assert DiagGaussian.to_env(raw, space, clip=False).tolist() == [[1.0, -3.0, 7.0], [6.0, 1.0, -9.0]]
    assert DiagGaussian.to_env(raw, space, normalize=False).tolist() == [[0.5, 0.0, 7.0], [2.0, 1.0, -9.0]]
    assert DiagGaussian.to_env(raw, space).dtype == np.float64
    picture = spaces.Box(0.0, 1.0, (2, 2))
    assert DiagGaussian.to_env(np.zeros((3, 5, 4), np.float32), picture).shape == (3, 5, 2, 2)
    assert DiagGaussian.to_env(np.zeros((1,), np.float32), spaces.Box(0, 4, ())).item() == 2.0
    bound = SquashedGaussian.get_partial_dist_cls(low=-2.0, high=2.0)
    squashed = bound.to_env(np.array([[1.5]], np.float32), spaces.Box(-2, 2, (1,)))
    assert squashed.tolist() == [[1.5]]
    with pytest.raises(ConfigError, match="expected flat"):
        DiagGaussian.to_env(np.zeros((2, 7), np.float32), picture)


def test_starts_are_added_and_wrong_spaces_refused():
    assert Categorical.to_env(np.array([0, 2]), spaces.Discrete(3, start=-1)).tolist() == [-1, 1]
    space = spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, 2]])
    cls = class_for(space)
    assert cls.required_input_dim(space) == 14
    assert cls.to_env(np.array([[1, 2, 3, 4]]), space).tolist() == [[[2, 3], [3, 6]]]
    for wrong in (
        lambda: Categorical.required_input_dim(spaces.Box(0, 1, (1,))),
        lambda: DiagGaussian.required_input_dim(spaces.Discrete(2)),
        lambda: DiagGaussian.required_input_dim(spaces.Box(0, 5, (1,), dtype=np.int32)),
        lambda: MultiCategorical.for_space(spaces.Discrete(2)),
        lambda: Bernoulli.required_input_dim(spaces.Discrete(2)),
        lambda: MultiDistribution.for_space(spaces.Discrete(2)),
        lambda: Distribution.action_shape_dtype(gym.spaces.Text(3)),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_names_of_other_libraries():
    for name in dists.__all__:
        if not name.startswith("Torch"):
            assert getattr(dists, f"Torch{name}") is getattr(dists, name)


def test_module_paths_of_other_libraries():
    from rlkit_core.models.torch import torch_distributions

    assert torch_distributions.TorchCategorical is Categorical
    with pytest.raises(PluginNotFoundError, match=r"TfCategorical.*pip install rlkit-tensorflow"):
        from rlkit_core.models.tf.tf_distributions import TfCategorical  # noqa: F401


def test_what_acting_has_cached_serves_training():
    dist_cls = MultiCategorical.get_partial_dist_cls(input_lens=(2, 5, 3, 1))
    with torch.inference_mode():
        dist_cls.from_logits(torch.zeros(1, 11)).sample()
    logits = torch.zeros(1, 11, requires_grad=True)
    dist_cls.from_logits(logits).logp(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    assert logits.grad.abs().sum() > 0


class Coin(Distribution):
    """Gives what differs from kind to kind, and no more: 1 where a uniform number is below ``p``."""

    def __init__(self, p):
        self.p = p

    @classmethod
    def from_logits(cls, logits, **kwargs):
        return cls(torch.sigmoid(logits))

    @classmethod
    def required_input_dim(cls, space, model_config=None, **kwargs):
        return 1

    @classmethod
    def noise_dim(cls, logits_dim):
        return logits_dim

    @classmethod
    def fill_noise(cls, out, generator=None):
        return out.uniform_(generator=generator)

    def draw(self, sample_shape, noise):
        noise = self.fresh_noise(self.p, sample_shape) if noise is None else noise
        return (noise < self.p).long()

    def logp(self, value):
        return torch.where(value == 1, self.p, 1 - self.p).log().sum(-1)

    def to_deterministic(self):
        return self


def test_a_distribution_gives_what_differs_and_gets_the_rest():
    coin = Coin.from_logits(torch.zeros(4, 1))
    actions, logp = coin.sample(sample_shape=(2,), return_logp=True)
    assert actions.shape == (2, 4, 1)
    assert torch.allclose(logp, torch.tensor(0.5).log())
    assert coin.sample_and_logp()[0].shape == (4, 1)
    noise = Coin.noise((3, 4), 1, generator=torch.Generator().manual_seed(0))
    assert noise.shape == (3, 4, 1)
    assert torch.equal(coin.sample(noise=noise[0]), (noise[0] < 0.5).long())
    with pytest.raises(NotImplementedError, match="Coin has no reparametrised sample"):
        coin.rsample_and_logp()
    with pytest.raises(ConfigError, match="Coin cannot take an action mask"):
        Coin.mask_logits(torch.zeros(1), torch.ones(1))
