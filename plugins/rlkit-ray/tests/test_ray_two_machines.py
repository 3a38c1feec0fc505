"""Two machines that have a name, an address, processes and files of Ray of their own: Linux namespaces with a wire."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from driver_programs import eventually

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("rlkit_ppo", reason="it trains with PPO")


def can_make_machines():
    """Namespaces need Linux, its tools, and root."""
    if not all(shutil.which(tool) for tool in ("ip", "unshare", "mount", "hostname")):
        return False
    apart = ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    return not subprocess.run(apart, stderr=subprocess.DEVNULL).returncode


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not can_make_machines(), reason="namespaces cannot be made here"),
]

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 6379
RAY = f"{sys.executable} -m ray.scripts.scripts"
PROGRAM = """
    import sys, time
    import numpy as np
    import ray
    from rlkit_ppo import PPOConfig
    from rlkit_processes.learners.gloo import own_address

    def config(executor):
        config = PPOConfig().environment("CartPole-v1").debugging(seed=3)
        config.env_runners(num_env_runners=2, num_envs_per_env_runner=4).learners(num_learners=2, compile=None)
        config.execution(executor=executor)
        return config.training(train_batch_size_per_learner=256, minibatch_size=128, num_epochs=2)

    def weights(learner):
        return [np.array(value) for value in learner.module["default_policy"].get_state().values()]

    def agree(algo, expected=None):
        for learner in algo.learner_group.foreach_learner(weights):
            expected = expected or learner
            assert all(np.array_equal(one, two) for one, two in zip(learner, expected, strict=True))
        return expected

    with config("process").build() as algo:
        algo.train(), algo.train()
        expected = agree(algo)
    ray.init(address="auto", logging_level="warning")
    while sum(node["Alive"] for node in ray.nodes()) < 2:
        time.sleep(0.1)
    with config("ray").execution(runner_options={"num_cpus": 1}, learner_options={"num_cpus": 1}).build() as algo:
        where = algo.learner_group.foreach_learner(lambda _: own_address())
        assert sorted(where) == [("machine1", "10.77.0.1"), ("machine2", "10.77.0.2")], where
        hosts = algo.env_runner_group.foreach_env_runner(lambda _: own_address()[0])
        assert sorted(hosts) == ["machine1", "machine2"], hosts
        algo.train(), algo.train()
        agree(algo, expected)
        print("trained", flush=True)
        sys.stdin.readline()
        # Until Ray knows that the machine is gone, it may start a learner there again, in vain.
        result = algo.train()["fault_tolerance"]
        assert result["num_healthy_env_runners"] == 2, result
        assert result["num_learner_restarts"] + result["num_env_runner_restarts"] >= 2, result
        assert {host for host, _ in algo.learner_group.foreach_learner(lambda _: own_address())} == {"machine1"}
        agree(algo)
"""


def sh(*command):
    subprocess.run(command, check=True)


@pytest.fixture
def machines(tmp_path):
    """Start a program in a shell on the first or second of two machines."""
    names = [f"rlkit{os.getpid()}x{k}" for k in range(2)]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{a} machine{k}\n" for k, a in enumerate(ADDRESSES, 1)))
    started = []

    def start(index, command):
        files = tmp_path / f"ray{index}"
        files.mkdir()
        setup = f"hostname machine{index + 1} && mount --bind {hosts} /etc/hosts && mount --bind {files} /tmp/ray"
        apart = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with open(tmp_path / f"log{index}", "w") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", names[index], *apart, "sh", "-c", f"{setup} && {command}"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"},
            )
        started.append(process)
        return process

    Path("/tmp/ray").mkdir(exist_ok=True)
    try:
        for name in names:
            sh("ip", "netns", "add", name)
        sh("ip", "link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            for command in (f"addr add {address}/24 dev wire", "link set wire up", "link set lo up"):
                sh("ip", "-n", name, *command.split())
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()
        for name in names:
            with contextlib.suppress(subprocess.CalledProcessError):
                sh("ip", "netns", "del", name)


def test_runners_and_learners_on_two_machines_of_which_one_is_lost(machines, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    common = "--num-cpus=4 --object-store-memory=150000000 --disable-usage-stats"
    head = f"{RAY} start --head --node-ip-address={ADDRESSES[0]} --port={PORT} --include-dashboard=false {common}"
    first = machines(0, f"{head} && {sys.executable} {program}")
    join = f"{RAY} start --address={ADDRESSES[0]}:{PORT} --node-ip-address={ADDRESSES[1]} --block {common}"
    second = machines(1, f"until {join}; do sleep 1; done")
    log = tmp_path / "log0"
    assert eventually(lambda: first.poll() is not None or "trained\n" in log.read_text(), 500.0)
    second.kill()
    first.communicate("\n", timeout=300)
    assert first.returncode == 0, log.read_text() + (tmp_path / "log1").read_text()
