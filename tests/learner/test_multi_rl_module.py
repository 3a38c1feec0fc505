"""A MultiRLModule of one's own: what lives only in it is trained, saved, restored, sent to runners, and stripped."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rlkit_core import Columns, MultiRLModule, MultiRLModuleSpec, RLModuleSpec, TorchRLModule
from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.columns import ALL_MODULES
from rlkit_core.rl_module.weights import Weights
from rlkit_core.testing import BCConfigTest

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
WHOLE = gym.spaces.Box(-1.0, 1.0, (6,), np.float32)


class Head(TorchRLModule):
    """Turns what the shared part made of an observation into logits."""

    def setup(self) -> None:
        self.head = nn.Linear(self.model_config["width"], 2)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.head(batch[Columns.OBS])}


class Shared(MultiRLModule, InferenceOnlyAPI):
    """One body for all members, and one part that only training needs; both live in no member."""

    def setup(self) -> None:
        super().setup()
        self.seen = (self.observation_space, self.action_space, dict(self.model_config), self.inference_only)
        self.body = nn.Sequential(nn.Linear(4, self.model_config["width"]), nn.Tanh())
        self.judge = nn.Linear(self.observation_space.shape[0], 1)

    def get_non_inference_attributes(self) -> list[str]:
        return ["judge"]

    def _encoded(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {mid: {**rows, Columns.OBS: self.body(rows[Columns.OBS])} for mid, rows in batch.items()}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return super()._forward_exploration(self._encoded(batch), **kwargs)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return super()._forward_inference(self._encoded(batch), **kwargs)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return super()._forward_train(self._encoded(batch), **kwargs)


def spec(**settings: Any) -> MultiRLModuleSpec:
    return MultiRLModuleSpec(
        multi_rl_module_class=Shared,
        observation_space=WHOLE,
        action_space=ACT,
        model_config={"width": 5},
        rl_module_specs={mid: RLModuleSpec(Head, OBS, ACT, model_config={"width": 5}) for mid in ("p0", "p1")},
        **settings,
    )


def config_for(**settings: Any) -> BCConfigTest:
    config = BCConfigTest().training(lr=0.01).debugging(seed=1)
    return config.rl_module(rl_module_spec=spec()).multi_agent(policies=["p0", "p1"], **settings)


def learner_for(**settings: Any) -> Any:
    learner = config_for(**settings).build_learner()
    learner.build()
    return learner


def rows(seed: int, count: int = 64) -> dict[str, torch.Tensor]:
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return {"obs": obs, "actions": (obs[:, 0] * obs[:, 1] > 0).long()}


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("inference_only", [False, True])
def test_what_is_said_of_the_whole_reaches_setup(inference_only: bool) -> None:
    given = spec()
    before = given.to_dict()
    multi = config_for().rl_module(rl_module_spec=given).get_multi_rl_module_spec(inference_only=inference_only)
    module = multi.build()
    assert module.seen == (WHOLE, ACT, {"width": 5}, inference_only)
    assert all(member.inference_only is inference_only for member in module.values())
    assert given.to_dict() == before
    assert hasattr(module, "judge") is not inference_only


def test_it_learns_from_the_losses_of_those_that_use_it() -> None:
    learner = learner_for()
    assert [name for name, _ in learner.get_optimizers_for_module(ALL_MODULES)] == [
        "p0_default_optimizer",
        "p1_default_optimizer",
        "__all_modules___default_optimizer",
    ]
    judge = tensors(learner.module.judge)
    losses = [learner.update({mid: rows(k + i) for i, mid in enumerate(("p0", "p1"))}) for k in range(200)]
    for mid in ("p0", "p1"):
        assert losses[0][mid]["total_loss"] > 0.6
        assert losses[-1][mid]["total_loss"] < 0.5  # no head alone can tell the sign of a product
    assert losses[-1][ALL_MODULES]["gradients_default_optimizer_global_norm"] > 0
    assert same(tensors(learner.module.judge), judge)  # no loss reaches it


def test_its_step_is_that_of_the_summed_losses() -> None:
    learner = learner_for()
    twin = spec().build()
    twin.load_state_dict(learner.module.state_dict())
    adams = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (twin["p0"], twin["p1"], twin.body)]
    for k in range(5):
        data = {"p0": rows(k), "p1": rows(100 + k)}
        learner.update(data)
        out = twin.forward_train(data)
        for adam in adams:
            adam.zero_grad()
        sum(
            nn.functional.cross_entropy(out[mid][Columns.ACTION_DIST_INPUTS], part["actions"])
            for mid, part in data.items()
        ).backward()
        for adam in adams:
            adam.step()
    for mine, theirs in zip(learner.module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)


def test_modules_that_are_not_trained_do_not_move_it() -> None:
    learner = learner_for(policies_to_train=["p0"])
    learner.update({mid: rows(1) for mid in ("p0", "p1")})
    before = tensors(learner.module)
    learner.update({"p1": rows(2)})
    assert same(tensors(learner.module), before)
    learner.update({"p0": rows(3), "p1": rows(3)})
    after = tensors(learner.module)
    moved = {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"body.0", "_rl_modules.p0.head"}


def test_it_goes_to_runners_without_what_only_training_needs() -> None:
    learner = learner_for()
    learner.update({mid: rows(1) for mid in ("p0", "p1")})
    acting = config_for().get_multi_rl_module_spec(inference_only=True).build()
    weights = learner.get_weights(inference_only=True)
    assert isinstance(weights, Weights)
    assert set(weights.state["__self__"]) == {"body.0.weight", "body.0.bias"}
    acting.set_state(weights.state)
    assert same(tensors(acting.body), tensors(learner.module.body))
    acting.set_state(learner.module.get_state())  # a full state is fine too
    batch = {"p1": {"obs": rows(5)["obs"]}}
    ours = acting.forward_inference(batch)["p1"][Columns.ACTION_DIST_INPUTS]
    assert torch.equal(ours, learner.module.forward_inference(batch)["p1"][Columns.ACTION_DIST_INPUTS])


def test_it_is_saved_and_restored_with_its_optimizer(tmp_path: Any) -> None:
    one, two = learner_for(), learner_for()
    for k in range(3):
        one.update({mid: rows(k) for mid in ("p0", "p1")})
    one.save_to_path(tmp_path / "c")
    two.restore_from_path(tmp_path / "c")
    module = MultiRLModule.from_checkpoint(tmp_path / "c" / "rl_module", classes=[Shared, Head])
    assert same(tensors(module), tensors(one.module))
    for learner in (one, two):
        for k in range(3, 6):
            learner.update({mid: rows(k) for mid in ("p0", "p1")})
    assert same(tensors(two.module), tensors(one.module))


def test_it_trains_on_when_members_come_and_go() -> None:
    learner = learner_for()
    learner.update({mid: rows(1) for mid in ("p0", "p1")})
    learner.add_module(module_id="p2", module_spec=RLModuleSpec(Head, OBS, ACT, model_config={"width": 5}))
    learner.remove_module("p0")
    learner.remove_module("p1")
    before = tensors(learner.module.body)
    learner.update({"p2": rows(2)})
    assert not any(torch.equal(value, before[name]) for name, value in tensors(learner.module.body).items())


class Lent(MultiRLModule):
    """Members hold the body too, also those that join later."""

    def setup(self) -> None:
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
        super().setup()

    def build_member(self, module_id: str, spec: RLModuleSpec) -> Any:
        member = super().build_member(module_id, spec)
        member.body = self.body
        return member


class Borrower(Head):
    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return super()._forward({Columns.OBS: self.body(batch[Columns.OBS])}, **kwargs)


def test_members_that_join_later_get_what_the_others_share() -> None:
    specs = {"p0": RLModuleSpec(Borrower, OBS, ACT, model_config={"width": 5})}
    config = BCConfigTest().debugging(seed=1)
    config.rl_module(rl_module_spec=MultiRLModuleSpec(multi_rl_module_class=Lent, rl_module_specs=specs))
    learner = config.build_learner()
    learner.build()
    learner.update({"p0": rows(1)})
    learner.add_module(module_id="p1", module_spec=RLModuleSpec(Borrower, OBS, ACT, model_config={"width": 5}))
    body = learner.module.body
    assert learner.module["p1"].body is body
    acting = learner.config.get_multi_rl_module_spec(inference_only=True).build()
    acting.set_state(learner.get_weights(inference_only=True).state)
    assert acting["p1"].body is acting["p0"].body is acting.body
    for module_id in ("p0", "p1"):  # the last one to go leaves the body to the whole
        learner.remove_module(module_id)
    assert all(learner.optimizers.owns(p) for p in body.parameters())
    learner.add_module(module_id="p2", module_spec=RLModuleSpec(Borrower, OBS, ACT, model_config={"width": 5}))
    before = tensors(body)
    learner.update({"p2": rows(3)})
    assert not same(tensors(body), before)


class OneForAll(MultiRLModule):
    """RLlib's form: an encoder that is a member of its own, and one ``_forward`` for all phases."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        encoder = self["encoder"]
        return {
            mid: self[mid]._forward({**rows, Columns.OBS: encoder.body(rows[Columns.OBS])})
            for mid, rows in batch.items()
            if mid != "encoder"
        }


class Encoder(TorchRLModule):
    def setup(self) -> None:
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Tanh())


@pytest.mark.parametrize("form", [Shared, OneForAll])
def test_acting_goes_through_forwards_of_the_whole(form: type[MultiRLModule]) -> None:
    """A runner, an evaluation and a deployment act as the loss sees it; the member alone cannot act at all."""
    given = spec()
    given.multi_rl_module_class = form
    if form is OneForAll:
        given.add_modules({"encoder": RLModuleSpec(Encoder, OBS, ACT)})
    config = BCConfigTest().environment("CartPole-v1").debugging(seed=1).rl_module(rl_module_spec=given)
    config.multi_agent(policies=["p0", "p1"], policy_mapping_fn=lambda agent_id, episode: "p1")
    config.training(expert=lambda obs: (obs[:, 2] > 0).astype(np.int64), train_batch_size=64, lr=0.05)
    with config.build_algo() as algo:
        for _ in range(60):
            result = algo.train()
        assert result["learners"]["p1"]["total_loss"] < 0.45
        assert algo.evaluate(2)["env_runners"]["num_episodes"] == 2
        tilted = [
            algo.compute_single_action(np.array([0, 0, x, 0], np.float32), module_id="p1")[0] for x in (0.2, -0.2)
        ]
        assert tilted == [1, 0]
        obs = torch.randn(8, 4)
        whole = algo.learner_group.learner.module
        acting = algo.env_runner_group.module.acting_member("p1")
        assert acting.unwrapped() is algo.get_module("p1")
        ours = acting.forward_exploration({"obs": obs})[Columns.ACTION_DIST_INPUTS]
        assert torch.equal(ours, whole.forward_train({"p1": {"obs": obs}})["p1"][Columns.ACTION_DIST_INPUTS])
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            algo.get_module("p1").compute_single_action(np.zeros(4, np.float32))
