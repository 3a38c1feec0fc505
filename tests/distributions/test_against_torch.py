"""Log-probabilities, entropies, KL divergences and gradients against torch.distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.distributions as td

from rlkit_core.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    DiagGaussian,
    MultiCategorical,
    SquashedGaussian,
)
from rlkit_core.errors import ConfigError


def logits(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 7), (6, 1)])
def test_categorical(shape):
    a, b = logits(*shape), logits(*shape, seed=1)
    ours, theirs = Categorical.from_logits(a), td.Categorical(logits=a)
    other, other_theirs = Categorical.from_logits(b), td.Categorical(logits=b)
    value = theirs.sample()
    torch.testing.assert_close(ours.logp(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.kl(other), td.kl_divergence(theirs, other_theirs))
    torch.testing.assert_close(ours.probs, theirs.probs)
    draws = ours.sample(sample_shape=(4,))
    assert draws.shape == (4, *shape[:-1])
    assert draws.dtype == torch.int64
    torch.testing.assert_close(ours.logp(draws), theirs.log_prob(draws))


def test_categorical_from_probs_and_temperature():
    probs = torch.tensor([[0.2, 0.0, 0.8], [1.0, 1.0, 2.0]])
    dist = Categorical(probs=probs)
    torch.testing.assert_close(dist.probs, probs / probs.sum(-1, keepdim=True))
    torch.testing.assert_close(dist.entropy(), td.Categorical(probs=probs).entropy(), atol=1e-5, rtol=1e-5)
    raw = logits(4, 3)
    for made in (Categorical(raw, temperature=0.5), Categorical.from_logits(raw, temperature=0.5)):
        torch.testing.assert_close(made.probs, torch.softmax(raw / 0.5, -1))
    for wrong in ({}, {"logits": raw, "probs": raw}, {"logits": raw, "temperature": 0.0}):
        with pytest.raises(ConfigError):
            Categorical(**wrong)


def test_categorical_survives_huge_and_infinite_logits():
    raw = torch.tensor([[1e4, -1e4, 0.0], [-float("inf"), 1.0, 2.0]], requires_grad=True)
    dist = Categorical.from_logits(raw)
    total = dist.entropy().sum() + dist.logp(torch.tensor([0, 2])).sum() + dist.kl(dist).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(raw.grad).all()


def test_categorical_rsample_is_straight_through_from_logits():
    raw = logits(6, 3).requires_grad_()
    weights = logits(6, 3, seed=3)
    one_hot, logp = Categorical.from_logits(raw).rsample(return_logp=True)
    assert ((one_hot - one_hot.round()).abs() < 1e-12).all()
    assert (one_hot.sum(-1) - 1).abs().max() < 1e-12
    torch.testing.assert_close(logp, Categorical(raw).logp(one_hot.argmax(-1)))
    (one_hot * weights).sum().backward()
    twin = raw.detach().clone().requires_grad_()
    (torch.softmax(twin, -1) * weights).sum().backward()
    torch.testing.assert_close(raw.grad, twin.grad)


@pytest.mark.parametrize("shape", [(5, 6), (3, 2, 2)])
def test_diag_gaussian(shape):
    a, b = logits(*shape, scale=0.7), logits(*shape, seed=1, scale=0.7)
    ours, other = DiagGaussian.from_logits(a), DiagGaussian.from_logits(b)

    def reference(raw):
        loc, log_std = raw.chunk(2, -1)
        return td.Independent(td.Normal(loc, log_std.exp()), 1)

    theirs, other_theirs = reference(a), reference(b)
    value = ours.sample(sample_shape=(3,))
    assert value.shape == (3, *shape[:-1], shape[-1] // 2)
    torch.testing.assert_close(ours.logp(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.kl(other), td.kl_divergence(theirs, other_theirs))


def test_diag_gaussian_from_loc_and_scale_and_gradients():
    loc = logits(4, 3).requires_grad_()
    for scale in (0.5, torch.tensor(0.5, dtype=torch.float64), torch.full((4, 3), 0.5, dtype=torch.float64)):
        dist = DiagGaussian(loc, scale)
        torch.testing.assert_close(dist.logp(loc.detach()), td.Normal(loc, 0.5).log_prob(loc.detach()).sum(-1))
    raw = logits(4, 6).requires_grad_()
    DiagGaussian.from_logits(raw).rsample().sum().backward()
    assert (raw.grad[:, :3] == 1).all()
    assert (raw.grad[:, 3:] != 0).all()
    assert not DiagGaussian.from_logits(raw).sample().requires_grad


@pytest.mark.parametrize("lens", [(3, 3, 3), (2, 5, 1), (4,)])
def test_multi_categorical(lens):
    a, b = logits(7, sum(lens)), logits(7, sum(lens), seed=1)
    cls = MultiCategorical.get_partial_dist_cls(input_lens=lens)
    ours, other = cls.from_logits(a), cls.from_logits(b)
    parts = [td.Categorical(logits=p) for p in torch.split(a, lens, -1)]
    others = [td.Categorical(logits=p) for p in torch.split(b, lens, -1)]
    value = ours.sample()
    assert value.shape == (7, len(lens))
    torch.testing.assert_close(ours.logp(value), sum(p.log_prob(value[:, k]) for k, p in enumerate(parts)))
    torch.testing.assert_close(ours.entropy(), sum(p.entropy() for p in parts))
    kls = (td.kl_divergence(p, q) for p, q in zip(parts, others, strict=True))
    torch.testing.assert_close(ours.kl(other), sum(kls))
    mode = torch.stack([p.logits.argmax(-1) for p in parts], -1)
    assert (ours.to_deterministic().sample() == mode).all()
    listed = MultiCategorical([Categorical(p) for p in torch.split(a, lens, -1)])
    torch.testing.assert_close(listed.entropy(), ours.entropy())
    assert ours.rsample().shape == a.shape


def test_bernoulli():
    a, b = logits(5, 4), logits(5, 4, seed=1)
    ours, theirs = Bernoulli.from_logits(a), td.Independent(td.Bernoulli(logits=a), 1)
    value = ours.sample(sample_shape=(3,))
    assert value.shape == (3, 5, 4)
    assert value.dtype == torch.int8
    torch.testing.assert_close(ours.logp(value), theirs.log_prob(value.double()))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    reference = td.kl_divergence(theirs, td.Independent(td.Bernoulli(logits=b), 1))
    torch.testing.assert_close(ours.kl(Bernoulli(b)), reference)
    assert (ours.to_deterministic().sample() == (theirs.mean > 0.5)).all()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-3.0, 0.5)])
@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (0.7, 0.3), (-1.5, 0.8)])
def test_squashed_gaussian_integrates_to_one(low, high, loc, scale):
    dist = SquashedGaussian(torch.full((1,), loc, dtype=torch.float64), scale, low, high)
    # the substitution a = squash(u) turns the integral over actions into a well-behaved one over u
    u = torch.linspace(loc - 12 * scale, loc + 12 * scale, 200_001, dtype=torch.float64)
    actions = low + (torch.tanh(u) + 1) * (high - low) / 2
    inside = (actions - low).minimum(high - actions) > 1e-9
    density = dist.logp(actions[:, None]).exp()
    mass = torch.trapezoid(density[inside], actions[inside])
    assert abs(float(mass) - 1.0) < 1e-4
    value = dist.sample(sample_shape=(100,))
    reference = td.TransformedDistribution(
        td.Normal(dist.loc, scale),
        [td.TanhTransform(), td.AffineTransform((low + high) / 2, (high - low) / 2)],
    )
    torch.testing.assert_close(dist.logp(value), reference.log_prob(value).sum(-1), atol=1e-6, rtol=1e-6)


def test_squashed_gaussian_saturation_and_bounds():
    dist = SquashedGaussian(torch.tensor([[20.0, -20.0]], requires_grad=True), 0.1, -2.0, 4.0)
    actions, logp = dist.sample(return_logp=True)
    assert actions.tolist() == [[4.0, -2.0]]
    assert torch.isfinite(logp).all()
    scored = dist.logp(actions)
    assert torch.isfinite(scored).all()
    assert (scored > 0).all()
    scored.sum().backward()
    assert torch.isfinite(dist.loc.grad).all()
    assert torch.isfinite(SquashedGaussian(torch.zeros(1, 2)).logp(torch.tensor([[1.0, -1.0]]))).all()
    assert dist.to_deterministic().sample().tolist() == [[4.0, -2.0]]
    middle = SquashedGaussian(torch.tensor([[0.3]]))
    torch.testing.assert_close(middle.to_deterministic().sample(), torch.tanh(middle.loc))


@pytest.mark.parametrize(("scale", "error"), [(0.1, 1e-7), (1.0, 1e-7), (2.0, 2e-4), (4.0, 0.02), (math.exp(2), 0.1)])
def test_squashed_gaussian_entropy_is_within_what_is_promised(scale, error):
    for loc in (0.0, 1.0, -3.0):
        inner = torch.linspace(loc - 12 * scale, loc + 12 * scale, 200_001, dtype=torch.float64)
        dist = SquashedGaussian(torch.full((1,), loc, dtype=torch.float64), scale, -2.0, 4.0)
        normal = td.Normal(dist.loc[0], torch.tensor(scale, dtype=torch.float64))
        density = normal.log_prob(inner).exp()
        # log of the slope of -2 + 3 * (tanh(u) + 1), written by cosh
        log_slope = math.log(3.0) - 2.0 * (inner.abs() + torch.log1p(torch.exp(-2.0 * inner.abs())) - math.log(2.0))
        expected = normal.entropy() + torch.trapezoid(density * log_slope, inner)
        assert abs(float(dist.entropy() - expected)) < error


def test_squashed_gaussian_entropy_has_gradients_and_kl_is_the_inner_one():
    raw = logits(5, 4, scale=0.5).requires_grad_()
    dist, other = SquashedGaussian.from_logits(raw), SquashedGaussian.from_logits(logits(5, 4))
    assert dist.entropy().shape == (5,)
    dist.entropy().sum().backward()
    assert (raw.grad != 0).all()
    normals = [td.Normal(d.loc, d.scale) for d in (dist, other)]
    torch.testing.assert_close(dist.kl(other), td.kl_divergence(*normals).sum(-1))
    with pytest.raises(ConfigError, match="bounds differ"):
        dist.kl(SquashedGaussian.from_logits(raw, low=-2.0))


def test_squashed_gaussian_sampled_logp_equals_scored_logp():
    raw = logits(50, 4, scale=0.5)
    dist = SquashedGaussian.from_logits(raw)
    actions, logp = dist.sample_and_logp()
    torch.testing.assert_close(dist.logp(actions), logp, atol=1e-6, rtol=1e-6)
    leaf = raw.clone().requires_grad_()
    actions, logp = SquashedGaussian.from_logits(leaf).rsample_and_logp()
    (actions.sum() + logp.sum()).backward()
    assert (leaf.grad != 0).all()


def test_deterministic():
    loc = torch.randn(3, 2)
    dist = Deterministic.from_logits(loc)
    assert (dist.sample() == loc).all()
    assert dist.sample(sample_shape=(4,)).shape == (4, 3, 2)
    assert dist.logp(loc).tolist() == [0.0, 0.0, 0.0]
    value, logp = Categorical(torch.randn(3, 4)).to_deterministic().sample(return_logp=True)
    assert value.shape == logp.shape == (3,)
    assert dist.to_deterministic() is dist
    with pytest.raises(RuntimeError):
        dist.entropy()
    with pytest.raises(RuntimeError):
        dist.kl(dist)
    with pytest.raises(NotImplementedError):
        dist.rsample()


def test_sampling_laws():
    torch.manual_seed(0)
    n = 200_000
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    for noise in (None, Categorical.noise((n,), 4)):
        dist = Categorical(probs.log().expand(n, 4))
        freq = np.bincount(dist.sample(noise=noise).numpy(), minlength=4) / n
        assert np.abs(freq - probs.numpy()).max() < 0.006
    multi = MultiCategorical.get_partial_dist_cls(input_lens=(4, 2))
    raw = torch.cat((probs.log(), torch.tensor([0.0, 1.0]))).expand(n, 6)
    draws = multi.from_logits(raw).sample(noise=multi.noise((n,), 6)).numpy()
    joint = np.bincount(draws[:, 0] * 2 + draws[:, 1], minlength=8) / n
    expected = np.outer(probs.numpy(), torch.softmax(torch.tensor([0.0, 1.0]), 0).numpy()).reshape(-1)
    assert np.abs(joint - expected).max() < 0.006
    bits = Bernoulli(torch.tensor([-1.0, 0.5]).expand(n, 2)).sample(noise=Bernoulli.noise((n,), 2))
    assert (bits.float().mean(0) - torch.sigmoid(torch.tensor([-1.0, 0.5]))).abs().max() < 0.006
    gauss = DiagGaussian(torch.tensor([1.0, -2.0]).expand(n, 2), torch.tensor([0.5, 2.0]))
    values = gauss.sample(noise=DiagGaussian.noise((n,), 4))
    assert (values.mean(0) - torch.tensor([1.0, -2.0])).abs().max() < 0.03
    assert (values.std(0) - torch.tensor([0.5, 2.0])).abs().max() < 0.03


@pytest.mark.parametrize("cls", [Categorical, DiagGaussian, SquashedGaussian, Bernoulli])
def test_noise_makes_samples_deterministic_and_seedable(cls):
    raw = torch.randn(5, 6)
    noise = cls.noise((3, 5), 6, generator=torch.Generator().manual_seed(1))
    assert noise.shape == (3, 5, cls.noise_dim(6))
    dist = cls.from_logits(raw)
    assert (dist.sample(noise=noise[1]) == dist.sample(noise=noise[1])).all()
    again = cls.noise((3, 5), 6, generator=torch.Generator().manual_seed(1))
    assert (noise == again).all()
    assert not hasattr(dist, "__dict__")
