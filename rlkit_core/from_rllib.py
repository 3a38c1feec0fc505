"""What RLlib has and rlkit has not: names that are not here, and methods whose overrides nobody would call.

Both are refused where they are met, with what to write instead: silence would cost an author a day.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rlkit_core.errors import ConfigError, OverrideError

_NETWORKS = "its networks are made in setup(), and what they compute is said in _forward()"
_POLICIES = (
    "TorchRLModule does what policies did: make_model() and make_model_and_action_dist() become setup(), "
    "action_sampler_fn() becomes _forward_exploration(), which returns 'actions', and action_distribution_fn() becomes "
    "_forward(), which returns 'action_dist_inputs'; get_exploration_action_dist_cls() says of which distribution"
)
_MARKS = "no mark is needed: override the method"

NOT_HERE: Final[Mapping[str, str]] = {
    "ActionDistribution": "use Distribution, of rlkit_core",
    "DeveloperAPI": _MARKS,
    "EagerTFPolicyV2": _POLICIES,
    "MetricsLogger": "a learner logs with learner.metrics: log_value(), log_dict() and peek()",
    "ModelV2": f"use TorchRLModule, of rlkit_core: {_NETWORKS}",
    "OverrideToImplementCustomLogic": _MARKS,
    "Policy": "an RLModule acts by itself: it has compute_actions(), compute_single_action(), "
    "compute_actions_from_input_dict() and compute_log_likelihoods()",
    "RLConfig": "a module's constructor takes an RLModuleConfig, of rlkit_core",
    "TorchCompileConfig": "say learners(compile='auto'), or None, 'capture' or 'inductor', in the config",
    "TorchModelV2": f"use TorchRLModule, of rlkit_core: {_NETWORKS}",
    "TorchPolicyV2": _POLICIES,
}
"""Classes of RLlib's, each with what to use instead."""

FRAMEWORKS: Final[Mapping[str, str]] = dict.fromkeys(("DiscreteBCTfModule", "TfLearner", "TfRLModule"), "tf2")
"""Classes that a framework brings, each with its name."""


_IDENTITY = "a checkpoint is found by this name, so it is the same for all"
_EACH_MEMBERS = "override the method of that name in the member's class, which acts and learns"
_UPDATES = "override update(), to which every way of updating leads"

CHECKPOINTS: Final = {"METADATA_FILE_NAME": _IDENTITY, "CLASS_AND_CTOR_ARGS_FILE_NAME": _IDENTITY}
PARTS_OF_CHECKPOINTS: Final = {
    "save_to_path": "override get_state() or get_state_to_save(), to which every way of saving leads, that of a whole "
    "with this as its part too",
    "restore_from_path": "override set_state() or restore_snapshot(), to which every way of restoring leads, that of a "
    "whole with this as its part too",
}
MULTI_MODULES: Final = {
    "build": "override setup(), which makes the members, or build_member(), which makes one",
    "get_exploration_action_dist_cls": _EACH_MEMBERS,
    "get_inference_action_dist_cls": _EACH_MEMBERS,
    "get_train_action_dist_cls": _EACH_MEMBERS,
}
LEARNERS: Final = {
    **PARTS_OF_CHECKPOINTS,
    "add_module": "override on_module_added(), which is called for every module that joins, from the first on",
    "remove_module": "override on_module_removed(), which is called for every module that leaves",
    "get_param_ref": "dicts of gradients have the parameters themselves as keys",
    "update_from_batch": _UPDATES,
    "update_from_episodes": _UPDATES,
}
CONFIGS: Final = {
    "build": "override build_algo(), which build() is another name of",
    "build_learner": "override get_default_learner_class(), or name the class: learners(learner_class=...)",
}
"""What may not be overridden of checkpointable objects, of those that are parts of one, and so on: name -> instead."""


_WHY_NOT: Final = {
    "window": "a metric is of one update; window=1, the latest value, is reduce='last'",
    "ema_coeff": "a metric is the mean of one update; smooth over updates where you plot it",
    "clear_on_reduce": "a metric begins anew with every update; reduce='lifetime_sum' goes on",
    "with_throughput": "rates are in the result's timers and env steps",
    "throughput_ema_coeff": "rates are in the result's timers and env steps",
    "reduce_per_index_on_aggregate": "learners' metrics are means over learners",
}
"""Arguments of RLlib's ``log_value()`` that have no meaning here, and why."""


def as_kind(reduce: str | None, rllib: Mapping[str, object]) -> Any:
    """How RLlib's arguments of ``log_value()`` reduce the values of one update; what has no meaning is warned of.

    Raises:
        TypeError: an argument that RLlib has not either.
        ValueError: a ``reduce`` that is neither's.
    """
    unknown = [name for name in rllib if name not in _WHY_NOT]
    if unknown:
        raise TypeError(f"log_value() takes no argument {unknown[0]!r}; it takes key, value and reduce=")
    left = {name: value for name, value in rllib.items() if value is not None and value is not False}
    kind = "last" if reduce is None else reduce
    if kind == "mean" and left.get("window") == 1:
        del left["window"]
        kind = "last"
    if kind == "sum" and rllib.get("clear_on_reduce") is False:
        kind = "lifetime_sum"
    if left.get("clear_on_reduce") is True:
        del left["clear_on_reduce"]
    if kind not in ("mean", "sum", "min", "max", "last", "lifetime_sum"):
        raise ValueError(
            f"log_value(reduce={reduce!r}): expected 'mean', 'sum', 'min', 'max', 'last' or 'lifetime_sum'"
        )
    for name, value in left.items():
        warnings.warn(f"log_value({name}={value!r}) changes nothing: {_WHY_NOT[name]}", UserWarning, stacklevel=3)
    return kind


def refuse_async(arguments: dict[str, Any]) -> None:
    """Take RLlib's ``async_update`` out of the arguments of ``LearnerGroup.update()``.

    Raises:
        ConfigError: it is True.
    """
    if arguments.pop("async_update", False):
        raise ConfigError(
            "update(async_update=True): use async_update(...), which returns at once, with a list of the results of "
            "updates that have ended meanwhile"
        )


def refuse_name(name: str) -> Any:
    """The class of a framework, if ``name`` is one of :data:`FRAMEWORKS`; None for names that nobody knows.

    An AttributeError would lose its text on the way through ``from rlkit_core import ...``.

    Raises:
        ImportError: it is one of :data:`NOT_HERE`; says what to use instead.
        PluginNotFoundError: the framework is not installed; says the line to install.
    """
    if name in FRAMEWORKS:
        from rlkit_core.frameworks import name_in

        return name_in(FRAMEWORKS[name], name)
    if name in NOT_HERE:
        raise ImportError(f"{name} is RLlib's and no part of rlkit: {NOT_HERE[name]}", name="rlkit_core")
    return None


ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "Algorithm": {
        "add_policy": "add_module()",
        "compute_action": "compute_single_action()",
        "compute_actions": "get_module().compute_actions()",
        "evaluation_workers": "eval_env_runner_group",
        "export_policy_checkpoint": "get_module(ID).save_to_path(PATH)",
        "export_policy_model": "get_module(ID), a torch.nn.Module",
        "get_policy": "get_module()",
        "get_weights": "learner_group.get_weights()",
        "set_weights": "learner_group.set_weights()",
        "import_policy_model_from_h5": "restore_from_path(PATH, component=...)",
        "local_replay_buffer": "replay_buffers",
        "remove_policy": "remove_module()",
        "restore": "restore_from_path()",
        "save": "save_to_path()",
        "save_checkpoint": "save_to_path()",
        "load_checkpoint": "restore_from_path()",
        "workers": "env_runner_group",
    },
    "EnvRunnerGroup": {
        "foreach_worker": "foreach_env_runner()",
        "foreach_worker_with_id": "foreach_env_runner()",
        "local_worker": "local_env_runner",
        "num_healthy_remote_workers": "get_fault_metrics()",
        "probe_unhealthy_workers": "sample(), which restarts runners that are gone",
        "remote_workers": "foreach_env_runner()",
    },
    "LearnerGroup": {"load_module_state": "set_weights()", "additional_update": "update(), which does it all"},
    "Learner": {
        "curr_kl_coeffs_per_module": "get_state(), which has them",
        "entropy_coeff_schedulers_per_module": "metrics.peek((MODULE_ID, 'curr_entropy_coeff')); a schedule is "
        "entropy_coeff=[[step, value], ...]",
        "additional_update": "after_gradient_based_update()",
        "additional_update_for_module": "after_gradient_based_update()",
        "load_state": "set_state()",
        "load_module_state": "module[MODULE_ID].set_state()",
        "remove_module_state": "remove_module()",
        "set_module_state": "module[MODULE_ID].set_state()",
    },
}
"""Attributes and methods of RLlib's classes, older ones too, each with what does it here."""


class SaysInstead:
    """Base of classes that say what does the work of an attribute that only RLlib's have: :data:`ATTRIBUTES`."""

    if not TYPE_CHECKING:  # a type checker finds an unknown attribute itself

        def __getattr__(self, name: str) -> Any:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            for base in type(self).__mro__:
                if name in ATTRIBUTES.get(base.__name__, ()):
                    raise AttributeError(f"{text}; it is RLlib's: use {ATTRIBUTES[base.__name__][name]}")
            raise AttributeError(text)


def refuse_overrides(cls: type) -> None:
    """Look at a class that was just defined, for names that its bases list in ``refused_overrides``.

    Raises:
        OverrideError: the class, or a mixin of it, has another value for one of the names.
    """
    for base in cls.__mro__[1:]:
        for name, instead in vars(base).get("refused_overrides", {}).items():
            if inspect.getattr_static(cls, name, None) is inspect.getattr_static(base, name, None):
                continue
            call = "()" if callable(getattr(cls, name)) else ""
            raise OverrideError(
                f"{cls.__name__} overrides {name}{call} of {base.__name__}, and nothing would come of it: {instead}"
            )


class RefusesOverrides:
    """Base of classes that have names which subclasses must leave alone: see :func:`refuse_overrides`.

    Attributes:
        refused_overrides: of the class itself, name -> what to do instead; subclasses need not repeat it.
    """

    refused_overrides: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls)


def overridden(thing: object, base: type, name: str) -> Any:
    """The method of that name where the object's class has one of its own, not that of ``base``; else None."""
    return None if getattr(type(thing), name) is getattr(base, name) else getattr(thing, name)
