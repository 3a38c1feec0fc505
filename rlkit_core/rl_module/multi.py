"""MultiRLModule: several RLModules under their ids, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rlkit_core.columns import ALL_MODULES, COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE
from rlkit_core.errors import SpecError, StateError
from rlkit_core.from_rllib import MULTI_MODULES
from rlkit_core.plugins.used.pinned import by_module
from rlkit_core.rl_module.base import RLModule
from rlkit_core.rl_module.construction import takes_config_object
from rlkit_core.rl_module.members import ActingMember, Members, own_state, set_multi_state, validate_module_id
from rlkit_core.rl_module.spec import MultiRLModuleConfig, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.torch_module import acting_call

if TYPE_CHECKING:
    import gymnasium as gym

    from rlkit_core.checkpoint.saved_component import SavedComponent


class MultiRLModule(nn.Module, RLModule):
    """Holds RLModules by id and runs each on its part of a batch ``{module_id: sub_batch}``.

    A subclass may make its members in its own ``setup()`` and assign a plain dict to ``self._rl_modules``; networks
    it holds itself, or that its members share, are seen once by parameter lists, device moves and counts.

    Args:
        config: a :class:`MultiRLModuleConfig`, or -1 or None for "not given".
        observation_space: global space, for parts of the MultiRLModule itself.
        action_space: global action space.
        inference_only: True is forced onto all members (those that are ``learner_only`` are left out); None means True
            only when every member is.
        learner_only: the whole lives on learners only.
        model_config: global model config.
        rl_module_specs: module id -> :class:`RLModuleSpec`.
        **kwargs: as for :class:`RLModule`.

    Raises:
        SpecError: a spec is of a wrong type, or members are of different frameworks.
    """

    framework: str | None = None
    refused_overrides = MULTI_MODULES
    lies_in = (COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, COMPONENT_RL_MODULE)

    def __init__(
        self,
        config: MultiRLModuleConfig | int | None = -1,
        *,
        observation_space: gym.Space[Any] | None = None,
        action_space: gym.Space[Any] | None = None,
        inference_only: bool | None = None,
        learner_only: bool | None = None,
        model_config: object = None,
        rl_module_specs: Mapping[str, RLModuleSpec] | None = None,
        **kwargs: Any,
    ) -> None:
        nn.Module.__init__(self)
        if isinstance(config, MultiRLModuleConfig):
            rl_module_specs, config = config.modules, None
        self._inference_only_asked = inference_only
        self.rl_module_specs = self._own_specs(rl_module_specs)
        self._rl_modules: Any = {}
        if inference_only is None:
            specs = self.rl_module_specs.values()
            inference_only = bool(specs) and all(spec.inference_only for spec in specs)
        RLModule.__init__(
            self,
            config,
            observation_space=observation_space,
            action_space=action_space,
            inference_only=inference_only,
            learner_only=learner_only,
            model_config=model_config,
            **kwargs,
        )

    def _own_specs(self, specs: object) -> dict[str, RLModuleSpec]:
        if specs is None:
            return {}
        if not isinstance(specs, Mapping):
            raise SpecError(
                f"{type(self).__name__}(rl_module_specs=...): expected a dict module id -> RLModuleSpec, got "
                f"{type(specs).__name__}"
            )
        copies: dict[str, RLModuleSpec] = {}
        for module_id, spec in specs.items():
            validate_module_id(module_id, error=True)
            if not isinstance(spec, RLModuleSpec):
                raise SpecError(f"module {module_id!r} has {type(spec).__name__}, expected an RLModuleSpec")
            if self._inference_only_asked and spec.learner_only:
                continue
            copies[module_id] = spec.with_pinned(spec.pinned_choices or by_module().get(module_id))
            if self._inference_only_asked:
                copies[module_id].inference_only = True
        return copies

    def setup(self) -> None:
        """Build every spec. A subclass may do it its own way and need not call this."""
        for module_id, spec in self.rl_module_specs.items():
            try:
                self._rl_modules[module_id] = self.build_member(module_id, spec)
            except SpecError as error:
                raise SpecError(f"module {module_id!r}: {error}") from error

    def build_member(self, module_id: str, spec: RLModuleSpec) -> RLModule:
        """Build one member: for :meth:`setup`, and for each that joins later.

        Override it where members share what this MultiRLModule holds.

        Args:
            module_id: its id.
            spec: its complete spec.
        """
        module: RLModule = spec.build()
        return module

    def _construction_done(self) -> None:
        if self.__dict__.get("_is_setup"):
            self._set_framework()
            for module_id, module in self.items():
                spec = self.rl_module_specs.get(module_id)
                if spec is None or not spec.is_of(module):
                    module.__dict__["_state_only"] = True
        super()._construction_done()

    def _set_framework(self) -> None:
        module_of = {module.framework: module_id for module_id, module in self.items() if module.framework is not None}
        if len(module_of) > 1:
            listed = ", ".join(f"{module_id!r} is {framework}" for framework, module_id in module_of.items())
            raise SpecError(f"all modules of one MultiRLModule need the same framework: {listed}")
        self.framework = next(iter(module_of), type(self).framework)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_rl_modules" and not isinstance(value, Members):
            value = Members(value)
        super().__setattr__(name, value)

    # -- forwards ----------------------------------------------------------------------------------------------

    def forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """The forward behind ``multi(batch)``."""
        return self.forward_exploration(batch, **kwargs) if self.inference_only else self.forward_train(batch, **kwargs)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Exploration forward of every member with a sub-batch; ids without a member are skipped."""
        return acting_call(self, self._call, "exploration", batch, kwargs)

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Inference forward of every member with a sub-batch; ids without a member are skipped."""
        return acting_call(self, self._call, "inference", batch, kwargs)

    def forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Training forward of every member with a sub-batch; ids without a member are skipped.

        Raises:
            RuntimeError: this, or a member with a sub-batch, is ``inference_only``.
        """
        if self.inference_only:
            raise self._no_training()
        if not self.training:
            self.train()
        return self._call("train", batch, kwargs)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._run("forward_train", batch, kwargs)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._run_phase("forward_exploration", batch, kwargs)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._run_phase("forward_inference", batch, kwargs)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._run_phase("forward_train", batch, kwargs)

    def _run_phase(self, method: str, batch: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """A phase that has no forward of its own: ``_forward``, where a subclass has one, or the members' forwards."""
        if _overrides(self, "_forward"):
            return self._forward(batch, **kwargs)
        return self._run(method, batch, kwargs)

    def _run(self, method: str, batch: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        modules = self._rl_modules
        return {key: getattr(modules[key], method)(value, **kwargs) for key, value in batch.items() if key in modules}

    def _default_input_specs(self) -> Any:
        return None

    _default_input_specs.describes_only = True  # type: ignore[attr-defined]

    def output_specs_exploration(self) -> Any:
        """None: members check their own outputs."""
        return None

    def output_specs_inference(self) -> Any:
        """None: members check their own outputs."""
        return None

    output_specs_exploration.describes_only = True  # type: ignore[attr-defined]
    output_specs_inference.describes_only = True  # type: ignore[attr-defined]

    # -- distributions, state of sequences -----------------------------------------------------------------------

    def get_exploration_action_dist_cls(self) -> dict[str, Any]:
        """Module id -> the class its exploration samples from."""
        return {module_id: module.get_exploration_action_dist_cls() for module_id, module in self.items()}

    def get_inference_action_dist_cls(self) -> dict[str, Any]:
        """Module id -> the class its inference uses."""
        return {module_id: module.get_inference_action_dist_cls() for module_id, module in self.items()}

    def get_train_action_dist_cls(self) -> dict[str, Any]:
        """Module id -> the class its loss uses."""
        return {module_id: module.get_train_action_dist_cls() for module_id, module in self.items()}

    def get_initial_state(self) -> dict[str, Any]:
        """Module id -> its initial recurrent state."""
        return {module_id: module.get_initial_state() for module_id, module in self.items()}

    def is_stateful(self) -> bool:
        """Whether any member is recurrent."""
        return any(module.is_stateful() for module in self.values())

    # -- members -----------------------------------------------------------------------------------------------

    # nn.Module's add_module has another signature; this class registers its members through Members instead.
    def add_module(  # type: ignore[override]
        self, module_id: str, module: RLModule, *, override: bool = False, spec: RLModuleSpec | None = None
    ) -> None:
        """Add a member at run time.

        Args:
            module_id: its id.
            module: the RLModule.
            override: replace a member of that id.
            spec: what it was built from; read back from the module unless given.

        Raises:
            ValueError: the id is invalid, or taken and ``override`` is False, or ``module`` is no RLModule or of
                another framework.
        """
        validate_module_id(module_id, error=True)
        if not isinstance(module, RLModule):
            raise ValueError(f"add_module({module_id!r}): expected an RLModule, got {type(module).__name__}")
        if module_id in self and not override:
            raise ValueError(f"module {module_id!r} exists already; pass override=True to replace it")
        if None not in (module.framework, self.framework) and module.framework != self.framework:
            raise ValueError(f"add_module({module_id!r}): it is {module.framework}, the others are {self.framework}")
        self._rl_modules[module_id] = module
        if not isinstance(module, MultiRLModule):
            own = RLModuleSpec.from_module(module) if spec is None else spec.copy()
            own.load_state_path = None
            self.rl_module_specs[module_id] = own
        self._membership_changed()

    def remove_module(self, module_id: str, *, raise_err_if_not_found: bool = True) -> None:
        """Remove a member.

        Raises:
            KeyError: there is none of that id, unless ``raise_err_if_not_found`` is False.
        """
        if module_id not in self:
            if raise_err_if_not_found:
                raise KeyError(self._no_such(module_id))
            return
        del self._rl_modules[module_id]
        self.rl_module_specs.pop(module_id, None)
        self._membership_changed()

    def _membership_changed(self) -> None:
        self.framework = None
        self._set_framework()
        self.__dict__.pop("_is_stateful", None)
        members = list(self.values())
        all_inference = bool(members) and all(module.inference_only for module in members)
        self.inference_only = all_inference if self._inference_only_asked is None or members else self.inference_only

    def foreach_module(
        self, func: Callable[..., Any], *, return_dict: bool = False, **kwargs: object
    ) -> list[Any] | dict[str, Any]:
        """Call ``func(module_id, module, **kwargs)`` for every member and return the results."""
        results = {module_id: func(module_id, module.unwrapped(), **kwargs) for module_id, module in self.items()}
        return results if return_dict else list(results.values())

    def acting_member(self, module_id: str) -> Any:
        """What acts for one member: it itself; where this class has forwards of its own, a way through those.

        Raises:
            KeyError: there is no such member.
        """
        return ActingMember(self, module_id, self[module_id]) if _overrides(self, *_ACTING) else self[module_id]

    def keys(self) -> KeysView[str]:
        """The module ids."""
        return self._members().keys()

    def values(self) -> ValuesView[Any]:
        """The members."""
        return self._members().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of module id and member."""
        return self._members().items()

    def get(self, module_id: str, default: object = None) -> Any:
        """The member of that id, or ``default``."""
        return self._members().get(module_id, default)

    def _members(self) -> Members:
        # What `self._rl_modules` gives; `nn.Module` finds its parts slowly, and these are asked for in every update.
        members: Members = self.__dict__["_modules"]["_rl_modules"]
        return members

    def __getitem__(self, module_id: str) -> Any:
        try:
            return self._members()[module_id]
        except KeyError:
            raise KeyError(self._no_such(module_id)) from None

    def __contains__(self, module_id: object) -> bool:
        return module_id in self._members()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members())

    def __len__(self) -> int:
        return len(self._members())

    def __bool__(self) -> bool:
        return True

    def _no_such(self, module_id: object) -> str:
        return f"no module {module_id!r}; there are {', '.join(map(repr, self.keys())) or 'none'}"

    # -- parameters and state ----------------------------------------------------------------------------------

    def unique_parameters(self, module_ids: Iterable[str] | None = None) -> list[tuple[str, str, nn.Parameter]]:
        """Every parameter once.

        Args:
            module_ids: members to look at, in this order; all by default. Parameters of the MultiRLModule itself are
                listed last.

        Returns:
            ``(module_id, name, parameter)``: a shared parameter belongs to the first member that holds it, one that no
            member holds to ``"__all_modules__"``.
        """
        seen: set[int] = set()
        unique: list[tuple[str, str, nn.Parameter]] = []
        wanted = list(self.keys()) if module_ids is None else list(module_ids)
        for module_id in wanted:
            for name, parameter in self[module_id].named_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    unique.append((module_id, name, parameter))
        others = {
            id(parameter)
            for module_id, module in self.items()
            if module_id not in wanted
            for parameter in module.parameters()
        }
        for name, parameter in self.named_parameters():
            if id(parameter) not in seen and id(parameter) not in others:
                unique.append((ALL_MODULES, name, parameter))
        return unique

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU when there are none."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return module id -> its state.

        Parameters of the MultiRLModule itself are under ``"__self__"``; names that are one parameter are listed under
        ``"__shared__"`` (both only where there are any).

        Args:
            components: only these module ids.
            not_components: all but these.
            inference_only: leave out what inference-only modules lack, and modules that are ``learner_only``.
            **kwargs: passed to the members.
        """
        if inference_only:
            named = [not_components] if isinstance(not_components, str) else list(not_components or ())
            not_components = [
                *named,
                *(module_id for module_id, module in self._members().items() if module.learner_only),
            ]
        state = self.get_component_states(components, not_components, inference_only=inference_only, **kwargs)
        if components is not None:
            return state
        without = self.non_inference_attributes() if inference_only else ()
        return {**state, **own_state(self, self._members(), without=without)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Take over what :meth:`get_state` gave.

        Raises:
            StateError: module ids, names or shapes differ (``strict=False`` loosens ids and names).
        """
        expected = [key for key, module in self.items() if not (module.learner_only and self.inference_only)]
        partial = bool(self.__dict__.get("_restoring"))
        set_multi_state(
            self,
            self._members(),
            state,
            strict=strict,
            expected=None if partial else expected,
            ignore=self.stripped_attributes,
        )

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Take over a checkpoint's snapshot: the members, then what belongs to the whole."""
        self.__dict__["_restoring"] = True
        try:
            super().restore_snapshot(snapshot, strict=strict)
        finally:
            del self.__dict__["_restoring"]

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The members, by id."""
        return list(self._members().items())

    def current_specs(self) -> dict[str, RLModuleSpec]:
        """Specs of the present members: those given, and for added ones those read back from the modules."""
        specs = {mid: self.rl_module_specs.get(mid) or RLModuleSpec.from_module(module) for mid, module in self.items()}
        return {mid: spec.with_pinned(self[mid].pinned_choices) for mid, spec in specs.items()}

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments that rebuild this with its present members."""
        specs = self.current_specs()
        if takes_config_object(type(self)):
            return (MultiRLModuleConfig(specs),), {}
        return (), {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "inference_only": self._inference_only_asked if self._inference_only_asked is None else self.inference_only,
            "learner_only": self.learner_only,
            "model_config": self.model_config,
            "rl_module_specs": specs,
        }

    def load_modules_from(self, path: str, module_ids: Iterable[str] | None = None) -> None:
        """Take members' states from a MultiRLModule checkpoint.

        Args:
            path: the checkpoint.
            module_ids: members to load; all by default.

        Raises:
            StateError: a state does not fit.
        """
        wanted = list(self.keys()) if module_ids is None else list(module_ids)
        for module_id in wanted:
            if module_id not in self:
                raise StateError(f"cannot load {path!r} into module {module_id!r}: {self._no_such(module_id)}")
        if module_ids is None:
            self.restore_from_path(path)
            return
        source = MultiRLModule.from_checkpoint(path)
        for module_id in wanted:
            self[module_id].set_state(source[module_id].get_state())

    # -- views -------------------------------------------------------------------------------------------------

    def as_multi_rl_module(self) -> MultiRLModule:
        """The very same object."""
        return self

    def unwrapped(self) -> MultiRLModule:
        """The very same object."""
        return self


_ACTING = ("_forward", "_forward_exploration", "_forward_inference", "forward_exploration", "forward_inference")


def _overrides(module: MultiRLModule, *methods: str) -> bool:
    """Whether the class of ``module`` has one of these methods of its own."""
    return any(getattr(type(module), name) is not getattr(MultiRLModule, name) for name in methods)


MultiRLModuleSpec.multi_rl_module_class = MultiRLModule
