"""What a checkpoint holds is built again of the components that it was built of, whatever was installed since."""

from __future__ import annotations

import json
import shutil

import pytest
from gymnasium.spaces import Discrete
from lab_plugin import LAB, MIXED, SMALL

from actor_critic import ACConfig
from rlkit_core import RLModule
from rlkit_core.algorithm import Algorithm
from rlkit_core.errors import AmbiguousComponentError, CheckpointError, ConfigError, PluginNotFoundError
from rlkit_core.plugins.host import use_host
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.testing import RandomEnv


def config(**rl_module):
    return (
        ACConfig()
        .environment(RandomEnv, env_config={"observation_space": MIXED, "action_space": Discrete(3)})
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=32, minibatch_size=16, num_epochs=1)
        .rl_module(model_config=SMALL, **rl_module)
        .evaluation(evaluation_duration=1)
        .debugging(seed=1)
    )


def chosen(module):
    return {(c["kind"], ".".join(c["path"])): (c["id"], c["rule"]) for c in module.unwrapped().component_trace()}


@pytest.fixture
def lab(site):
    site.add("lab-parts", LAB, groups={"rlkit.plugins": {"parts": "lab_parts"}})
    return site


def add_rival(site, host):
    """A second claimant of everything that lab-parts was chosen for, by gap and by short name."""
    site.add(
        "lab-rival", LAB.replace("lab_parts:Letters", "lab_rival:Letters"), groups={"rlkit.plugins": {"r": "lab_rival"}}
    )
    return site.host()


# A gap filler, and a short name that only one plugin had.
@pytest.mark.parametrize("rl_module", [{}, {"components": {"head:pi": "head", "encoder:say": "letters"}}])
def test_a_second_claimant_changes_nothing_for_a_checkpoint(lab, tmp_path, rl_module):
    with use_host(lab.host()), config(**rl_module).build() as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "c")
        before = chosen(algo.get_module())
        expected = algo.train()["learners"]["default_policy"]["total_loss"]
    assert before["encoder", "say"][0] == "lab-parts/letters"
    with use_host(add_rival(lab, None)):
        with pytest.raises(AmbiguousComponentError, match="lab-rival/"):
            config(**rl_module).build()
        with Algorithm.from_checkpoint(path) as again:
            assert chosen(again.get_module()) == before
            assert chosen(again.learner_group.learner.module["default_policy"]) == before
            assert again.train()["learners"]["default_policy"]["total_loss"] == expected
            again.evaluate()  # whose modules are made only now
            assert chosen(again.eval_env_runner_group.module["default_policy"]) == before
            second = again.save_to_path(tmp_path / "d")
            assert "lab-rival" not in again.what_is_used().versions
            again.restore_from_path(path)
        module = RLModule.from_checkpoint(f"{second}/learner_group/learner/rl_module/default_policy")
        assert chosen(module) == before
        whole = RLModule.from_checkpoint(f"{second}/learner_group/learner/rl_module")
        assert chosen(whole["default_policy"]) == before


def test_what_the_config_names_now_counts(lab, tmp_path):
    with use_host(lab.host()), config().build() as algo:
        path = algo.save_to_path(tmp_path / "c")
    with use_host(add_rival(lab, None)):
        for components in ({"encoder:say": "lab-rival/letters"}, {"encoder:say": "lab-parts/letters"}):
            with Algorithm.from_checkpoint(path, components=components, allow_component_change=True) as again:
                assert chosen(again.get_module())["encoder", "say"] == (components["encoder:say"], "config")
        with pytest.raises(CheckpointError, match=r"encoder:say 'lab-parts/letters' of lab-parts==1.0 .*lab-rival"):
            Algorithm.from_checkpoint(path, components={"encoder:say": "lab-rival/letters"})


def test_a_checkpoint_whose_plugin_is_gone_names_its_version(site, make_site, tmp_path):
    site.add("lab-parts", LAB, version="1.4", groups={"rlkit.plugins": {"parts": "lab_parts"}})
    with use_host(site.host()), config().build() as algo:
        path = algo.save_to_path(tmp_path / "c")
    with use_host(make_site("other").host()), pytest.raises(PluginNotFoundError) as caught:
        Algorithm.from_checkpoint(path)
    assert "encoder 'lab-parts/letters' of lab-parts 1.4 was chosen here before" in str(caught.value)
    assert str(caught.value).endswith("pip install lab-parts==1.4")


def test_a_checkpoint_lists_those_used_and_no_others(lab, tmp_path):
    add_rival(lab, None)
    lab.add("lab-idle", "", groups={"rlkit.algorithms": {"idle": "lab_idle:A"}})
    with use_host(lab.host()), config(components={"encoder:say": "lab-parts/letters"}).build() as algo:
        path = algo.save_to_path(tmp_path / "c")
        lock = algo.what_is_used()
    names = set(lock.versions)
    assert "lab-parts" in names
    assert not names & {"lab-rival", "lab-idle"}
    for part in ("", "/learner_group/learner", "/learner_group/learner/rl_module/default_policy"):
        metadata = json.loads((tmp_path / f"c{part}/metadata.json").read_text())
        listed = {plugin["name"]: plugin for plugin in metadata["plugins"]}
        assert listed["lab-parts"] == {"name": "lab-parts", "version": "1.0", "packages": ["lab_parts"]}
        assert not listed.keys() & {"lab-rival", "lab-idle"}
        assert "lab-parts" in Lock.from_dict(metadata["lock"]).versions
    assert path


NAMED = """

from rlkit_core.plugins.records import Service


class Early:
    def on_train_result(self):
        pass


@hookimpl
def rlkit_services():
    return [Service("callbacks", "early", Early)]
"""


def named(site, name):
    package = name.replace("-", "_")
    groups = {"rlkit.plugins": {"parts": package}, "rlkit.catalogs": {"lab": f"{package}:LabCatalog"}}
    source = LAB.replace("lab_parts:", f"{package}:") + NAMED
    site.add(name, source, groups=groups)
    return site.host()


def test_names_that_a_config_wrote_in_short_mean_what_they_meant(site, tmp_path):
    def made():
        return config(catalogs=["lab"], components={"encoder:say": "letters"}).callbacks(plugins=["early"])

    with use_host(named(site, "lab-parts")), made().build() as algo:
        path = algo.save_to_path(tmp_path / "c")
    with use_host(named(site, "lab-rival")):
        with pytest.raises((AmbiguousComponentError, ConfigError), match="lab-rival/"):
            made().build()
        with Algorithm.from_checkpoint(path) as again:
            assert again.config.catalogs == ["lab-parts/lab"]
            assert again.config.plugins == ["lab-parts/early"]
            assert type(again.get_module().catalog).__module__ == "lab_parts"
            again.train()
            again.evaluate()
            assert "lab-rival" not in again.what_is_used().versions
        with Algorithm.from_checkpoint(path, plugins=["lab-rival/early"]) as again:
            assert again.config.plugins == ["lab-rival/early"]


def test_what_a_config_names_and_nobody_supplies_comes_with_the_version_to_install(site, tmp_path):
    with use_host(named(site, "lab-parts")), config(catalogs=["lab"]).build() as algo:
        path = algo.save_to_path(tmp_path / "c")
    shutil.rmtree(site.path / "lab_parts-1.0.dist-info")
    with use_host(site.host()), pytest.raises(PluginNotFoundError) as caught:
        Algorithm.from_checkpoint(path)
    assert "No catalog 'lab'" in str(caught.value)
    assert str(caught.value).endswith("is not installed here: pip install lab-parts==1.0")
