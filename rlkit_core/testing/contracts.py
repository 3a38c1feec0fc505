"""What each part of a plugin keeps, as test classes: subclass one in a test module, and pytest runs it.

They load on first use, and need numpy, torch and gymnasium, and no pytest::

    from rlkit_core.testing.contracts import EncoderContract

    class TestGCN(EncoderContract):
        component = "acme-graph/gcn"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

_HOMES = {
    "AlgorithmContract": "rlkit_core.testing.kit.training",
    "CallbacksContract": "rlkit_core.testing.kit.services",
    "DistributionContract": "rlkit_core.testing.kit.distribution",
    "EncoderContract": "rlkit_core.testing.kit.encoder",
    "EnvWrapperContract": "rlkit_core.testing.kit.services",
    "ExecutorContract": "rlkit_core.execution.conformance",
    "FrameworkServiceContract": "rlkit_core.testing.kit.services",
    "HeadContract": "rlkit_core.testing.kit.head",
    "LearnerContract": "rlkit_core.testing.kit.training",
    "MixinContract": "rlkit_core.testing.kit.mixin",
    "RLModuleContract": "rlkit_core.testing.kit.module",
    "StepEngineContract": "rlkit_core.testing.step_engine",
    "WriterContract": "rlkit_core.testing.kit.services",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from rlkit_core.execution.conformance import ExecutorContract as ExecutorContract
    from rlkit_core.testing.kit.distribution import DistributionContract as DistributionContract
    from rlkit_core.testing.kit.encoder import EncoderContract as EncoderContract
    from rlkit_core.testing.kit.head import HeadContract as HeadContract
    from rlkit_core.testing.kit.mixin import MixinContract as MixinContract
    from rlkit_core.testing.kit.module import RLModuleContract as RLModuleContract
    from rlkit_core.testing.kit.services import CallbacksContract as CallbacksContract
    from rlkit_core.testing.kit.services import EnvWrapperContract as EnvWrapperContract
    from rlkit_core.testing.kit.services import FrameworkServiceContract as FrameworkServiceContract
    from rlkit_core.testing.kit.services import WriterContract as WriterContract
    from rlkit_core.testing.kit.training import AlgorithmContract as AlgorithmContract
    from rlkit_core.testing.kit.training import LearnerContract as LearnerContract
    from rlkit_core.testing.step_engine import StepEngineContract as StepEngineContract

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
