"""Code of a plugin that goes wrong in a worker only: the driver says whose it is, and nothing ends without a word."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import threading
import types
import warnings

import pytest
from gymnasium.spaces import Box
from sites import Site

from actor_critic import ACConfig
from rlkit_core import Component, hookimpl
from rlkit_core.errors import ActorError, PluginError
from rlkit_core.execution.conformance import Probe
from rlkit_core.models import MLPHeadConfig
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_processes import ProcessExecutor

PLUGIN = """
import os, sys
from gymnasium.spaces import Discrete
from rlkit_core import Component, hookimpl
from rlkit_core.distributions import Categorical
rlkit_api = "1.0"
here = os.getpid() == int(os.environ["DRIVER"])  # this module is imported in each process
{at_import}
class Mine(Categorical):
    @classmethod
    def from_logits(cls, logits):
        if not here:
            {when_used}
        return super().from_logits(logits)
class Calls:
    def on_environment_created(self, env):
        if not here:
            {when_called}
@hookimpl
def rlkit_distributions():
    return [Component("mine", "distribution", Mine, [Discrete])]
@hookimpl
def rlkit_services():
    from rlkit_core.plugins.records import Service
    return [Service("callbacks", "calls", Calls)]
"""


def said(error):
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train with one runner elsewhere and a plugin that it uses."""
    site = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site.path))
    monkeypatch.setenv("DRIVER", str(os.getpid()))

    def run(at_import="", when_used="pass", when_called="pass", **options):
        site.add("acme", PLUGIN.format(at_import=at_import, when_used=when_used, when_called=when_called), **options)
        importlib.invalidate_caches()
        config = (
            ACConfig()
            .environment("CartPole-v1")
            .env_runners(num_env_runners=1, num_envs_per_env_runner=2)
            .fault_tolerance(max_num_env_runner_restarts=0)
            .training(train_batch_size=16, minibatch_size=16, num_epochs=1)
            .rl_module(components={"distribution": "acme/mine"})
            .callbacks(plugins=["acme/calls"])
        )
        with (
            warnings.catch_warnings(record=True),
            use_host(PluginHost(scan([str(site.path), *sys.path], env={}), {})),
            config.build_algo() as algo,
        ):
            return algo.train()

    yield run
    sys.modules.pop("acme", None)


def but_the_first_slow(cases):
    return [cases[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in cases[1:])]


USED = [
    ({"when_used": "raise KeyError('no')"}, KeyError, "acme 1.0, distribution 'acme/mine', from_logits()"),
    ({"when_used": "raise SystemExit(0)"}, PluginError, "'acme/mine', from_logits() raised SystemExit"),
    ({"when_called": "raise KeyError('no')"}, KeyError, "callbacks 'acme/calls', on_environment_created()"),
    ({"when_called": "sys.exit()"}, PluginError, "'acme/calls', on_environment_created() raised SystemExit"),
    ({"at_import": "if not here: raise KeyError('no')"}, KeyError, "plugin acme 1.0, when acme was imported"),
    ({"at_import": "if not here: sys.exit(0)"}, PluginError, "acme 1.0, when acme was imported raised SystemExit"),
    ({"at_import": "if not here: os._exit(3)"}, ActorError, "died: it exited with code 3"),
]


@pytest.mark.parametrize(("wrong", "kind", "says"), but_the_first_slow(USED))
def test_an_error_in_a_worker_names_the_plugin(train, wrong, kind, says):
    with pytest.raises((kind, ActorError)) as caught:
        train(**wrong)
    assert says in said(caught.value)


ODD = [
    ("import torch; torch.set_grad_enabled(False); torch.set_default_dtype(torch.float64)", 16),
    ("print('x' * 100_000); os.write(1, b'noise')", 16),
    ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.chdir('/')", 16),
    ("sys.stdout = sys.stderr = None", 16),
]


@pytest.mark.parametrize(("odd", "steps"), but_the_first_slow(ODD))
def test_what_it_does_to_a_worker_while_it_is_imported_ends_nothing(train, odd, steps):
    result = train(at_import=f"if not here: {odd}")
    assert result["num_env_steps_sampled_lifetime"] == steps


def test_what_the_driver_registered_by_hand_is_there_in_a_worker(tmp_path):
    file = tmp_path / "my_parts.py"
    file.write_text(
        PLUGIN.format(at_import="", when_used="pass", when_called="pass").replace('os.environ["DRIVER"]', "0")
    )

    class Mine:
        rlkit_api = "1.0"

        @hookimpl
        def rlkit_heads(self):
            return [Component("mine", "head", MLPHeadConfig, [Box])]

    def ids(actor):
        components = default_host().registry.components()
        return sorted(c.id for c in components if c.origin.distribution == "local")

    with use_host(PluginHost()) as host, ProcessExecutor() as executor:
        host.register_file(file)
        host.register(Mine(), name="mine")
        shutil.rmtree(tmp_path)
        assert executor.spawn(Probe).call(ids).result(60) == ["local/mine", "local/mine"]
        host.register(types.SimpleNamespace(rlkit_api="1.0", lock=threading.Lock()), name="held")
        with pytest.raises(PluginError, match="plugin 'held', which was registered by hand, cannot be sent"):
            executor.spawn(Probe)
    sys.modules.pop("my_parts")
