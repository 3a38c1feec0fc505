"""Rollouts joined, cut and moved."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import Rollout
from rlkit_core.data.axes import Axes, axes, axes_of
from rlkit_core.data.nested import leaves
from rlkit_core.errors import ConfigError


def made(steps, envs, *, finals=True, masked=False, recurrent=False, width=3, seed=0, version=1):
    g = torch.Generator().manual_seed(seed)

    def obs(*lead):
        return {
            "image": torch.rand(*lead, 2, width, generator=g),
            "pair": (torch.rand(*lead, generator=g), torch.randint(0, 9, lead, generator=g)),
        }

    dones = torch.rand(steps, envs, generator=g) < 0.4
    index = dones.reshape(-1).nonzero().squeeze(-1)
    has = finals and len(index) > 0
    return Rollout(
        columns={
            "obs": obs(steps, envs),
            "actions": torch.randint(0, 4, (steps, envs), generator=g),
            "rewards": torch.rand(steps, envs, generator=g),
            "terminateds": torch.zeros(steps, envs, dtype=torch.bool),
            "truncateds": dones,
            **({"prev_actions": torch.randint(0, 4, (steps, envs), generator=g)} if recurrent else {}),
        },
        bootstrap_obs=obs(envs),
        final_obs=obs(len(index)) if has else None,
        final_index=index if has else None,
        loss_mask=torch.rand(steps, envs, generator=g) < 0.8 if masked else None,
        weights_version=version,
        state_in={"h": torch.rand(-(-steps // 2), envs, 4, generator=g)} if recurrent else None,
        seq_len=2 if recurrent else None,
        episode_starts=dones if recurrent else None,
        bootstrap_inputs={"prev_actions": torch.randint(0, 4, (envs,), generator=g)} if recurrent else {},
        final_inputs={"prev_actions": index.clone()} if recurrent and has else {},
    )


def parts(rollout):
    structs = [rollout.columns, rollout.bootstrap_obs, rollout.bootstrap_inputs, rollout.final_inputs]
    optional = [rollout.final_obs, rollout.final_index, rollout.loss_mask, rollout.state_in]
    return structs + [x for x in [*optional, rollout.episode_starts] if x is not None]


def equal(a, b):
    ours, theirs = list(leaves(parts(a))), list(leaves(parts(b)))
    assert len(ours) == len(theirs)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(1, 5),
    sizes=st.integers(1, 3).flatmap(lambda n: st.lists(st.just(n), min_size=1, max_size=4)),
    finals=st.booleans(),
    masked=st.booleans(),
    recurrent=st.booleans(),
)
def test_split_undoes_concat(steps, sizes, finals, masked, recurrent):
    rollouts = [made(steps, n, finals=finals, masked=masked, recurrent=recurrent, seed=k) for k, n in enumerate(sizes)]
    joined = Rollout.concat(rollouts)
    assert joined.num_envs == sum(sizes)
    assert joined.num_env_steps == sum(r.num_env_steps for r in rollouts)
    for own, back in zip(rollouts, joined.split(len(sizes)), strict=True):
        assert equal(own, back)


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 4), envs=st.integers(1, 7), cuts=st.integers(1, 7), recurrent=st.booleans())
def test_concat_undoes_split_and_sizes_differ_by_one(steps, envs, cuts, recurrent):
    whole = made(steps, envs, recurrent=recurrent)
    if cuts > envs:
        with pytest.raises(ConfigError, match=f"{envs} envs cannot be split into {cuts} parts"):
            whole.split(cuts)
        return
    pieces = whole.split(cuts)
    assert max(p.num_envs for p in pieces) - min(p.num_envs for p in pieces) <= 1
    assert equal(Rollout.concat(pieces), whole)


def test_final_observations_stay_with_their_steps():
    a, b = made(4, 2, seed=1), made(4, 3, seed=2)
    joined = Rollout.concat([a, b])
    assert torch.equal(joined.final_index, joined["truncateds"].reshape(-1).nonzero().squeeze(-1))
    for rollout, first in ((a, 0), (b, 2)):
        for row, index in enumerate(rollout.final_index.tolist()):
            t, n = divmod(index, rollout.num_envs)
            at = joined.final_index.tolist().index(t * 5 + first + n)
            assert torch.equal(joined.final_obs["image"][at], rollout.final_obs["image"][row])


def test_a_missing_mask_means_that_every_step_counts():
    a, b = made(3, 1), made(3, 2, masked=True)
    joined = Rollout.concat([a, b])
    assert joined.loss_mask[:, 0].all()
    assert torch.equal(joined.loss_mask[:, 1:], b.loss_mask)


def test_packed_observations_are_padded_with_zeros_to_the_largest():
    small, large = made(2, 1, finals=False, width=3), made(2, 1, width=5, seed=3)
    joined = Rollout.concat([small, large])
    assert joined["obs"]["image"].shape == (2, 2, 2, 5)
    assert torch.equal(joined["obs"]["image"][:, 0, :, :3], small["obs"]["image"][:, 0])
    assert not joined["obs"]["image"][:, 0, :, 3:].any()
    swapped = Rollout.concat([made(2, 1, width=3, seed=3), made(2, 1, finals=False, width=5)])
    assert swapped.final_obs["image"].shape[-1] == 5  # padded like the rows they stand in for


def test_versions_and_starts():
    old, new = made(2, 1, version=3), made(2, 1, version=5)
    new.fresh_start = True
    joined = Rollout.concat([new, old])
    assert joined.weights_version == 3
    assert joined.fresh_start
    new.weights_version = None
    assert Rollout.concat([new, old]).weights_version is None


def test_copies_and_views():
    rollout = made(3, 2, recurrent=True)
    copies = [rollout.clone(), Rollout.concat([rollout]), Rollout.concat(rollout.split(2))]
    view = rollout.split(2)[1]
    before = rollout["rewards"].clone()
    rollout["rewards"].zero_()
    rollout.state_in["h"].zero_()
    rollout.bootstrap_inputs["prev_actions"].fill_(9)
    for copy in copies:
        assert torch.equal(copy["rewards"], before)
        assert copy.state_in["h"].any()
        assert (copy.bootstrap_inputs["prev_actions"] < 4).all()
    assert not view["rewards"].any()


def test_rollouts_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"rollout 1 has T .* 3, rollout 0 has 2"):
        Rollout.concat([made(2, 1), made(3, 1)])
    with pytest.raises(ConfigError, match="seq_len"):
        Rollout.concat([made(2, 1), attrs.evolve(made(2, 1), seq_len=2)])
    with pytest.raises(ConfigError, match="at least one"):
        Rollout.concat([])


def test_every_field_says_which_axes_it_has():
    assert {axes_of(attribute) for attribute in attrs.fields(Rollout)} == set(Axes)


@attrs.define(eq=False)
class Longer(Rollout):
    """With one more field of each kind."""

    step_ids: torch.Tensor | None = attrs.field(default=None, metadata=axes(Axes.STEPS))
    goals: dict | None = attrs.field(default=None, metadata=axes(Axes.SEQUENCES))
    env_ids: torch.Tensor | None = attrs.field(default=None, metadata=axes(Axes.ENVS))
    final_ids: torch.Tensor | None = attrs.field(default=None, metadata=axes(Axes.FINALS))
    names: tuple[str, ...] = attrs.field(default=(), metadata=axes(Axes.NONE, join=lambda each: sum(each, ())))


def longer(steps, envs, name, **options):
    rollout = made(steps, envs, recurrent=True, **options)
    ids = torch.arange(steps * envs).view(steps, envs)
    return Longer(
        **{attribute.name: getattr(rollout, attribute.name) for attribute in attrs.fields(Rollout)},
        step_ids=ids,
        goals={"at": ids[::2].clone()},
        env_ids=torch.arange(envs),
        final_ids=rollout.final_index.clone(),
        names=(name,),
    )


def test_a_new_field_takes_part_in_everything():
    a, b = longer(4, 2, "a"), longer(4, 3, "b", seed=1)
    joined = Rollout.concat([a, b])
    assert isinstance(joined, Longer)
    assert joined.names == ("a", "b")
    for mine, back in zip([*a.split(2), *b.split(3)], joined.split(5), strict=True):
        assert torch.equal(mine.step_ids, back.step_ids)
        assert torch.equal(mine.goals["at"], back.goals["at"])
        assert torch.equal(mine.env_ids, back.env_ids)
        assert mine.final_ids is back.final_ids is None or torch.equal(mine.final_ids, back.final_ids)

    later = Rollout.concat_time([a, longer(4, 2, "a", seed=2)])
    assert later.step_ids.shape == (8, 2)
    assert later.goals["at"].shape == (4, 2)
    assert later.env_ids.shape == (2,)
    assert len(later.final_ids) == len(later.final_index)
    first = later.cut_time(3)
    assert first.step_ids.shape == (3, 2)
    assert first.goals["at"].shape == (2, 2)
    assert first.final_ids.tolist() == [i for i in a.final_index.tolist() if i < 6]
    more = first.extend_time(5)
    assert more.step_ids.tolist() == [*first.step_ids.tolist(), [0, 0], [0, 0]]
    assert more.goals["at"].shape == (3, 2)

    kept = a.clone()
    for tensor in (a.step_ids, a.goals["at"], a.env_ids, a.final_ids):
        tensor.fill_(-1)
    assert all((x >= 0).all() for x in (kept.step_ids, kept.goals["at"], kept.env_ids, kept.final_ids))


def test_a_field_without_axes_is_refused():
    @attrs.define(eq=False)
    class Silent(Rollout):
        extra: torch.Tensor | None = None

    rollout = made(2, 1)
    silent = Silent(columns=rollout.columns, bootstrap_obs=rollout.bootstrap_obs)
    with pytest.raises(TypeError, match=r"'extra' of a rollout does not say .*Axes.STEPS"):
        silent.clone()


def test_what_is_cut_and_filled_up_along_time():
    rollout = made(6, 2, recurrent=True, seed=3)
    first = rollout.cut_time(4)
    assert torch.equal(first.bootstrap_obs["image"], rollout["obs"]["image"][4])
    assert equal(Rollout.concat_time([first]), first)
    again = first.extend_time(6)
    assert torch.equal(again["obs"]["image"][4], first.bootstrap_obs["image"])
    assert again.num_env_steps == 8
    assert not again.loss_mask[4:].any()
    assert again.state_in["h"].shape[0] == 3
