"""What is installed, updated or removed while a run goes on: only what it uses counts in a worker."""

from __future__ import annotations

import shutil
from pathlib import Path

import lab_plugin
import pytest

from rlkit_core.errors import ActorError
from rlkit_core.execution.conformance import Probe
from rlkit_core.execution.same_plugins import workers_use
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.used.lock import Lock, Used
from rlkit_processes import ProcessExecutor

HELPERS = str(Path(lab_plugin.__file__).parent)

COMMON = """
    import os, shutil, signal, sys
    from pathlib import Path
    import lab_plugin
    from actor_critic import ACConfig
    from gymnasium.spaces import Discrete
    from rlkit_core.errors import ActorError, AmbiguousComponentError
    from rlkit_core.plugins.discovery import scan
    from rlkit_core.plugins.host import PluginHost, default_host, use_host
    from rlkit_core.testing import RandomEnv

    SITE = Path(SITE)
    IDLE = "rlkit_api = '1.0'"

    def install(name, source="", version="1.0", group="rlkit.plugins"):
        package = name.replace("-", "_")
        for old in SITE.glob(f"{package}-*.dist-info"):
            shutil.rmtree(old)
        (SITE / f"{package}.py").write_text(source)
        info = SITE / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n\\n")
        (info / "entry_points.txt").write_text(f"[{group}]\\n{package} = {package}\\n")

    def rival():
        install("lab-rival", lab_plugin.LAB.replace("lab_parts:", "lab_rival:"))
        with use_host(PluginHost(scan(refresh=True))):  # as a new process would see it
            try:
                made().build()
            except AmbiguousComponentError as error:
                assert "lab-rival" in str(error)
            else:
                raise AssertionError("the rival claims nothing")

    def made(**more):
        return (
            ACConfig()
            .environment(RandomEnv, env_config={"observation_space": lab_plugin.MIXED, "action_space": Discrete(3)})
            .env_runners(num_env_runners=1, num_envs_per_env_runner=2, rollout_fragment_length=16)
            .training(train_batch_size=32, minibatch_size=16, num_epochs=1)
            .rl_module(model_config=lab_plugin.SMALL)
            .debugging(seed=1)
            .update_from_dict(more)
        )

    def chosen(owner):
        trace = owner.module["default_policy"].component_trace()
        return {".".join(c["path"]): (c["id"], c["rule"]) for c in trace if c["kind"] == "encoder"}

    install("lab-parts", lab_plugin.LAB)
    install("lab-idle", IDLE)
    default_host().load()
"""

RUNNERS = (
    COMMON
    + """
    rival()  # before the first worker starts, after the driver has looked
    with made().build() as algo:
        algo.train()
        ours = chosen(algo.env_runner_group)
        assert ours["say"] == ("lab-parts/letters", "gap filler"), ours
        known = lambda: {d.name for d in default_host().snapshot.distributions}
        ask = lambda runner: (os.getpid(), chosen(runner), known())
        (pid, theirs, names), = algo.env_runner_group.foreach_env_runner(ask)
        assert theirs == ours
        assert "lab-rival" not in names and {"lab-parts", "lab-idle"} <= names, names

        install("lab-idle", IDLE, version="2.0")
        install("lab-new", "rlkit_api = '1.0'", group="rlkit.algorithms")
        os.kill(pid, signal.SIGKILL)
        algo.train()
        assert algo.env_runner_group.get_fault_metrics()["num_env_runner_restarts"] == 1
        (pid, theirs, names), = algo.env_runner_group.foreach_env_runner(ask)
        assert theirs == ours
        assert "lab-parts" in names and not {"lab-rival", "lab-new", "lab-idle"} & names, names

        install("lab-parts", lab_plugin.LAB, version="2.0")  # what it uses, at last
        os.kill(pid, signal.SIGKILL)
        try:
            algo.train()
        except ActorError as error:
            said = str(error)
            assert "lab-parts 1.0, used for encoder 'lab-parts/letters'" in said, said
            assert "is 2.0 here: pip install lab-parts==1.0" in said, said
        else:
            raise AssertionError("a worker with another lab-parts has started")
    print("as before")
"""
)

LEARNERS = (
    COMMON
    + """
    rival()
    with made(num_learners=2).build() as algo:
        algo.train()
        ours = chosen(algo.env_runner_group)
        pids = algo.learner_group.foreach_learner(lambda learner: os.getpid())
        assert algo.learner_group.foreach_learner(chosen) == [ours, ours]
        install("lab-idle", IDLE, version="2.0")
        os.kill(pids[0], signal.SIGKILL)
        algo.train()
        assert algo.learner_group.foreach_learner(lambda learner: os.getpid()) != pids
        assert algo.learner_group.foreach_learner(chosen) == [ours, ours]
        saved = algo.save_to_path(SITE / "checkpoint")
    with use_host(PluginHost(scan(refresh=True))), ACConfig().algo_class.from_checkpoint(saved) as again:
        assert chosen(again.env_runner_group) == ours
        assert again.learner_group.foreach_learner(chosen) == [ours, ours]
        again.train()
    print("as before")
"""
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", [RUNNERS, LEARNERS], ids=["runners", "learners"])
def test_workers_start_whatever_is_installed_meanwhile_and_build_the_same(driver, tmp_path, script):
    site = tmp_path / "site"
    site.mkdir()
    process = driver.start(script.replace("Path(SITE)", f"Path({str(site)!r})"), PYTHONPATH=f"{site}:{HELPERS}")
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert "as before" in out
    driver.left_nothing()


def test_only_what_is_used_is_compared(tmp_path, monkeypatch):
    def install(name, version="1.0"):
        for old in tmp_path.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
        (info / "entry_points.txt").write_text(f"[rlkit.catalogs]\n{name} = {name}:C\n")

    def knows(actor):
        return {info.name for info in default_host().snapshot.distributions if info.name.startswith("lab")}

    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("labused", "labidle"):
        install(name)
    used = Lock([Used("catalog", "labused/labused", "labused", "1.0")])
    with use_host(PluginHost(scan([str(tmp_path)]))), ProcessExecutor() as executor:
        with workers_use(used):
            install("labnew")
            install("labidle", "2.0")
            actor = executor.spawn(Probe)
            assert actor.call(knows).result(30) == {"labused"}
            assert executor.restart(actor).call(knows).result(30) == {"labused"}
            install("labused", "1.1")
            late = executor.restart(actor)
        for future in (late.ready, late.call("add")):
            with pytest.raises(ActorError, match=r"(?s)not made.*labused 1\.0, used for catalog 'labused/labused', is"):
                future.result(30)
        assert executor.spawn(Probe).call("add").result(30) == 1  # which does not use it
