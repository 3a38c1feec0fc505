"""Several agents, from a config to training, changes on the way and checkpoints; with the actor-critic of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import Algorithm, MultiRLModule, MultiRLModuleSpec, PolicySpec, RLModuleSpec
from rlkit_core.errors import ConfigError, SpecError
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule, MultiAgentCartPole, MultiAgentEnv
from simple_modules import RandomRLModule

BY_SIDE = ["left", "right"]


def to_sides(agent_id: int, episode: Any) -> str:
    return BY_SIDE[agent_id]


def two_cart_poles(**multi_agent: Any) -> Any:
    config = ACConfig().environment(MultiAgentCartPole, env_config={"num_agents": 2}).debugging(seed=1)
    config.training(train_batch_size=64, minibatch_size=64, num_epochs=1).rl_module(model_config={"fcnet_hiddens": [8]})
    return config.multi_agent(**{"policies": BY_SIDE, "policy_mapping_fn": to_sides, **multi_agent})


def weights(module: Any) -> dict[str, np.ndarray]:
    return {f"{mid}/{name}": value for mid in module for name, value in module[mid].get_state().items()}


def runners_have_the_learners_weights(algo: Any) -> bool:
    acting = algo.env_runner_group.module
    learns = algo.learner_group.learner.module
    return all(
        np.array_equal(value, learns[mid].get_state()[name])
        for mid in acting
        for name, value in acting[mid].get_state().items()
    )


def test_the_two_agents_of_the_reference_document() -> None:
    """As written there, and it trains once there is someone to clone."""
    config = (
        BCConfigTest()
        .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        .environment(MultiAgentCartPole, env_config={"num_agents": 2})
        .rl_module(
            model_config={"fcnet_hiddens": [32, 32]},
            rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(module_class=DiscreteBCTorchModule)}),
        )
    )
    config.training(expert=lambda obs: (obs[:, 2] > 0).astype(np.int64), train_batch_size=128, lr=0.03)
    with config.debugging(seed=2).build_algo() as algo:
        losses = [algo.train()["learners"]["p0"]["total_loss"] for _ in range(40)]
        assert algo.env_runner_group.module["p0"].policy[0].out_features == 32
        assert losses[-1] < 0.45 < losses[0]
        assert algo.evaluate(2)["env_runners"]["num_episodes"] == 2
        assert algo.compute_single_action(np.zeros(4, np.float32), module_id="p0")[0] in (0, 1)


def test_modules_have_settings_of_their_own() -> None:
    config = two_cart_poles(
        policies={
            "left": RLModuleSpec(model_config={"fcnet_hiddens": [4]}),
            "right": PolicySpec(config={"lr": [[0, 0.5], [10_000, 0.5]], "gamma": 0.5, "entropy_coeff": 0.3}),
        }
    ).rl_module(algorithm_config_overrides_per_module={"left": {"grad_clip": 1e-3}})
    with config.build_algo() as algo:
        result = algo.train()["learners"]
        learner = algo.learner_group.learner
        assert result["right"]["default_optimizer_learning_rate"] == 0.5
        assert result["left"]["default_optimizer_learning_rate"] == learner.config.lr
        own = {mid: learner.config.get_config_for_module(mid) for mid in BY_SIDE}
        assert (own["right"].gamma, own["right"].entropy_coeff, own["left"].grad_clip) == (0.5, 0.3, 1e-3)
        widths = {mid: algo.get_module(mid).model_config["fcnet_hiddens"] for mid in BY_SIDE}
        assert widths == {"left": [4], "right": [8]}
        assert runners_have_the_learners_weights(algo)


def test_what_is_not_trained_or_has_no_parameters_acts_all_the_same() -> None:
    def three(agent_id: int, episode: Any) -> str:
        return ["left", "frozen", "random"][agent_id]

    config = two_cart_poles(
        policies={"left": None, "frozen": None, "random": RLModuleSpec(RandomRLModule), "spare": None},
        policy_mapping_fn=three,
        policies_to_train=["left"],
    ).environment(MultiAgentCartPole, env_config={"num_agents": 3})
    with config.build_algo() as algo:
        before = weights(algo.learner_group.learner.module)
        algo.train()
        after = weights(algo.learner_group.learner.module)
        moved = {name.partition("/")[0] for name in before if not np.array_equal(before[name], after[name])}
        assert moved == {"left"}
        assert set(algo.env_runner_group.sample()) == {"left", "frozen", "random"}  # nobody uses the spare one


class OfTwoKinds(MultiAgentEnv):
    """A walker that sees three numbers and a pilot that sees five; each moves in turn for ten steps."""

    possible_agents = ("walker", "pilot")
    observation_spaces: Mapping[Any, gym.Space[Any]] = {
        "walker": gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
        "pilot": gym.spaces.Box(-1.0, 1.0, (5,), np.float32),
    }
    action_spaces: Mapping[Any, gym.Space[Any]] = {"walker": gym.spaces.Discrete(2), "pilot": gym.spaces.Discrete(3)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._seen(), {}

    def step(self, action_dict: Mapping[Any, Any]) -> Any:
        self.steps += 1
        over = self.steps == 10
        return self._seen(), dict.fromkeys(action_dict, 1.0), {"__all__": over}, {"__all__": False}, {}

    def _seen(self) -> dict[Any, Any]:
        agent = self.possible_agents[self.steps % 2]
        return {agent: self.np_random.uniform(-1, 1, self.observation_spaces[agent].shape).astype(np.float32)}


def of_two_kinds(**multi_agent: Any) -> Any:
    return two_cart_poles(**{"policies": ["walker", "pilot"], "policy_mapping_fn": None, **multi_agent}).environment(
        OfTwoKinds, env_config={}
    )


def test_agents_use_the_modules_of_their_names() -> None:
    with of_two_kinds().build_algo() as algo:
        algo.train()
        shapes = {mid: algo.get_module(mid).observation_space.shape for mid in ("walker", "pilot")}
        assert shapes == {"walker": (3,), "pilot": (5,)}
        algo.add_module(
            "walker2",
            RLModuleSpec(),
            new_agent_to_module_mapping_fn=lambda agent_id, episode: {"walker": "walker2"}.get(agent_id, agent_id),
        )
        assert algo.get_module("walker2").observation_space.shape == (3,)
        algo.train()
        with pytest.raises(SpecError, match="module 'spare': its observation space is unknown"):
            algo.add_module("spare", RLModuleSpec())
        walker = algo.get_module("walker")
        algo.add_module("spare", RLModuleSpec(None, walker.observation_space, walker.action_space))
        with pytest.raises(
            SpecError, match=r"agent 'pilot' is mapped to module 'walker', which is made for observ.*\(3,\)"
        ):
            algo.change_modules(
                new_agent_to_module_mapping_fn=lambda agent_id, episode: {"pilot": "walker"}.get(agent_id, "walker2")
            )
        algo.train()


def test_agents_must_fit_their_modules() -> None:
    wrong = PolicySpec(None, gym.spaces.Box(-1.0, 1.0, (4,), np.float32))
    with pytest.raises(SpecError, match=r"agent 'pilot' is mapped to module 'pilot', which is made for observations"):
        of_two_kinds(policies={"walker": None, "pilot": wrong}).build_algo()
    wider = PolicySpec(None, gym.spaces.Box(-9.0, 9.0, (5,), np.float32), gym.spaces.Discrete(3))
    with of_two_kinds(policies={"walker": None, "pilot": wider}).build_algo() as algo:
        algo.train()


def test_agents_of_one_module_must_be_alike() -> None:
    with pytest.raises(SpecError, match="agents 'walker' and 'pilot' share module 'all' but have different spaces"):
        of_two_kinds(policies=["all"]).build_algo()


# -- while it runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runners", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_modules_come_and_go(runners: int, tmp_path: Any) -> None:
    """A past self is added, played against in open episodes, removed; nothing is refused half."""
    config = two_cart_poles().env_runners(num_env_runners=runners)
    with config.build_algo() as algo:
        algo.evaluate(1)
        algo.train()

        def against(agent_id: int, episode: Any) -> str:
            return ["left", "past"][agent_id]

        algo.add_module(
            "past",
            RLModuleSpec(),
            new_agent_to_module_mapping_fn=against,
            new_should_module_be_updated=["left"],
        )
        for group in (algo.env_runner_group, algo.eval_env_runner_group, algo.learner_group):
            assert list(group.module_set) == ["left", "right", "past"]
            assert group.module_set.config.policies_to_train == ["left"]
        algo.train()
        result = algo.train()  # open episodes of before have ended by now, at the latest
        assert "total_loss" not in result["learners"].get("past", {})
        assert runners_have_the_learners_weights(algo)
        state = weights(algo.learner_group.learner.module)

        with pytest.raises(ConfigError, match="agents are mapped to module 'past'"):
            algo.remove_module("past")
        assert list(algo.env_runner_group.module_set) == ["left", "right", "past"]
        path = algo.save_to_path(tmp_path / "c")
        algo.remove_module("past", new_agent_to_module_mapping_fn=to_sides)
        result = algo.train()
        assert set(result["learners"]) >= {"left"}
        assert algo.get_module("past") is None
        assert algo.config.policy_ids == BY_SIDE
        assert algo.evaluate(1)["env_runners"]["num_episodes"] == 1

    with Algorithm.from_checkpoint(path, policy_mapping_fn=against) as again:
        assert list(again.env_runner_group.module_set) == ["left", "right", "past"]
        assert again.config.policies_to_train == ["left"]
        restored = weights(again.learner_group.learner.module)
        assert restored.keys() == state.keys()
        assert all(np.array_equal(value, state[name]) for name, value in restored.items())
        assert runners_have_the_learners_weights(again)
        again.train()
    with two_cart_poles().build_algo() as other:  # a config that never heard of it
        other.restore_from_path(path)
        assert list(other.learner_group.module_set) == ["left", "right", "past"]
        assert runners_have_the_learners_weights(other)
        other.train()


# -- what modules share -----------------------------------------------------------------------------------------------


class OneEncoder(MultiRLModule):
    """All members have the encoder of the first."""

    def build_member(self, module_id: str, spec: RLModuleSpec) -> Any:
        member: Any = super().build_member(module_id, spec)
        if len(self):
            member.encoder = next(iter(self.values())).encoder
        return member


def test_an_encoder_of_all_modules_is_one_everywhere() -> None:
    spec = MultiRLModuleSpec(multi_rl_module_class=OneEncoder)
    with two_cart_poles().rl_module(rl_module_spec=spec).build_algo() as algo:
        before = weights(algo.learner_group.learner.module)
        algo.train()
        algo.add_module("late", RLModuleSpec())
        algo.train()
        for module in (algo.learner_group.learner.module, algo.env_runner_group.module):
            assert module["left"].encoder is module["right"].encoder is module["late"].encoder
        after = weights(algo.learner_group.learner.module)
        assert not all(np.array_equal(before[name], after[name]) for name in before if "encoder" in name)
        assert runners_have_the_learners_weights(algo)


class Steered(MultiRLModule):
    """Adds a number of its own to all logits of action 1: it acts with it, and learns it."""

    def setup(self) -> None:
        super().setup()
        self.bias = torch.nn.Parameter(torch.tensor(30.0))

    def _steered(self, out: dict[str, Any]) -> dict[str, Any]:
        for part in out.values():
            part["action_dist_inputs"] = part["action_dist_inputs"] + self.bias * torch.tensor([0.0, 1.0])
        return out

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._steered(super()._forward_exploration(batch, **kwargs))

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._steered(super()._forward_inference(batch, **kwargs))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._steered(super()._forward_train(batch, **kwargs))


def test_runners_act_through_forwards_of_the_whole() -> None:
    spec = MultiRLModuleSpec(multi_rl_module_class=Steered)
    with two_cart_poles().rl_module(rl_module_spec=spec).build_algo() as algo:
        rollouts = algo.env_runner_group.sample()
        for module_id in BY_SIDE:
            mask = rollouts[module_id].loss_mask
            actions = rollouts[module_id]["actions"]
            assert (actions if mask is None else actions[mask]).all()
        algo.train()
        bias = algo.learner_group.learner.module.bias.item()
        assert algo.env_runner_group.module.bias.item() == bias
