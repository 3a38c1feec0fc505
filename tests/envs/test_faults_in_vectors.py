"""Envs that fail, hang, lie or die in gymnasium's vector class and in processes of their own: made anew alone.

What a rollout then looks like is shown for our own loop (``test_faults.py``); the same has to come out here,
bit for bit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zlib

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.gym_vectors.separate import SeparateVectorEnv
from rlkit_core.errors import EnvError, NonFiniteError

MID = "default_policy"
STEPS = 20
LENGTH = 9
PLAIN = ("raise", "nan", "infinite", "shape", "reward", "short")
"""What may happen at a step; in a process of its own an env may die and hang, too."""
LIMIT = 4.0


class WheelError(Exception):
    """What the env raises: it cannot be pickled, and takes other arguments than it keeps."""

    def __init__(self, wheel, *, lost):
        super().__init__(f"wheel {wheel} came off")
        self.wheel, self.lock = wheel, threading.Lock()


class Scripted(gym.Env):
    """Shows the seed of its episode, and the step; ``script`` says what happens: ``{(seed, step or "reset"): kind}``.

    With ``chance`` it is drawn from seed and step instead, among ``kinds``. Of every two episodes one is truncated.
    """

    observation_space = gym.spaces.Box(-1e6, 1e6, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, script=(), chance=0.0, kinds=PLAIN, unlike=None, deep=False, ghost=None):
        self.script, self.chance, self.kinds, self.unlike = dict(script), chance, kinds, unlike
        if ghost is not None and os.path.exists(ghost):
            raise WheelError(1, lost=True)
        if deep:
            self.observation_space = gym.spaces.Dict({"a": Scripted.observation_space, "b": gym.spaces.Discrete(9)})
        self.deep = deep

    def _happens(self, when):
        if self.chance:
            number = zlib.crc32(f"{self.seed}-{when}".encode())
            if when == "reset":
                return "raise" if number % 1000 < 1000 * self.chance else None
            return self.kinds[number % len(self.kinds)] if number % 997 < 997 * self.chance else None
        return self.script.get((self.seed, when))

    def reset(self, *, seed=None, options=None):
        assert seed is not None
        self.seed, self.t = seed, 0
        self._fail(self._happens("reset"))
        return self._seen(), {}

    def _seen(self):
        seen = np.array([self.seed >> 16, self.seed & 0xFFFF, self.t], np.float32)
        return {"a": seen, "b": self.t % 9} if self.deep else seen

    def _fail(self, kind):
        if self.unlike is not None and kind in ("die", "exit", "hang"):
            kind = self.unlike
        if kind == "raise":
            raise WheelError(4, lost=True)
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "exit":
            os._exit(3)
        if kind == "hang":
            time.sleep(3600)
        return kind

    def step(self, action):
        kind = self._fail(self._happens(self.t))
        self.t += 1
        over, even = self.t == LENGTH, self.seed % 2 == 0
        observation, reward = self._seen(), 1.0 + self.seed % 7
        if kind == "nan":
            (observation["a"] if self.deep else observation)[1] = np.nan
        elif kind == "infinite":
            reward = np.inf
        elif kind == "shape":
            observation = np.zeros(7, np.float32)
        elif kind == "reward":
            reward = "much"
        elif kind == "short":
            return observation, reward, False, {}
        return observation, reward, over and even, over and not even, {"is_success": float(self.seed % 2)}


def config_for(mode, model=None, envs=3, **env_config):
    return (
        ACConfig()
        .environment(Scripted, env_config=env_config)
        .env_runners(num_envs_per_env_runner=envs, gym_env_vectorize_mode=mode)
        .rl_module(model_config={"fcnet_hiddens": [8], **(model or {})})
        .reporting(info_metrics=["is_success"])
        .fault_tolerance(sub_environment_timeout_s=LIMIT)
        .debugging(seed=3)
    )


def group_for(mode, **how):
    return EnvRunnerGroup(config_for(mode, **how).prepared())


LSTM = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 5, "lstm_use_prev_action": True}


def sampled(mode, count=2, **how):
    group = group_for(mode, **how)
    try:
        rollouts = [group.sample(num_timesteps=STEPS * group.num_envs)[MID].clone() for _ in range(count)]
        return rollouts, group.get_metrics(), group.get_fault_metrics()
    finally:
        group.stop()


def sample_often(group):
    for _ in range(9):
        group.sample(num_timesteps=STEPS * 3)


def untimed(metrics):
    return {name: value for name, value in metrics.items() if "_sec" not in name}


def same(one, other):
    rollouts, metrics, faults = one
    for mine, theirs in zip(rollouts, other[0], strict=True):
        assert mine.columns.keys() == theirs.columns.keys()
        for name, column in mine.columns.items():
            a, b = (column, theirs[name]) if isinstance(column, torch.Tensor) else (column["a"], theirs[name]["a"])
            assert torch.equal(a, b), name
        for name in ("loss_mask", "final_index"):
            a, b = getattr(mine, name), getattr(theirs, name)
            assert (a is None) == (b is None), name
            assert a is None or torch.equal(torch.as_tensor(a), torch.as_tensor(b)), name
        assert mine.num_env_steps == theirs.num_env_steps
        if isinstance(mine.bootstrap_obs, torch.Tensor):
            assert torch.equal(mine.bootstrap_obs, theirs.bootstrap_obs)
            assert mine.final_obs is None or torch.equal(mine.final_obs, theirs.final_obs)
    assert untimed(metrics) == untimed(other[1])
    assert faults == other[2]


@pytest.mark.parametrize("model", [None, LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_faults_at_random_moments_give_what_our_own_loop_gives(mode, model):
    kinds = PLAIN if mode != "async" else (*PLAIN, "die", "exit")
    wanted = sampled("auto", 6, model=model, chance=0.03, kinds=kinds, unlike="raise")
    assert wanted[2]["num_env_restarts"] >= 5
    assert any(rollout.loss_mask is not None for rollout in wanted[0])
    same(sampled(mode, 6, model=model, chance=0.03, kinds=kinds), wanted)


@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_without_faults_nested_observations_are_the_same(mode):
    same(sampled(mode, 2, deep=True), sampled("auto", 2, deep=True))


@pytest.fixture(scope="module")
def plain():
    return sampled("auto")[0]


def place(plain, t, n=1, rollout=1):
    """Seed and step of what env n does in step t."""
    high, low, step = plain[rollout]["obs"][t, n].int().tolist()
    return (high << 16) + low, step


@pytest.mark.parametrize("kind", ["hang", "die", "exit", "raise", "nan"])
@pytest.mark.parametrize("t", [0, 7, STEPS - 1])
def test_one_in_a_process_of_its_own(plain, kind, t, caplog):
    if kind in ("exit", "raise") and t != 7:
        pytest.skip("the others will do")
    script = {place(plain, t): kind}
    began = time.monotonic()
    rollouts, metrics, faults = sampled("async", script=script)
    took = time.monotonic() - began
    same((rollouts, metrics, faults), sampled("auto", script=script, unlike="raise"))
    assert faults["num_env_restarts"] == 1
    for mine, alone in zip(rollouts, plain, strict=True):
        for name in ("obs", "actions", "rewards", "truncateds", "action_logp"):
            assert torch.equal(mine[name][:, [0, 2]], alone[name][:, [0, 2]]), name
    if kind == "hang":
        assert took > LIMIT
        assert f"no answer in {LIMIT:g} seconds; it was killed" in caplog.text
    if kind == "die":
        assert "ended by signal 9 (SIGKILL)" in caplog.text
    if kind == "exit":
        assert "it ended with code 3" in caplog.text
    if kind == "raise":
        assert "in _fail" in caplog.text  # the env's own frame, from its process


@pytest.mark.parametrize("kind", ["raise", "die", "hang"])
@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_a_reset_that_fails_costs_no_step(plain, mode, kind):
    if mode != "async" and kind != "raise":
        pytest.skip("it would be the end of this process")
    seed, _ = place(plain, 0)
    rollouts, _, faults = got = sampled(mode, script={(seed, "reset"): kind})
    assert faults["num_env_restarts"] == 1
    assert all(rollout.loss_mask is None for rollout in rollouts)
    same(got, sampled("auto", script={(seed, "reset"): kind}, unlike="raise"))


@pytest.mark.parametrize("restarts", [True, False], ids=["again and again", "at once"])
@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_it_is_raised_in_its_own_type(mode, restarts):
    config = config_for(mode, chance=0.9, kinds=("raise",)).fault_tolerance(restart_failed_sub_environments=restarts)
    group = EnvRunnerGroup(config.prepared())
    with pytest.raises(WheelError) as caught:
        sample_often(group)
    error = caught.value
    assert isinstance(error, EnvError)
    assert error.wheel == 4
    assert all(part in str(error) for part in ("env ", "WheelError", "seed ", "wheel 4 came off"))
    assert ("in a row" in str(error)) is restarts
    assert isinstance(error.__cause__, WheelError)
    if mode == "async":
        assert "in _fail" in str(error.__cause__.__cause__)
        assert "rlkit_core" not in str(error.__cause__.__cause__)
    group.stop()


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("hang", TimeoutError, r"env 1 .*did not answer at a step with action .*seed \d+: no answer .*step 4 of this"),
        ("die", ChildProcessError, r"env 1 .*did not answer at a step with action .*signal 9 \(SIGKILL\)"),
        ("nan", NonFiniteError, r"env 1 .*non-finite"),
        ("shape", EnvError, r"env 1 .*does not fit its observation_space"),
        ("raise", WheelError, r"env 1 .*raised WheelError at a step with action .*seed \d+.*runner 0"),
    ],
)
def test_what_may_not_be_made_anew_is_raised(plain, kind, error, says):
    config = config_for("async", script={place(plain, 4, rollout=0): kind})
    group = EnvRunnerGroup(config.fault_tolerance(restart_failed_sub_environments=False).prepared())
    with pytest.raises(error, match=says):
        group.sample(num_timesteps=STEPS * 3)
    if kind == "die":  # nothing hangs that was left
        with pytest.raises(ChildProcessError, match="no more"):
            group.sample(num_timesteps=STEPS * 3, force_reset=True)
    group.stop()


def test_a_process_that_is_killed_between_two_samples_is_missed_at_the_next():
    group = group_for("async")
    first = group.sample(num_timesteps=STEPS * 3)[MID].clone()
    processes = group.local_env_runner.env.processes
    before = processes.pids
    os.kill(before[2], signal.SIGKILL)
    assert len(group.local_env_runner.get_state()["open_episodes"]["envs"]["episodes"]["problems"]) == 3
    second = group.sample(num_timesteps=STEPS * 3)[MID]
    assert not second.loss_mask[0, 2]
    assert second.loss_mask.sum() == STEPS * 3 - 1
    assert processes.pids[:2] == before[:2]
    assert processes.pids[2] not in (None, before[2])
    assert first.loss_mask is None
    pids = processes.pids
    group.stop()
    assert processes.pids == [None] * 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not multiprocessing.active_children()


def test_an_interrupt_leaves_no_answers_for_later_questions(plain):
    config = config_for("async", script={place(plain, 4, rollout=0): "hang"})
    group = EnvRunnerGroup(config.fault_tolerance(sub_environment_timeout_s=None).prepared())
    runner = group.local_env_runner
    processes = runner.env.processes

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 3.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            group.sample(num_timesteps=STEPS * 3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert [pid is None for pid in processes.pids] == [False, True, False]
    assert runner.env.own_states() == [None] * 3
    rollout = group.sample(num_timesteps=STEPS * 3, force_reset=True)[MID]
    assert rollout.loss_mask is None
    assert group.get_fault_metrics()["num_env_restarts"] == 1
    group.stop()


class Foreign(Exception):
    """Cannot be built where it arrives."""

    def __reduce__(self):
        return int, ("no number",)


def test_an_answer_that_cannot_be_understood_is_the_envs_failure():
    class Odd(Scripted):
        observation_space = gym.spaces.Sequence(gym.spaces.Discrete(3))

        def _seen(self):
            return (Foreign(),) if self.t == 3 else (1, 2)

    envs = SeparateVectorEnv([Odd] * 2, Odd())
    rows, ends = np.empty(2, object), (np.zeros(2, np.float32), np.zeros(2, np.bool_), np.zeros(2, np.bool_))
    assert envs.reset([2, 4], rows) == []
    for _ in range(2):
        assert envs.step(np.zeros(2, np.int64), rows, *ends) == []
    assert rows.tolist() == [(1, 2)] * 2
    (n, fault), (m, other) = envs.step(np.zeros(2, np.int64), rows, *ends)
    assert (n, m) == (0, 1)
    assert isinstance(fault.error, ValueError)
    assert "no number" in str(other.error)
    assert envs.restart(0, 8, rows) is None
    envs.close()


def test_an_env_that_cannot_be_made_again_is_tried_in_other_processes(plain, tmp_path, caplog):
    ghost = tmp_path / "ghost"
    group = group_for("async", script={place(plain, 3): "die"}, ghost=str(ghost))
    group.sample(num_timesteps=STEPS * 3)
    ghost.touch()
    with pytest.raises(WheelError, match=r"env 1 .*when it was made anew.*in a row") as caught:
        group.sample(num_timesteps=STEPS * 3)
    assert caught.value.wheel == 1
    group.stop()


def test_an_env_that_cannot_be_made_in_its_process_is_an_error_at_once():
    here = os.getpid()

    def make():
        if os.getpid() != here:
            raise WheelError(2, lost=True)
        return Scripted()

    with pytest.raises(WheelError, match="when it was made"):
        EnvRunnerGroup(config_for("async").environment(make).prepared())
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_an_evaluation_counts_an_episode_that_broke_off_as_cut(mode):
    results = {}
    for one in ("auto", mode):
        group = group_for(one, chance=0.02, kinds=("raise", "nan"))
        results[one] = group.run_episodes(9)
        group.stop()
    assert untimed(results[mode]) == untimed(results["auto"])
    assert results[mode]["num_episodes_cut"] > 0


@pytest.mark.parametrize("mode", ["gymnasium_sync", "async"])
def test_restarts_are_capped(mode):
    config = config_for(mode, chance=0.05, kinds=("raise",)).fault_tolerance(max_num_sub_environment_restarts=2)
    group = EnvRunnerGroup(config.prepared())
    with pytest.raises(WheelError, match=r"made anew 2 times: .*max_num_sub_environment_restarts=2"):
        sample_often(group)
    assert group.get_fault_metrics()["num_env_restarts"] == 2
    group.stop()


def test_what_an_own_vector_class_raises_says_when_it_was():
    script = {(5, 3): "raise", (7, "reset"): "raise"}
    env = GymVectorEnv(gym.vector.SyncVectorEnv([lambda: Scripted(script)] * 2))
    rows = np.zeros((2, 3), np.float32), np.zeros(2, np.float32), np.zeros(2, np.bool_), np.zeros(2, np.bool_)
    with pytest.raises(WheelError, match=r"vector env .* raised WheelError at a reset with seeds \[1, 7\]") as caught:
        env.reset([1, 7], rows[0])
    assert isinstance(caught.value, EnvError)
    env.reset([1, 5], rows[0])
    for _ in range(3):
        env.step(np.zeros(2, np.int64), *rows)
    with pytest.raises(WheelError, match=r"at a step with actions array\(\[0, 1\]\), after .* seeds \[1, 5\]: wheel 4"):
        env.step(np.arange(2), *rows)


ENDS = """
import sys, threading, time
import numpy as np
from test_faults_in_vectors import Scripted
from rlkit_core.envs.gym_vectors.separate import SeparateVectorEnv

env = SeparateVectorEnv([lambda: Scripted({(2, 0): "hang"})] * 3, Scripted())
rows = np.zeros((3, 3), np.float32), np.zeros(3, np.float32), np.zeros(3, np.bool_), np.zeros(3, np.bool_)
env.reset([0, 1, 2], rows[0])
print(*env.processes.pids, flush=True)
env.step(np.zeros(3, np.int64), *rows)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks processes up in /proc")
def test_envs_end_with_their_driver_though_one_of_them_hangs():
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, "-c", ENDS], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert driver.stdout is not None
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    try:
        time.sleep(1.0)
        driver.kill()
        driver.wait()
        end = time.monotonic() + 20
        while [is_running(pid) for pid in pids] != [False, False, True]:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        os.kill(pids[2], signal.SIGKILL)
        driver.stdout.close()


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
