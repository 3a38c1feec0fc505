"""What every RLModule keeps, as tests that anybody's module can be run through."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.catalog import has_action_mask
from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, leaves, map_leaves
from rlkit_core.distributions import Distribution
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.default_config import model_config_dict
from rlkit_core.models.previous import no_previous_action
from rlkit_core.plugins.records import load_target
from rlkit_core.rl_module import ActorCriticTorchRLModule, RLModule, RLModuleSpec
from rlkit_core.rl_module.apis import implements
from rlkit_core.rl_module.packing import ObservationPacker
from rlkit_core.spaces import describe
from rlkit_core.testing.kit.contract import doing, require, seeded
from rlkit_core.testing.kit.examples import ROWS, SMALL, Space, as_tensors, example_rows, with_time
from rlkit_core.testing.kit.networks import Network, NetworkContract

STEPS = 3
DRAWS = 50
_ACTING = (Columns.ACTIONS, Columns.ACTION_DIST_INPUTS, Columns.ACTION_DIST)


class RLModuleContract(NetworkContract):
    """What every module keeps. Subclass it and say which::

        class TestMyModule(RLModuleContract):
            module = MyModule
            observation_space = gymnasium.spaces.Box(-1, 1, (3,))

    Attributes:
        module: its class, ``"package.module:Class"``, or an ``RLModuleSpec``, which fills in what it sets.
        observation_space: of one observation.
        action_space: of one action.
        model_config: settings above small defaults.
        mixins: ids of API mixins that are put onto it.
        untrained: names (or their beginnings) of parameters that ``forward_train`` leaves to another loss.
    """

    about = "module"
    module: Any = None
    observation_space: Space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space: Space = gym.spaces.Discrete(3)
    model_config: Mapping[str, Any] = {}
    mixins: Sequence[str] = ()
    untrained: Sequence[str] = ()

    @property
    def spec(self) -> RLModuleSpec:
        """What is built."""
        given = load_target(self.module)
        require(
            isinstance(given, (type, RLModuleSpec)),
            f"{type(self).__name__}.module is {given!r}, expected a class or an RLModuleSpec",
            f"module = MyModule in the class {type(self).__name__}",
        )
        spec = given.copy() if isinstance(given, RLModuleSpec) else RLModuleSpec(module_class=given)
        own = model_config_dict(spec.model_config)
        spec.model_config = {**SMALL, **own, **self.model_config}
        spec.observation_space = self.observation_space if spec.observation_space is None else spec.observation_space
        spec.action_space = self.action_space if spec.action_space is None else spec.action_space
        spec.mixins = tuple(self.mixins) or spec.mixins
        return spec

    @property
    def name(self) -> str:
        """The module as findings name it."""
        spec = self.spec
        cls = spec.module_class
        mixed = f" with {', '.join(spec.mixins)}" if spec.mixins else ""
        return (
            f"{cls.__name__ if cls else 'module'}{mixed} for {describe(spec.observation_space)} and "  # type: ignore[arg-type]
            f"{describe(spec.action_space)}"  # type: ignore[arg-type]
        )

    def built(self, seed: int = 0, spec: RLModuleSpec | None = None) -> Any:
        """A new one, with weights drawn from ``seed``."""
        with seeded(seed), doing(f"{self.name}: building it", "make all networks in setup(), from spaces and config"):
            return (spec or self.spec).build()

    # -- calling it ------------------------------------------------------------------------------------------------

    def batch(self, module: RLModule, rows: int) -> dict[str, Any]:
        """What a forward is given: ``(B, ...)``, or ``(B, T, ...)`` with a state where it is recurrent."""
        space: Any = module.observation_space
        obs = as_tensors(space, example_rows(space, rows), ObservationPacker.of(module, space))
        columns = getattr(module, "input_columns", ())
        batch: dict[str, Any] = {Columns.OBS: obs}
        if PREV_ACTIONS in columns:
            batch[PREV_ACTIONS] = map_leaves(torch.as_tensor, no_previous_action(module, rows))
        if PREV_REWARDS in columns:
            batch[PREV_REWARDS] = torch.zeros(rows)
        if module.is_stateful():
            batch = with_time(batch, STEPS)
            state = module.get_initial_state()
            batch[Columns.STATE_IN] = map_leaves(lambda x: torch.stack([torch.as_tensor(x)] * rows), state)
        return batch

    def forward(self, module: RLModule, phase: str, batch: dict[str, Any]) -> dict[str, Any]:
        """One of its forwards; what it returns has to be a dict."""
        with doing(f"{self.name}: forward_{phase}()", "it has to take any number of rows"):
            out = getattr(module, f"forward_{phase}")(batch)
        require(
            isinstance(out, Mapping),
            f"{self.name}: _forward_{phase}() returned {type(out).__name__}, expected a dict of columns",
            "return {'action_dist_inputs': ...}",
        )
        return dict(out)

    def acted(self, module: RLModule, batch: dict[str, Any]) -> Tensor:
        """What inference says of a batch, a row for each: inputs of a distribution, or actions."""
        out = self.forward(module, "inference", batch)
        dist = out.get(Columns.ACTION_DIST)
        given = out.get(Columns.ACTION_DIST_INPUTS, out.get(Columns.ACTIONS, getattr(dist, "logits", None)))
        if given is None and dist is not None:
            given = dist.mean
        rows = len(next(leaves(batch[Columns.OBS])))
        parts = [leaf.reshape(rows, -1).float() for leaf in leaves(given) if isinstance(leaf, Tensor)]
        return torch.cat(parts, 1) if parts else torch.zeros(rows, 0)

    def losses(self, module: RLModule, batch: dict[str, Any]) -> list[Tensor]:
        """What a loss can be made of: what ``forward_train`` returns, and values."""
        out = self.forward(module, "train", batch)
        parts = [leaf for key, value in out.items() if key != Columns.ACTION_DIST for leaf in leaves(value)]
        parts.append(getattr(out.get(Columns.ACTION_DIST), "logits", None))
        lead = (ROWS, STEPS) if module.is_stateful() else (ROWS,)
        if implements(module, ValueFunctionAPI):
            with doing(f"{self.name}: compute_values()", "return values (B,), or (B, T) where it is recurrent"):
                values = module.compute_values(batch, embeddings=out.get(Columns.EMBEDDINGS))
            require(
                tuple(values.shape) == lead,
                f"{self.name}: compute_values() gives shape {tuple(values.shape)}, expected {lead}",
                "squeeze(-1) what the value head gives",
            )
            parts.append(values)
        return [one for one in parts if isinstance(one, Tensor)]

    # -- the contract ----------------------------------------------------------------------------------------------

    def networks(self) -> Iterator[Network]:
        """The module itself."""
        probe = self.built()
        yield Network(
            self.name,
            lambda: self.spec.build(),
            lambda rows: self.batch(probe, rows),
            self.acted,
            losses=self.losses,
            untrained=self.untrained,
            state=lambda module: module.get_state(),
            load=lambda module, state: module.set_state(state),
        )

    def test_forwards_return_actions_or_what_they_come_from(self) -> None:
        """Acting forwards give ``actions``, ``action_dist_inputs`` or both, a row for each, finite."""
        module = self.built()
        for phase in ("exploration", "inference"):
            for rows in (1, ROWS):
                batch = self.batch(module, rows)
                mode = rows == 1
                module.train(mode)
                out = self.forward(module, phase, batch)
                require(
                    module.training == mode,
                    f"{self.name}: _forward_{phase}() leaves it in another mode",
                    "call neither train() nor eval() in a forward",
                )
                require(
                    any(key in out for key in _ACTING),
                    f"{self.name}: _forward_{phase}() returned {sorted(map(str, out))}",
                    "return 'actions', 'action_dist_inputs' or both",
                )
                lead = (rows, STEPS) if module.is_stateful() else (rows,)
                for key in (Columns.ACTIONS, Columns.ACTION_DIST_INPUTS):
                    for leaf in leaves(out.get(key, ())):
                        require(
                            tuple(leaf.shape[: len(lead)]) == lead and bool(torch.isfinite(leaf.float()).all()),
                            f"{self.name}: _forward_{phase}() gives {key!r} of shape {tuple(leaf.shape)}, expected "
                            f"({', '.join(map(str, lead))}, ...), and finite",
                            "keep the leading axes (B, or B and T), and look at divisions and logarithms",
                        )
                self._check_width(module, phase, out)
                self._check_state(module, phase, out, batch)

    def _check_width(self, module: RLModule, phase: str, out: Mapping[str, Any]) -> None:
        inputs = out.get(Columns.ACTION_DIST_INPUTS)
        if inputs is None:
            return
        cls = module.get_exploration_action_dist_cls()
        if isinstance(cls, type) and issubclass(cls, Distribution):
            space: Any = module.action_space
            wanted = cls.required_input_dim(space, module.distribution_settings())
            require(
                inputs.shape[-1] == wanted,
                f"{self.name}: _forward_{phase}() gives 'action_dist_inputs' of width {inputs.shape[-1]}, and "
                f"{cls.__name__} takes {wanted}",
                "let the policy head be as wide as required_input_dim() says",
            )

    def _check_state(self, module: RLModule, phase: str, out: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        if not module.is_stateful():
            return
        given = [tuple(leaf.shape) for leaf in leaves(batch[Columns.STATE_IN])]
        seen = [tuple(leaf.shape) for leaf in leaves(out.get(Columns.STATE_OUT, ()))]
        require(
            given == seen,
            f"{self.name}: _forward_{phase}() gives 'state_out' of shapes {seen}, and 'state_in' has {given}",
            "return the state after the last step, in the structure of get_initial_state(), with a batch axis",
        )

    def test_actions_are_in_the_space(self) -> None:
        """``compute_actions`` gives, for any number of observations, actions that the env takes."""
        module = self.built()
        space: Any = module.observation_space
        rows = example_rows(space, ROWS)
        for explore in (True, False):
            with doing(f"{self.name}: compute_single_action(explore={explore})", "see the forward contract"):
                actions = [module.compute_single_action(one, explore=explore)[0] for one in rows]
            bad = next((one for one in actions if not module.action_space.contains(one)), None)
            require(
                bad is None,
                f"{self.name}: compute_single_action(explore={explore}) gives {bad!r}, not in the action space",
                "return raw actions of the distribution, which to_env() turns into the env's; see Distribution.to_env",
            )
        again = [module.compute_single_action(one, explore=False)[0] for one in rows]
        require(
            all(map(np.array_equal, map(_flat, actions), map(_flat, again))),
            f"{self.name}: without exploration the same observation gives another action the second time",
            "draw nothing at random in _forward_inference()",
        )

    def _check_alike(self, module: RLModule, other: RLModule, which: str, fix: str) -> None:
        batch = self.batch(module, ROWS)
        first, second = self.acted(module, batch), self.acted(other, batch)
        require(
            torch.equal(first, second),
            f"{self.name}: a module {which} acts otherwise: something that it computes with is not in its state",
            fix,
        )

    def test_it_is_restored_from_a_checkpoint(self) -> None:
        """``save_to_path`` and ``from_checkpoint`` give the same class and the same actions."""
        module = self.built()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "module")
            with doing(f"{self.name}: save_to_path() and from_checkpoint()", "keep model_config to JSON values"):
                module.save_to_path(path)
                restored = type(module).stored_class().from_checkpoint(path)
        require(
            type(restored) is type(module),
            f"{self.name}: from_checkpoint() gives a {type(restored).__name__}",
            "let __init__ take what RLModule's takes",
        )
        self._check_alike(module, restored, "from its checkpoint", "put into the state what training changes")

    def test_one_for_acting_only_acts_alike(self) -> None:
        """``inference_only=True`` builds, with the state of the whole module, what runners act with."""
        module, spec = self.built(), self.spec
        if not module.non_inference_attributes():
            return
        spec.inference_only = True
        acting = self.built(1, spec)
        with doing(f"{self.name}: set_state() of an inference-only module", "see get_non_inference_attributes()"):
            acting.set_state(module.get_state(inference_only=True))
        self._check_alike(module, acting, "with inference_only=True", "strip nothing that acting needs")

    def test_masks(self) -> None:
        """An action that the observation's ``action_mask`` forbids is never taken."""
        spec = self.spec
        space = spec.observation_space
        if not isinstance(spec.action_space, gym.spaces.Discrete):
            return
        if not has_action_mask(space):
            own_setup = getattr(spec.module_class, "setup", None) is not ActorCriticTorchRLModule.setup
            if own_setup or spec.mixins or space is None:
                return
            mask = gym.spaces.Box(0, 1, (int(spec.action_space.n),), np.int8)
            spec.observation_space = gym.spaces.Dict({"kit": space, Columns.ACTION_MASK: mask})
        module = self.built(0, spec)
        observations = example_rows(module.observation_space, ROWS)
        for one in observations:
            one[Columns.ACTION_MASK] = np.ones_like(one[Columns.ACTION_MASK])
            one[Columns.ACTION_MASK][0] = 0
        first = int(spec.action_space.start)
        taken = [module.compute_single_action(one, explore=True)[0] for one in observations for _ in range(DRAWS)]
        require(
            first not in [int(one) for one in taken],
            f"{self.name}: it takes an action that the action_mask of the observation forbids",
            "mask logits in every forward: dist_cls.mask_logits(logits, batch['obs']['action_mask'])",
        )


def _flat(action: Nested) -> Any:
    return np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves(action)])
