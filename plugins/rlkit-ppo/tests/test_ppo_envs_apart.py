"""PPO with envs in processes of their own that raise, lie, die and hang at random moments; and its resumed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import faulty_envs
import numpy as np
import pytest
from faulty_envs import RAISES, Faulty

from rlkit_ppo import PPOConfig

GO_ON = """
import json, sys
import faulty_envs
import numpy as np
from rlkit_ppo import PPO

with PPO.from_checkpoint(sys.argv[1]) as algo:
    results = [algo.train() for _ in range(2)]
    np.savez(sys.argv[2], **algo.get_module().get_state())
    print(json.dumps([algo.num_env_steps_sampled_lifetime, results[-1]["fault_tolerance"]["num_env_restarts"]]))
"""


def config(model, runners, chance):
    return (
        PPOConfig()
        .environment(Faulty, env_config={"chance": chance, "kinds": [*RAISES, "die", "hang"], "bad_resets": 0.02})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=3, gym_env_vectorize_mode="async")
        .training(train_batch_size=240, minibatch_size=60, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8], **model})
        .fault_tolerance(sub_environment_timeout_s=3.0)
        .debugging(seed=5)
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("model", "runners"),
    [
        pytest.param({}, 0, marks=pytest.mark.slow),
        ({"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10}, 0),
        pytest.param({}, 2, marks=pytest.mark.slow),
    ],
    ids=["mlp", "lstm", "in runners elsewhere"],
)
def test_steps_add_up_and_a_resumed_run_is_exact(tmp_path: Path, model: dict[str, object], runners: int) -> None:
    counted = 0
    with config(model, runners, 1 / 100).build_algo() as algo:
        for iteration in range(5):
            result = algo.train()
            counted += result["env_runners"]["num_env_steps_sampled"]
            assert counted == result["num_env_steps_sampled_lifetime"]
            if iteration == 2:
                before = result["fault_tolerance"]["num_env_restarts"]
                assert algo.not_exact() == []
                saved = algo.save_to_path(tmp_path / "saved")
        wanted = algo.get_module().get_state()
        faults = result["fault_tolerance"]["num_env_restarts"]
    assert before >= 3
    assert faults > before
    assert 5 * 240 - 64 * faults <= counted < 5 * 240
    path = os.pathsep.join([str(Path(faulty_envs.__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", GO_ON, str(saved), str(tmp_path / "weights.npz")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps, later = json.loads(done.stdout.splitlines()[-1])
    assert steps == counted
    assert later == faults - before
    assert "fresh episode" not in done.stderr
    there = np.load(tmp_path / "weights.npz")
    assert sorted(there.files) == sorted(wanted)
    for name in wanted:
        assert np.array_equal(there[name], wanted[name]), name
