"""Training with runners in processes, as whole programs: however one ends, nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

TRAINING = """
    import os, signal, sys, time
    import gymnasium as gym
    from rlkit_ppo import PPOConfig

    class Mine(gym.Wrapper):
        pass

    gym.register("Mine-v0", lambda: Mine(gym.make("CartPole-v1")))
    config = (
        PPOConfig()
        .environment("Mine-v0")
        .env_runners(num_env_runners=2)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=1)
    )
    algo = config.build()
    result = algo.train()
    assert result["num_env_steps_sampled_lifetime"] == 64
    print("training", flush=True)
"""


@pytest.mark.slow
def test_a_run_that_ends(driver):
    assert "training" in driver.run(TRAINING)


@pytest.mark.slow
def test_a_run_that_raises(driver):
    assert "KeyError: 'mine'" in driver.run(TRAINING + "    algo.train()\n    raise KeyError('mine')\n", code=1)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGKILL))],
    ids=lambda n: n.name,
)
def test_a_run_that_gets_a_signal(driver, number):
    process = driver.start(TRAINING + "    while True:\n        algo.train()\n")
    assert process.stdout.readline() == "training\n"
    assert len(driver.processes()) == 3
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-number, 1, 130)
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in err
    driver.left_nothing()


HANGS = """
    import sys, time
    from pathlib import Path
    import gymnasium as gym
    from rlkit_core import Run, Stop
    from rlkit_ppo import PPOConfig

    class Hanging(gym.Wrapper):
        def __init__(self):
            super().__init__(gym.make("CartPole-v1"))

        def step(self, action):
            Path(f"hangs-{time.monotonic_ns()}").touch()
            time.sleep(600)

    config = (
        PPOConfig()
        .environment(Hanging)
        .env_runners(num_env_runners=2)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .evaluation(evaluation_interval=1, evaluation_num_env_runners=1, evaluation_parallel_to_training=True)
        .evaluation(evaluation_duration=1)
        .debugging(seed=1)
        .reporting(writers=["csv"])
    )
    try:
        Run(config, "run", stop=Stop(iterations=9), plot=False).fit()
    except KeyboardInterrupt:
        print("ended", time.monotonic(), flush=True)
        sys.exit(143)
"""


@pytest.mark.slow
def test_a_second_signal_is_not_kept_waiting_by_runners_that_hang(driver, tmp_path):
    """Those of training and those of evaluation, one after the other."""
    process = driver.start(HANGS)
    assert driver.eventually(lambda: len(list(tmp_path.glob("hangs-*"))) == 3, 200.0)
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.0)  # both at once would be one
    since = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 143, err
    assert float(out.split("ended")[1]) - since < 8.0
    driver.left_nothing()


STARTS = """
    import gc, os, signal
    from pathlib import Path
    from rlkit_core.errors import ActorError
    from rlkit_ppo import PPOConfig

    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=1)
        .training(train_batch_size=32, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .fault_tolerance(restart_failed_env_runners=False)
    )

    def children():
        own = os.getpid()
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == own:
                    found.append(folder.name)
            except OSError:
                pass
        return found

    def files():
        return len(os.listdir("/proc/self/fd"))

    counts = []
    for k in range(COUNT):
        try:
            with config.build() as algo:
                algo.train()
                if k % 4 == 1:
                    raise RuntimeError("in between")
                if k % 4 == 3:
                    os.kill(algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid())[0], signal.SIGKILL)
                    algo.train()
                    raise AssertionError("it trained with a dead runner")
        except ActorError:
            assert k % 4 == 3
        except RuntimeError as error:
            assert str(error) == "in between"
        assert not children(), (k, children())
        del algo
        gc.collect()
        counts.append(files())
    assert counts[-1] <= counts[3], counts
    print("stopped", len(counts))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_starts_and_stops_leave_nothing(driver):
    process = driver.start(STARTS.replace("COUNT", "50"))
    out, err = process.communicate(timeout=800)
    assert process.returncode == 0, err
    assert "stopped 50" in out
    driver.left_nothing()
