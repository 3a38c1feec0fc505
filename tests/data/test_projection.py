"""The categorical projection against algorithm 1 of its source in loops, and against rlax."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import categorical_projection
from rlkit_core.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
from rlax_arrays import inputs, rlax_projection

RLAX = json.loads((Path(__file__).parent / "fixtures" / "rlax.json").read_text(encoding="utf-8"))


def brute_force(z_p, probs, z_q):
    """Each atom shares its mass between its neighbours, nearer ones more."""
    projected = np.zeros((len(probs), len(z_q)))
    for row in range(len(probs)):
        for z, p in zip(z_p[row], probs[row], strict=True):
            z = min(max(z, z_q[0]), z_q[-1])
            for i, atom in enumerate(z_q):
                if z == atom:
                    projected[row, i] += p
                elif i + 1 < len(z_q) and atom < z < z_q[i + 1]:
                    gap = z_q[i + 1] - atom
                    projected[row, i] += p * (z_q[i + 1] - z) / gap
                    projected[row, i + 1] += p * (z - atom) / gap
    return projected


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 4),
    atoms=st.integers(1, 8),
    targets=st.integers(2, 9),
    even=st.booleans(),
    on_atoms=st.booleans(),
)
def test_equals_the_loop(seed, rows, atoms, targets, even, on_atoms):
    rng = np.random.default_rng(seed)
    z_q = np.linspace(-1.5, 2.5, targets) if even else np.sort(rng.normal(size=targets))
    z_p = rng.choice(z_q, (rows, atoms)) if on_atoms else rng.normal(0, 2, (rows, atoms))
    probs = rng.dirichlet(np.ones(atoms), rows)
    projected = categorical_projection(z_p, probs, z_q)
    np.testing.assert_allclose(projected, brute_force(z_p, probs, z_q), atol=1e-12)
    np.testing.assert_allclose(projected.sum(1), 1.0, atol=1e-12)


def test_a_distribution_on_the_support_is_itself():
    z = torch.linspace(-10.0, 10.0, 51)
    probs = torch.rand(8, 51).softmax(1)
    assert torch.equal(categorical_projection(z, probs, z), probs)


def test_mass_outside_goes_to_the_ends():
    z = torch.tensor([0.0, 1.0, 2.0])
    projected = categorical_projection(torch.tensor([[-5.0, 9.0]]), torch.tensor([[0.25, 0.75]]), z)
    assert projected.tolist() == [[0.25, 0.0, 0.75]]


def test_the_mean_of_what_lies_inside_is_kept():
    z = torch.linspace(-10.0, 10.0, 51)
    probs = torch.rand(16, 51).softmax(1)
    z_p = 1.0 + 0.8 * z.expand(16, 51)
    projected = categorical_projection(z_p, probs, z)
    torch.testing.assert_close((projected * z).sum(1), (probs * z_p).sum(1))


@pytest.mark.parametrize(("support", "expected"), [("z_q", "projected"), ("z_uneven", "projected_uneven")])
def test_equals_rlax_on_kept_arrays(support, expected):
    projected = categorical_projection(*(np.array(RLAX[name]) for name in ("z_p", "probs", support)))
    np.testing.assert_allclose(projected, RLAX[expected], atol=1e-10)


def test_the_kept_arrays_are_what_rlax_says():
    jax = pytest.importorskip("jax")
    pytest.importorskip("rlax")
    jax.config.update("jax_enable_x64", True)
    x = inputs(7)
    np.testing.assert_allclose(rlax_projection(x["z_p"], x["probs"], x["z_q"]), RLAX["projected"], atol=1e-10)


def test_a_support_of_one_atom_is_refused():
    with pytest.raises(ConfigError, match="at least 2"):
        categorical_projection(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1))
