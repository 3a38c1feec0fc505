"""What plugins write classes for, as Protocols by their public names; they load on first use.

``mypy --strict`` compares a class that names one as a base, or that is assigned to one. At run time nothing asks for
them: ``rlkit doctor`` looks at the methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

_DRIVERS = "rlkit_core.learner.driver_protocols"
_HOMES = {
    "ActorHandle": "rlkit_core.execution.protocol",
    "AfterUpdate": _DRIVERS,
    "BeforeUpdate": _DRIVERS,
    "ComputeLoss": _DRIVERS,
    "DriverState": _DRIVERS,
    "EnvRunner": "rlkit_core.envs.foreign.protocol",
    "EngineMaker": "rlkit_core.learner.step",
    "Executor": "rlkit_core.execution.protocol",
    "ExtraLoss": _DRIVERS,
    "OnBuild": _DRIVERS,
    "OnModuleBuilt": _DRIVERS,
    "OnRemove": _DRIVERS,
    "OnRollout": _DRIVERS,
    "Published": "rlkit_core.execution.protocol",
    "ResultWriter": "rlkit_core.run.writers",
    "StatefulEngine": "rlkit_core.learner.step",
    "StepEngine": "rlkit_core.learner.step",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from rlkit_core.envs.foreign.protocol import EnvRunner as EnvRunner
    from rlkit_core.execution.protocol import ActorHandle as ActorHandle
    from rlkit_core.execution.protocol import Executor as Executor
    from rlkit_core.execution.protocol import Published as Published
    from rlkit_core.learner.driver_protocols import AfterUpdate as AfterUpdate
    from rlkit_core.learner.driver_protocols import BeforeUpdate as BeforeUpdate
    from rlkit_core.learner.driver_protocols import ComputeLoss as ComputeLoss
    from rlkit_core.learner.driver_protocols import DriverState as DriverState
    from rlkit_core.learner.driver_protocols import ExtraLoss as ExtraLoss
    from rlkit_core.learner.driver_protocols import OnBuild as OnBuild
    from rlkit_core.learner.driver_protocols import OnModuleBuilt as OnModuleBuilt
    from rlkit_core.learner.driver_protocols import OnRemove as OnRemove
    from rlkit_core.learner.driver_protocols import OnRollout as OnRollout
    from rlkit_core.learner.step import EngineMaker as EngineMaker
    from rlkit_core.learner.step import StatefulEngine as StatefulEngine
    from rlkit_core.learner.step import StepEngine as StepEngine
    from rlkit_core.run.writers import ResultWriter as ResultWriter

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
