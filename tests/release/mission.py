"""What a release has to do where it is installed, step by step; each says what it shows."""

from __future__ import annotations

from pathlib import Path

from environment import Environment

TINY = [
    "--stop-iters", "2",
    "--evaluate", "1",
    "--seed", "1",
    "--no-plot",
    "--quiet",
]  # fmt: skip

BUILT = """
import gymnasium as gym, json, numpy as np
from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule, RLModuleSpec
from rlkit_core.testing import BCConfigTest

spaces = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)
spec = RLModuleSpec(ActorCriticTorchRLModule, catalog_class=ActorCriticCatalog)
config = BCConfigTest().rl_module(rl_module_spec=spec, model_config={"fcnet_hiddens": [8]}, **SETTINGS)
learner = config.debugging(seed=1).build_learner(spaces=spaces)
learner.build()
module = learner.module["default_policy"]
print(json.dumps([[part["kind"], part["slot"], part["id"], part["rule"]] for part in module.component_trace()]))
print(sum(float(p.detach().double().sum()) for p in module.parameters()))
"""
MIXIN = """
import gymnasium as gym, numpy as np, torch
from fx_api import CountingAPI
from rlkit_core import RLModuleSpec
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule

class Counts(DiscreteBCTorchModule, CountingAPI):
    pass

for kind in (DiscreteBCTorchModule, Counts):
    config = BCConfigTest().rl_module(rl_module_spec=RLModuleSpec(kind), model_config={"fcnet_hiddens": [8]})
    learner = config.build_learner(spaces=(gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)))
    learner.build()
    learner.update({"default_policy": {"obs": torch.zeros(4, 4), "actions": torch.zeros(4, dtype=torch.int64)}})
    print(getattr(learner.module["default_policy"], "updates", None))
"""


class Mission:
    """The steps, in one environment that holds everything of others and nothing of rlkit.

    Args:
        environment: see above.
        dist: folder with the distributions; rlkit's come from there and nowhere else.
        fixtures: folder with the wheels of third parties.
    """

    def __init__(self, environment: Environment, dist: Path, fixtures: Path) -> None:
        self.environment = environment
        self.dist = dist
        self.fixtures = fixtures

    def run(self) -> None:
        """Every step, in the order in which a user might come upon them."""
        for step in (self.core_alone, self.third_parties, self.ppo_alone, self.without_ppo):
            step()
            print(f"  {step.__name__.replace('_', ' ')}: as it should be", flush=True)

    def install(self, *names: str, source: Path | None = None) -> None:
        self.environment.pip("install", "--no-index", "--find-links", source or self.dist, *names)
        self.environment.pip("check")

    def ours(self) -> set[str]:
        return {name for name in self.environment.installed() if name.startswith(("rlkit", "fx"))}

    def core_alone(self) -> None:
        """It lists no algorithm and names the line to install."""
        self.install("rlkit-core")
        assert self.ours() == {"rlkit-core"}
        where = self.environment.code("import rlkit_core; print(rlkit_core.__file__)")
        assert where.startswith(str(self.environment.path)), where
        assert "pip install rlkit-ppo" in self.environment.rlkit("algorithms")
        said = self.environment.rlkit("train", "ppo", "CartPole-v1", status=2)
        assert "No algorithm 'ppo'. No algorithm is installed." in said, said
        assert "pip install rlkit-ppo" in said, said
        assert "Traceback" not in said, said

    def third_parties(self) -> None:
        """A catalog and a mixin change nothing until they are named."""
        before = self.built()
        self.install("fx-catalog", "fx-api", source=self.fixtures)
        assert self.built() == before
        named = self.built("catalogs=['fx']")
        assert '"fx-catalog/vector", "catalog' in named, named
        assert self.environment.code(MIXIN).split() == ["None", "1"]
        self.environment.pip("uninstall", "--yes", "fx-catalog", "fx-api")
        assert self.built() == before

    def built(self, settings: str = "") -> str:
        return self.environment.code(f"SETTINGS = dict({settings})\n{BUILT}")

    def ppo_alone(self) -> None:
        """``pip install rlkit-ppo`` is all that training, evaluating and plugins' listings need."""
        self.install("rlkit-ppo")
        assert self.ours() == {"rlkit-core", "rlkit-capture", "rlkit-ppo", "rlkit-processes"}, self.ours()
        self.environment.rlkit("train", "ppo", "CartPole-v1", "--run-dir", "ppo", *TINY)
        processes = ("--set", "num_env_runners=1")
        self.environment.rlkit("train", "ppo", "CartPole-v1", "--run-dir", "ppo-processes", *TINY, *processes)
        assert "episode_return_mean" in self.environment.rlkit("evaluate", "ppo", "--episodes", "2")
        self.environment.rlkit("doctor")

    def without_ppo(self) -> None:
        """What PPO saved names what is missing once it is uninstalled; APPO does not need it."""
        self.environment.pip("uninstall", "--yes", "rlkit-ppo")
        said = self.environment.rlkit("evaluate", "ppo", "--episodes", "1", status=2)
        assert "rlkit-ppo" in said, said
        assert "Traceback" not in said, said
        self.install("rlkit-appo")
        assert "rlkit-ppo" not in self.ours()
        self.environment.rlkit("train", "appo", "CartPole-v1", "--run-dir", "appo", *TINY)
