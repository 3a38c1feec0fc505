"""What RLlib has and rlkit has not: names that are not here, and methods whose overrides nobody would call.

Both are refused where they are met, with what to write instead: silence would cost an author a day.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from rlkit_core.errors import OverrideError

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
    "DiscreteBCTfModule": "use DiscreteBCTorchModule, of rlkit_core.testing: modules are torch modules",
    "EagerTFPolicyV2": _POLICIES,
    "MetricsLogger": "a learner logs with learner.metrics: log_value(), log_dict() and peek()",
    "ModelV2": f"use TorchRLModule, of rlkit_core: {_NETWORKS}",
    "OverrideToImplementCustomLogic": _MARKS,
    "Policy": "an RLModule acts by itself: it has compute_actions(), compute_single_action(), "
    "compute_actions_from_input_dict() and compute_log_likelihoods()",
    "RLConfig": "a module's constructor takes an RLModuleConfig, of rlkit_core",
    "TfRLModule": "use TorchRLModule, of rlkit_core; the forward contract is the same",
    "TorchModelV2": f"use TorchRLModule, of rlkit_core: {_NETWORKS}",
    "TorchPolicyV2": _POLICIES,
}
"""Classes of RLlib's, each with what to use instead."""


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


def refuse_name(name: str) -> None:
    """Raise ImportError, with what to use instead, if ``name`` is one of :data:`NOT_HERE`.

    An AttributeError would lose its text on the way through ``from rlkit_core import ...``.
    """
    if name in NOT_HERE:
        raise ImportError(f"{name} is RLlib's and no part of rlkit: {NOT_HERE[name]}", name="rlkit_core")


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
