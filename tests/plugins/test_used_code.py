"""What a plugin's code does wrong where a config uses it: the error names plugin, component and method."""

from __future__ import annotations

import importlib
import re
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from actor_critic import ACConfig, ACModule
from rlkit_core import RLModuleSpec
from rlkit_core.catalog.make import make_catalog
from rlkit_core.errors import NoComponentError, PluginError
from rlkit_core.plugins import guard
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.records import Component, ComponentRequest, ModuleAPI
from rlkit_core.plugins.registry import choose
from rlkit_core.rl_module.apis import driver_class, drivers_for
from rlkit_core.rl_module.apis.driver_contract import driver_problems
from rlkit_core.testing import RandomEnv

HEAD = """
from gymnasium.spaces import Box, Discrete, Space, Text
from rlkit_core import Component, ModuleAPI, hookimpl
rlkit_api = "1.0"
"""
OBS, ACT = Box(-1, 1, (4,), np.float32), Discrete(2)


@pytest.fixture
def install(site, monkeypatch):
    """Install a plugin ``acme`` beside what is there, and use it."""
    monkeypatch.setattr(guard, "_noticed", set())
    hosts = []

    def add(source, name="acme"):
        site.add(name, HEAD + source)
        importlib.invalidate_caches()
        host = use_host(PluginHost(scan([str(site.path), *sys.path], env={}), {}))
        hosts.append(host)
        host.__enter__()
        return importlib.import_module(name.replace("-", "_"))

    yield add
    for host in reversed(hosts):
        host.__exit__(None, None, None)


def small(env, **settings):
    config = ACConfig().environment(env, **settings)
    return config.training(train_batch_size=16, minibatch_size=16, num_epochs=1)


def said(error):
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


# -- components -------------------------------------------------------------------------------------------------------

ENCODER = """
class Config:
    recurrent = False
    output_dims = (3,)
    @classmethod
    def from_space(cls, space, model_config):
        {from_space}
    def build(self, framework="torch"):
        {build}

@hookimpl
def rlkit_encoders():
    return [Component("gcn", "encoder", Config, [Box])]
"""


def built(components, catalog=None):
    return make_catalog(
        catalog_class=catalog,
        own_class=None,
        catalogs=(),
        components=components,
        observation_space=OBS,
        action_space=ACT,
        model_config={},
    )


@pytest.mark.parametrize(
    ("from_space", "build", "kind", "says"),
    [
        ("raise KeyError('no')", "pass", KeyError, r"acme 1.0, encoder 'acme/gcn', from_space\(\)"),
        ("raise SystemExit(3)", "pass", PluginError, r"acme 1.0, encoder 'acme/gcn', from_space\(\) raised SystemExit"),
        ("return None", "pass", PluginError, r"encoder 'acme/gcn', from_space\(\) returned None, expected a ModelConf"),
        ("return cls()", "1 / 0", ZeroDivisionError, r"plugin acme 1.0, encoder 'acme/gcn', build\(\)"),
        ("return cls()", "raise SystemExit(0)", PluginError, r"encoder 'acme/gcn', build\(\) raised SystemExit"),
        (
            "return cls()",
            "return None",
            PluginError,
            r"encoder 'acme/gcn', build\(\) returned None, expected a torch.n",
        ),
    ],
)
def test_an_encoders_error_names_it(install, from_space, build, kind, says):
    install(ENCODER.format(from_space=from_space, build=build))
    with pytest.raises(kind) as caught:
        built({"encoder": "acme/gcn"}).build_encoder()
    assert re.search(says, said(caught.value))


def test_it_is_named_below_the_cores_wrappers_too(install):
    install(ENCODER.format(from_space="return cls()", build="return None"))
    config = small("CartPole-v1").rl_module(components={"encoder": "acme/gcn"})
    with pytest.raises(PluginError, match=r"plugin acme 1\.0, encoder 'acme/gcn', build\(\) returned None"):
        config.build_learner().build()


@pytest.mark.parametrize(
    ("method", "body", "says"),
    [
        ("required_input_dim(cls, space, model_config=None)", "raise KeyError('x')", "required_input_dim()"),
        ("for_space(cls, space, model_config, child)", "raise KeyError('x')", "for_space()"),
        ("for_space(cls, space, model_config, child)", "return 3", "for_space() returned 3"),
        ("from_logits(cls, logits)", "raise KeyError('x')", "from_logits()"),
    ],
)
def test_a_distributions_error_names_it(install, method, body, says):
    source = f"""
from rlkit_core.distributions import Categorical
class Mine(Categorical):
    @classmethod
    def {method}:
        {body}
@hookimpl
def rlkit_distributions():
    return [Component("mine", "distribution", Mine, [Discrete])]
"""
    install(source)
    config = small("CartPole-v1").rl_module(components={"distribution": "acme/mine"})
    with pytest.raises((PluginError, KeyError)) as caught, config.build_algo() as algo:
        algo.train()
    assert f"{says}" in said(caught.value)
    assert "plugin acme 1.0, distribution " in said(caught.value)


ON_THE_WAY = {
    "a loss": ("logp(self, value)", "train"),
    "entropy": ("entropy(self)", "train"),
    "a sample": ("sample(self, **kwargs)", "train"),
    "noise": ("noise(shape, width)", "train"),
    "its mode": ("to_deterministic(self)", "act"),
    "env units": ("to_env(cls, actions, space)", "act"),
}


@pytest.mark.parametrize("error", [KeyError, SystemExit])
@pytest.mark.parametrize("where", ON_THE_WAY)
def test_a_distributions_error_names_it_wherever_it_is_raised(install, where, error):
    method, verb = ON_THE_WAY[where]
    kind = {"cls": "@classmethod", "self": ""}.get(re.split(r"\W", method)[1], "@staticmethod")
    install(f"""
from rlkit_core.distributions import Categorical
class Mine(Categorical):
    {kind}
    def {method}:
        raise {error.__name__}("no")
@hookimpl
def rlkit_distributions():
    return [Component("mine", "distribution", Mine, [Discrete])]
""")
    config = small("CartPole-v1").rl_module(components={"distribution": "acme/mine"})
    with pytest.raises(PluginError if error is SystemExit else error) as caught, config.build_algo() as algo:
        algo.train() if verb == "train" else algo.compute_single_action(OBS.sample())
    assert "plugin acme 1.0, " in said(caught.value)
    assert f"{method.partition('(')[0]}()" in said(caught.value)


def test_a_masks_error_names_its_distribution(install):
    install("""
from rlkit_core.distributions import Categorical
class Mine(Categorical):
    @staticmethod
    def mask_logits(logits, mask):
        raise KeyError("no")
@hookimpl
def rlkit_distributions():
    return [Component("mine", "distribution", Mine, [Discrete])]
""")
    space = gym.spaces.Dict({"action_mask": Box(0, 1, (2,), np.int8), "observations": OBS})
    config = small(RandomEnv, env_config={"observation_space": space, "action_space": ACT})
    config.rl_module(components={"distribution": "acme/mine"})
    with pytest.raises(KeyError) as caught, config.build_algo() as algo:
        algo.train()
    assert "plugin acme 1.0, acme.mask_logits()" in said(caught.value)


def test_a_learners_error_names_it_and_a_scripts_own_does_not(install):
    lab = install("""
from actor_critic import ACLearner
class Learner(ACLearner):
    def compute_loss_for_module(self, **kwargs):
        return self.mine(super().compute_loss_for_module(**kwargs))
    def mine(self, loss):
        return loss.reshape(7, 7)
""")

    class Script(lab.Learner):
        def mine(self, loss):
            return loss + {}["missing"]

    for learner, kind in ((lab.Learner, RuntimeError), (Script, KeyError)):
        config = small("CartPole-v1").learners(learner_class=learner)
        with pytest.raises(kind) as caught, config.build_algo() as algo:
            algo.train()
        assert ("raised by plugin acme 1.0, Learner.mine()" in said(caught.value)) == (learner is lab.Learner)


def test_a_callback_of_a_plugins_is_named_and_timed_where_envs_are_made(install):
    lab = install("""
import time
from rlkit_core.plugins.records import Service
class Calls:
    fails = False
    @staticmethod
    def on_environment_created(env):
        time.sleep(0.02)
        if Calls.fails:
            raise SystemExit(0)
@hookimpl
def rlkit_services():
    return [Service("callbacks", "calls", Calls)]
""")
    config = small("CartPole-v1").callbacks(plugins=["acme/calls"])
    with config.copy().build_algo() as algo:
        assert algo.train()["timers"]["plugins"]["acme"] >= 0.02
    lab.Calls.fails = True
    with pytest.raises(PluginError, match=r"acme 1\.0, callbacks 'acme/calls', on_environment_c"):
        config.build_algo()


@pytest.mark.parametrize("body", ["raise KeyError('x')", "raise SystemExit(1)"])
def test_a_catalog_and_a_module_class_are_named(install, body):
    lab = install(f"""
from rlkit_core import ActorCriticCatalog
from rlkit_core.learner import Learner
class Cat(ActorCriticCatalog):
    def _determine_components_hook(self):
        {body}
class Mod:
    def __init__(self, **kwargs):
        {body}
""")
    with pytest.raises((KeyError, PluginError)) as caught:
        built(None, catalog=lab.Cat)
    assert "plugin acme 1.0, catalog Cat" in said(caught.value)
    with pytest.raises((KeyError, PluginError)) as caught:
        RLModuleSpec(module_class=lab.Mod, observation_space=OBS, action_space=ACT).build()
    assert "plugin acme 1.0, module class Mod" in said(caught.value)


def test_the_cores_own_errors_are_not_blamed_on_a_plugin(install):
    lab = install("from rlkit_core import ActorCriticTorchRLModule\nclass Mod(ActorCriticTorchRLModule): pass\n")
    spec = RLModuleSpec(module_class=lab.Mod, observation_space=gym.spaces.Text(3), action_space=ACT)
    with pytest.raises(NoComponentError) as caught:
        spec.build()
    assert "acme" not in said(caught.value)


# -- spaces and conditions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaces", [[object], [int], [], ["Box"], [Box(0, 1)]])
def test_what_is_no_space_class_is_refused(spaces):
    with pytest.raises(ValueError, match="expected one or more gymnasium space classes"):
        Component("x", "encoder", "a:B", spaces)


def asked(host, space, **model_config):
    request = ComponentRequest("encoder", "encoder", (), space, ACT, model_config, None)
    return choose(request, registry=host.registry)


def test_a_space_class_that_raises_costs_only_its_component(install):
    install(
        """
class Meta(type(Space)):
    def __subclasscheck__(cls, other): raise SystemExit(0)
    def __instancecheck__(cls, other): raise SystemExit(0)
class Odd(Text, metaclass=Meta): pass
@hookimpl
def rlkit_encoders():
    return [Component("odd", "encoder", "nowhere:X", [Odd])]
"""
    )
    fine = """
@hookimpl
def rlkit_encoders():
    return [Component("text", "encoder", "nowhere:X", [Text])]
"""
    install(fine, "lab-b")
    choice = asked(default_host(), gym.spaces.Text(3))
    assert choice.id == "lab-b/text"
    assert "SystemExit" in dict(choice.considered)["acme/odd"]


def test_a_condition_that_exits_or_changes_what_it_sees_changes_nothing(install):
    install(
        """
def greedy(request):
    for change in (lambda: request.model_config.update(a=2), lambda: setattr(request, "slot", "pi")):
        try:
            change()
        except Exception:
            pass
    request.model_config["hiddens"].append(3)
    request.space.characters = "x"
    return False
def leave(request): raise SystemExit(0)
@hookimpl
def rlkit_encoders():
    return [Component("greedy", "encoder", "nowhere:X", [Text], when=greedy),
            Component("leave", "encoder", "nowhere:X", [Text], when=leave),
            Component("text", "encoder", "nowhere:X", [Text])]
"""
    )
    space, hiddens = gym.spaces.Text(3), [4]
    choice = asked(default_host(), space, hiddens=hiddens)
    assert choice.id == "acme/text"
    assert hiddens == [4]
    assert space.characters != "x"
    assert "raised SystemExit" in dict(choice.considered)["acme/leave"]


# -- mixins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mixin", "says"),
    [
        ("object", "builtins.object is Python's own"),
        ("__import__('contextlib').ContextDecorator", "is Python's own"),
        ("__import__('rlkit_core').apis.ValueFunctionAPI", "is of rlkit-core; a record names a mixin of its own"),
        ("__import__('lab_b').Theirs", "is of lab-b; a record names a mixin of its own distribution, acme"),
        ("__import__('rlkit_core').RLModule", "__init__"),
    ],
)
def test_a_mixin_that_is_not_its_own_serves_nobody(install, mixin, says):
    theirs = install("class Theirs: pass\n", "lab-b")
    install(
        f"""
class Driver:
    def extra_loss(self): raise AssertionError("never bound")
@hookimpl
def rlkit_module_apis(): return [ModuleAPI("evil", "acme:Mixin", Driver)]
Mixin = {mixin}
"""
    )
    module_class = type("Both", (ACModule, theirs.Theirs), {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = module_class(observation_space=OBS, action_space=ACT)
        assert not [record.id for record in drivers_for(module) if record.id.startswith("acme")]
    assert any(says in str(w.message) for w in caught), [str(w.message) for w in caught]


def test_subclass_hooks_are_not_asked(install):
    lab = install(
        """
import abc
class Greedy(abc.ABC):
    @classmethod
    def __subclasshook__(cls, other): return True
class Broken(abc.ABC):
    @classmethod
    def __subclasshook__(cls, other): raise SystemExit(0)
class EqualMeta(abc.ABCMeta):
    def __eq__(cls, other): return True
    __hash__ = abc.ABCMeta.__hash__
class Equal(metaclass=EqualMeta): pass
@hookimpl
def rlkit_module_apis():
    return [ModuleAPI("a", "acme:Greedy"), ModuleAPI("b", "acme:Broken"), ModuleAPI("c", Equal)]
"""
    )
    for base, found in ((object, []), (lab.Equal, ["acme/c"])):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = type("Mine", (ACModule, base), {})(observation_space=OBS, action_space=ACT)
            assert [record.id for record in drivers_for(module) if record.id.startswith("acme")] == found
        assert found or all(
            any(f"'acme/{name}': a mixin must not have a __subclasshook__" in str(w.message) for w in caught)
            for name in "ab"
        )
    with pytest.raises(ValueError, match="must not have a __subclasshook__"):
        ModuleAPI("a", lab.Greedy)


def test_an_api_that_nobody_uses_stops_no_build(install):
    install(
        """
@hookimpl
def rlkit_module_apis(): return [ModuleAPI("gone", "acme.nowhere:X"), ModuleAPI("exits", "acme_exits:X")]
"""
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ACModule(observation_space=OBS, action_space=ACT)


# -- drivers ----------------------------------------------------------------------------------------------------------


def driver(**methods):
    return type("Driver", (), methods)


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"extra_los": lambda self: None}, r"extra_los\(\) would never be called. Did you mean 'extra_loss'"),
        ({"before_updates": lambda self: None}, "Did you mean 'before_update'"),
        ({"extra_loss": lambda self, fwd_outs: None}, r"extra_loss\(\) takes 'fwd_outs'.*Did you mean 'fwd_out'"),
        ({"extra_loss": lambda self, scale=1: None}, r"takes 'scale', which is never given.*It may take learner, mod"),
        (
            {"get_state": lambda self, deep: None},
            r"get_state\(\) takes 'deep', which is never given\. It takes nothing",
        ),
        ({"on_rollouts": lambda self: None}, "Did you mean 'on_rollout'"),
        ({"on_episode_end": lambda self: None}, r"on_episode_end\(\) would never be called.*begin with an underscore"),
        ({"before_step": lambda self: None}, r"before_step\(\) would never be called"),
        ({"after_all": lambda self: None}, r"after_all\(\) would never be called"),
        ({"on_rollout": lambda self, batch: None}, "takes 'batch', which is never given"),
        ({"extra_loss": lambda: None}, "takes no self"),
        ({"extra_loss": lambda *, batch: None}, "takes no self"),
        ({"on_build": 3}, "on_build is int, expected a method"),
        ({"on_module_built": lambda self, module: None}, "must be a static method"),
    ],
)
def test_a_drivers_methods_are_checked(methods, says):
    (problem,) = driver_problems(driver(**methods))
    assert re.search(says, problem), problem


def test_a_driver_takes_what_it_likes():
    fine = driver(
        on_module_built=staticmethod(lambda module: None),
        extra_loss=lambda self, batch, *, fwd_out: None,
        after_update=lambda self, **kwargs: None,
        compute_loss=classmethod(lambda cls, config: None),
        set_state=lambda self, state: None,
        losses=lambda self: None,
        on_rollout=lambda self, *, rollout, config: None,
        _extra_los=lambda self: None,
        _on_episode_end=lambda self: None,
        after_this=3,
        helper=3,
    )
    assert driver_problems(fine) == []


DRIVER = """
import torch
class Mixin: pass
class Driver:
    {method}
@hookimpl
def rlkit_module_apis(): return [ModuleAPI("rnd", Mixin, Driver)]
"""


def learner_with(lab):
    spec = RLModuleSpec(module_class=type("Mine", (ACModule, lab.Mixin), {}))
    config = small("CartPole-v1").rl_module(rl_module_spec=spec).debugging(seed=1)
    config.training(train_batch_size=32, minibatch_size=32, num_epochs=1)
    return config.build_algo()


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("def extra_loss(self): return None", "driver 'acme/rnd', extra_loss() returned None, expected one number"),
        ("def extra_loss(self): return 0.5", "extra_loss() returned 0.5, expected one number"),
        ("def extra_loss(self): return torch.zeros(3)", "extra_loss() returned a tensor of shape (3,)"),
        ("def compute_loss(self): return 'x'", "driver 'acme/rnd', compute_loss() returned x"),
        ("def extra_loss(self): raise KeyError('no')", "raised by plugin acme 1.0, driver 'acme/rnd', extra_loss()"),
        ("def before_update(self): raise SystemExit(0)", "driver 'acme/rnd', before_update() raised SystemExit"),
        ("def on_build(self): raise SystemExit(0)", "driver 'acme/rnd', on_build() raised SystemExit"),
        ("def __init__(self): 1 / 0", "driver 'acme/rnd', __init__()"),
        ("def after_updates(self): pass", "driver 'acme/rnd' (Driver): after_updates() would never be called"),
        ("extra_loss = 3", "driver 'acme/rnd' (Driver): extra_loss is int"),
    ],
)
def test_a_drivers_error_names_it(install, method, says):
    lab = install(DRIVER.format(method=method))
    with pytest.raises((PluginError, KeyError, ZeroDivisionError)) as caught, learner_with(lab) as algo:
        algo.train()
    assert says in said(caught.value)
    assert "acme" in said(caught.value)


def test_a_driver_that_takes_a_part_gets_that_part(install):
    lab = install(
        DRIVER.format(
            method="""seen = []
    def before_update(self, batch, module_id): self.seen.append((module_id, "obs" in batch))
    def extra_loss(self, module): self.seen.append(type(module).__name__); return torch.zeros(())"""
        )
    )
    with learner_with(lab) as algo:
        algo.train()
    assert lab.Driver.seen[:2] == [("default_policy", True), "Mine"]
    record = next(r for r in default_host().module_apis if r.id == "acme/rnd")
    assert driver_class(record) is lab.Driver
