from __future__ import annotations

import torch

from rlkit_core.seeding import SeedTree, TorchRNG


def test_children_have_seeds_of_their_own_that_depend_on_names_only():
    tree = SeedTree(7)
    seeds = [tree.child("env_runner", k, "env", n).seed() for k in range(5) for n in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert tree.child("a", 1).seed() == SeedTree(7).child("a").child("1").seed()
    assert SeedTree(8).child("a", 1).seed() != tree.child("a", 1).seed()


def test_none_draws_a_root():
    assert SeedTree.from_seed(None).root != SeedTree.from_seed(None).root
    assert SeedTree.from_seed(3).root == 3


def test_a_scope_is_private_and_continues():
    torch.manual_seed(0)
    expected_outside = torch.rand(2)
    torch.manual_seed(0)
    rng = TorchRNG(5)
    with rng.scope():
        first = torch.rand(3)
    state = rng.get_state()
    with rng.scope():
        second = torch.rand(3)
    assert torch.equal(torch.rand(2), expected_outside)
    assert not torch.equal(first, second)
    again = TorchRNG(5)
    with again.scope():
        assert torch.equal(torch.cat([torch.rand(3), torch.rand(3)]), torch.cat([first, second]))
    again.set_state(state)
    with again.scope():
        assert torch.equal(torch.rand(3), second)


def test_a_generator_and_a_scope_draw_from_one_stream():
    def draws(*how):
        rng, out = TorchRNG(7), []
        for by_generator in how:
            if by_generator:
                out.append(torch.rand(3, generator=rng.generator))
            else:
                with rng.scope():
                    out.append(torch.rand(3))
        return torch.cat(out), rng.get_state()

    expected, state = draws(False, False, False, False)
    for how in ((True, True, True, True), (True, True, False, True), (False, True, True, False)):
        got, at = draws(*how)
        assert torch.equal(got, expected)
        assert (at == state).all()
