"""What every API mixin with an implementation keeps, with its driver: on any module, before and after other mixins."""

from __future__ import annotations

import contextlib
import functools
import unittest
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.columns import Columns
from rlkit_core.data import Rollout
from rlkit_core.learner import Learner
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import ModuleAPI, Registered
from rlkit_core.rl_module import ActorCriticTorchRLModule, RLModuleSpec
from rlkit_core.testing.bc_algorithm import BCConfigTest
from rlkit_core.testing.kit.contract import Contract, advise, doing, require, seeded, skip, tests_of
from rlkit_core.testing.kit.envs import KitEnv
from rlkit_core.testing.kit.examples import SMALL
from rlkit_core.testing.kit.module import RLModuleContract
from rlkit_core.testing.kit.networks import equal_states

UPDATES = 2


class Neighbour(InferenceOnlyAPI):
    """Another mixin, as it should be: it cooperates, and says what acting does without."""

    def setup(self) -> None:
        """Make a part of its own."""
        super().setup()  # type: ignore[misc]
        self.kit_neighbour = nn.Linear(2, 2).requires_grad_(False)

    def get_non_inference_attributes(self) -> list[str]:
        """That part, and those of the others."""
        return [*super().get_non_inference_attributes(), "kit_neighbour"]


class KitLearner(Learner):
    """The plain policy gradient, with values where a module has them: something for drivers to add to."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Minus rewards times log-probabilities."""
        dist = self.module[module_id].get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        loss: Tensor = -(dist.logp(batch[Columns.ACTIONS]) * batch[Columns.REWARDS]).mean()
        return loss


class MixinContract(Contract):
    """What every API mixin keeps that has an implementation.

    Attributes:
        component: the id of its record (``"acme-rnd/rnd"``), or the record.
        base: the class of module that it is put onto.
        model_config: settings above small defaults.
    """

    about = "module API"
    component: Any = None
    base: type = ActorCriticTorchRLModule
    model_config: Mapping[str, Any] = {}

    @functools.cached_property
    def record(self) -> Registered[ModuleAPI]:
        """Its record, with its origin."""
        given = self.component
        record = given if isinstance(given, Registered) else default_host().find_module_api(given)
        if record.record.implementation is None:
            skip(f"{record.id!r} has no implementation that could be put onto a module")
        return record

    @property
    def name(self) -> str:
        """As findings name it."""
        return f"mixin {self.record.id!r}"

    @functools.cached_property
    def implementation(self) -> Any:
        """The class that is put onto modules."""
        return self.record.load("implementation")

    def spec(self, cls: type | None = None, mixins: tuple[str, ...] | None = None) -> RLModuleSpec:
        """Of a module with the mixin, or of another class."""
        named = (self.record.id,) if mixins is None else mixins
        return RLModuleSpec(
            module_class=cls or self.base,
            mixins=named or None,
            observation_space=RLModuleContract.observation_space,
            action_space=RLModuleContract.action_space,
            model_config={**SMALL, **self._own_settings(cls), **self.model_config},
        )

    def _own_settings(self, cls: type | None) -> Mapping[str, Any]:
        """Defaults of what it declares, for a class that is not composed by name."""
        declared = self.record.record.settings
        return declared.filled({}) if cls is not None and declared else {}  # type: ignore[attr-defined]

    def built(self, what: str, spec: RLModuleSpec) -> Any:
        """A module."""
        with seeded(), doing(f"{self.name} {what}: building the module", "call super().setup() first in setup()"):
            return spec.build()

    def test_the_module_keeps_its_contract(self) -> None:
        """With the mixin on it, a module acts, is saved and restored as any other; its own parts come on top."""
        plain = self.built("left out", self.spec(mixins=())).get_state()
        mixed = self.built(f"on {self.base.__name__}", self.spec()).get_state()
        lost = [name for name in plain if name not in mixed or np.shape(mixed[name]) != np.shape(plain[name])]
        advise(
            not lost,
            f"{self.name}: with it {self.base.__name__} has no {', '.join(lost[:5])}, or of another shape",
            "give attributes names of its own, with its name in front, and call super().setup()",
        )
        own = tuple(name for name in mixed if name not in plain)
        about = {"module": self.spec(), "mixins": (self.record.id,), "untrained": own}
        contract_class = type("OfMixed", (RLModuleContract,), about)
        contract = contract_class()
        for test in tests_of(contract_class):
            if test != "test_masks":  # it may be for other observations than those with a mask
                with contextlib.suppress(unittest.SkipTest):
                    getattr(contract, test)()

    def test_any_order_of_mixins_will_do(self) -> None:
        """Before and after another mixin, all of ``setup()`` runs, and nobody's say is lost."""
        implementation = self.implementation
        for bases in ((implementation, Neighbour, self.base), (Neighbour, implementation, self.base)):
            order = f"{'before' if bases[0] is implementation else 'after'} another mixin"
            with doing(f"{self.name} {order}: making the class", "inherit rlkit's APIs, not the module classes"):
                cls = type("Ordered", bases, {"__module__": __name__})
            module = self.built(order, self.spec(cls, ()))
            require(
                hasattr(module, "kit_neighbour"),
                f"{self.name} {order}: {implementation.__qualname__}.setup() does not call super().setup()",
                "call super().setup() first, so that the others are set up as well",
            )
            named = module.get_non_inference_attributes()
            require(
                "kit_neighbour" in named,
                f"{self.name} {order}: {implementation.__qualname__}.get_non_inference_attributes() leaves out what "
                "others name",
                "return [*super().get_non_inference_attributes(), 'my_part']",
            )

    def test_its_driver_trains_and_resumes(self) -> None:
        """Updates stay finite; a learner that takes over a learner's state goes on with the same numbers."""
        rollouts = self._rollouts()
        first, second = self._learner(), self._learner()
        self._update(first, rollouts)
        with doing(f"{self.name}: a learner's state", "get_state() of a driver gives arrays, numbers, texts and dicts"):
            second.set_state(first.get_state())
        for learner in (first, second):
            self._update(learner, rollouts)
        states = [learner.module["default_policy"].get_state() for learner in (first, second)]
        bad = [name for name, value in states[0].items() if not np.isfinite(value).all()]
        require(not bad, f"{self.name}: after {UPDATES} updates {', '.join(bad[:5])} is not finite", "look at its loss")
        require(
            equal_states(*states),
            f"{self.name}: a learner with another one's state goes on with other numbers",
            "keep in get_state() and set_state() of the driver what its calls leave behind, and draw from torch only",
        )

    def _rollouts(self) -> dict[str, Rollout]:
        config = self._config()
        with doing(f"{self.name}: acting in an env", "see the forward contract"), config.build_algo() as algo:
            return {mid: rollout.clone() for mid, rollout in algo.env_runner_group.sample().items()}

    def _config(self) -> BCConfigTest:
        config = BCConfigTest(expert=np.zeros_like, train_batch_size=24).environment(KitEnv)
        config.env_runners(num_envs_per_env_runner=2).learners(learner_class=KitLearner, compile=None)
        config.rl_module(rl_module_spec=self.spec()).debugging(seed=3)
        return config

    def _learner(self) -> Learner:
        with doing(f"{self.name}: making a learner", "see rlkit_core.rl_module.apis.driver_contract"):
            learner: Learner = self._config().build_learner()
            learner.build()
        return learner

    def _update(self, learner: Learner, rollouts: Mapping[str, Rollout]) -> None:
        with doing(f"{self.name}: an update of a learner", "see the driver's events in docs/reference/drivers.md"):
            learner.update(rollouts=rollouts)
