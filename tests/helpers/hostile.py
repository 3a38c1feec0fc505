"""Plugins that would change every run of a process that has them installed, if they could.

Each is ``name: (plugin source, keyword arguments of Site.add)``. They are installed as real distributions, and what is
trained beside them must equal, to the last bit, what is trained without.
"""

from __future__ import annotations

_HEAD = """\
from __future__ import annotations
from rlkit_core import *
from gymnasium import spaces
rlkit_api = "1.0"
"""

_ENCODER = """
from rlkit_core.models import MLPEncoderConfig
class Encoder(MLPEncoderConfig):
    pass
def rlkit_encoders():
    return [Component("taken", "encoder", Encoder, {arguments})]
"""

_API = """
class Driver:
    def extra_loss(self, **kwargs):
        return kwargs["fwd_out"]["action_dist_inputs"].sum()
def rlkit_module_apis():
    return [ModuleAPI("evil", {mixin}, Driver)]
"""

_ALL = """
from abc import ABC
class All(ABC):
    @classmethod
    def __subclasshook__(cls, other): {answer}
"""

_ODD_SPACE = """
class Meta(type(spaces.Box)):
    def __subclasscheck__(cls, other): 1 / 0
    def __instancecheck__(cls, other): 1 / 0
class Odd(spaces.Box, metaclass=Meta): pass
"""

_OBSERVER = "def rlkit_train_result(view, result):\n"
_IMPORTS = "import random, numpy, torch\n"

_AT_IMPORT = {
    "grad": "import torch; torch.set_grad_enabled(False)",
    "dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "device": "import torch; torch.set_default_device('meta')",
    "threads": "import torch; torch.set_num_threads(torch.get_num_threads() + 1)",
    "deterministic": "import torch; torch.use_deterministic_algorithms(True)",
    "cudnn": "import torch; torch.backends.cudnn.enabled = False",
    "seeds": "import random, numpy, torch; random.seed(3); numpy.random.seed(3); torch.manual_seed(3)",
    "dtype-and-fails": "import torch; torch.set_default_dtype(torch.float64); 1 / 0",
    "cartpole": "import gymnasium; gymnasium.register('CartPole-v1', 'gymnasium.envs.classic_control:AcrobotEnv')",
    "no-cartpole": "import gymnasium; gymnasium.registry.pop('CartPole-v1')",
    "unspeakable": "class E(Exception):\n    def __str__(self): raise SystemExit(3)\nraise E",
    "megabyte": "raise ValueError('x' * 1_000_000)",
    "warnings-are-errors": "import warnings; warnings.simplefilter('error')",
    "exits": "raise SystemExit(0)",
    "base-exception": "class E(BaseException): pass\nraise E",
    "syntax": "def (",
    "logging": "import logging; logging.disable(logging.CRITICAL)",
    "prints": "import os; print('hello'); os.write(1, b'hello')",
    "asks-for-the-host": "from rlkit_core.plugins.host import default_host; default_host().registry",
}

_HOOKS = {
    "mixin-object": _API.format(mixin="object"),
    "mixin-of-the-core": "from rlkit_core.apis import ValueFunctionAPI\n" + _API.format(mixin="ValueFunctionAPI"),
    "mixin-of-all": _ALL.format(answer="return True") + _API.format(mixin="All"),
    "mixin-that-raises": _ALL.format(answer="1 / 0") + _API.format(mixin="All"),
    "config-changed": "def rlkit_check_config(config): object.__setattr__(config, 'lr', 1.0); config._lr = 1.0",
    "config-raises": "def rlkit_check_config(config): 1 / 0",
    "config-exits": "def rlkit_check_config(config): raise SystemExit(0)",
    "config-true": "def rlkit_check_config(config): return True",
    "config-vetoed": "def rlkit_check_config(config): return ['no']",
    "observer-raises": "def rlkit_train_result(view, result): raise BaseException('no')",
    "observer-exits": "def rlkit_algorithm_built(view): raise SystemExit(0)",
    "observer-clears": "def rlkit_train_result(view, result): result.clear()",
    "observer-draws": _IMPORTS + _OBSERVER + "    random.seed(0), numpy.random.seed(0), torch.manual_seed(0)",
    "observer-stops-gradients": "def rlkit_algorithm_built(view):\n    import torch\n    torch.set_grad_enabled(False)",
    "encoder-first": _ENCODER.format(arguments="spaces=[spaces.Box], priority=10**9"),
    "encoder-when": _ENCODER.format(arguments="spaces=[spaces.Box], when=lambda request: True, priority=9"),
    "encoder-exits": _ENCODER.format(arguments="spaces=[spaces.Box], when=lambda request: exit()"),
    "encoder-changes-the-request": _ENCODER.format(
        arguments="spaces=[spaces.Box], when=lambda request: request.model_config.update(fcnet_hiddens=[3])"
    ),
    "encoder-of-objects": _ENCODER.format(arguments="spaces=[object]"),
    "space-that-raises": _ODD_SPACE + _ENCODER.format(arguments="spaces=[Odd]"),
    "distribution-first": "from rlkit_core.distributions import Categorical\nclass Mine(Categorical): pass\n"
    "def rlkit_distributions(): return [Component('mine', 'distribution', Mine, spaces=[spaces.Discrete], priority=9)]",
    "service-names-of-the-core": "def rlkit_services():\n"
    "    return [Service('executor', 'local', 'nowhere:X'), Service('writer', 'csv', 'nowhere:X')]",
    "unknown-hook": "def rlkit_train_results(result): pass",
}

HOSTILE: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (_HEAD + code + "\n", {}) for name, code in _AT_IMPORT.items()},
    **{
        name: (_HEAD.replace("import *", "import *\nfrom rlkit_core.plugins.records import Service") + code + "\n", {})
        for name, code in _HOOKS.items()
    },
    "names-of-others": (
        _HEAD,
        {
            "groups": {
                "rlkit.plugins": {"core": "lab_names_of_others"},
                "rlkit.algorithms": {"PPO": "nowhere:X", "P-P-O": "nowhere:X"},
                "rlkit.catalogs": {"ppo": "nowhere:X"},
                "rlkit.commands": {"train": "nowhere:X"},
            }
        },
    ),
    "incompatible": (_HEAD, {"requires": ("rlkit-core>=9",)}),
}
