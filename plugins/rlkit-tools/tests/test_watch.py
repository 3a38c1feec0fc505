"""``rlkit watch`` follows a run in another process to its end, on a terminal and piped; it writes nothing."""

from __future__ import annotations

import json
import math
import os
import pty
import socket
import subprocess
import sys
import threading
import time

import pytest

from rlkit_core.errors import CheckpointError
from rlkit_core.run.progress import Progress
from rlkit_tools.following import follow, is_running
from rlkit_tools.watch import watch

COMMAND = [sys.executable, "-c", "from rlkit_core.cli import main; main()"]


class Seen(Progress):
    def __init__(self):
        self.rows = []

    def update(self, row):
        self.rows.append(row)


def result(iteration, *, evaluation=None):
    data = {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 100 * iteration,
        "env_runners": {"episode_return_mean": 1.5 * iteration, "num_env_steps_sampled": 100},
        "timers": {"iteration": 0.5, "iteration_total": 0.5 * iteration},
    }
    if evaluation is not None:
        data["evaluation"] = {"env_runners": {"episode_return_mean": evaluation, "num_episodes": 1}}
    return json.dumps(data) + "\n"


def lock(path, pid=None, host=None):
    path.write_text(json.dumps({"pid": pid or os.getpid(), "host": host or socket.gethostname()}))


def test_results_are_shown_once_as_they_come_until_the_lock_is_gone(tmp_path):
    results, seen = tmp_path / "results.jsonl", Seen()
    results.write_text(result(1) + result(2, evaluation=7.0))
    lock(tmp_path / "run.lock")
    thread = threading.Thread(target=follow, args=(tmp_path, seen), kwargs={"poll_s": 0.01})
    thread.start()

    def wait_for(count):
        while len(seen.rows) < count:
            assert thread.is_alive()
            time.sleep(0.01)

    wait_for(1)
    with results.open("a") as file:
        file.write(result(3) + result(4)[:20])
        file.flush()
        wait_for(2)
        file.write(result(4)[20:])
    wait_for(3)
    results.write_text(result(1))  # a run that goes on from its checkpoint cuts back what came after
    wait_for(4)
    (tmp_path / "run.lock").unlink()
    thread.join(60)
    assert [row.iteration for row in seen.rows] == [2, 3, 4, 1]
    row = seen.rows[1]
    assert (row.steps, row.steps_per_s, row.return_mean, row.evaluation, row.seconds) == (300, 200.0, 4.5, 7.0, 1.5)
    assert math.isnan(row.loss)


def test_a_run_is_one_while_its_process_lives(tmp_path):
    assert not is_running(tmp_path)
    file = tmp_path / "run.lock"
    lock(file)
    assert is_running(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    lock(file, ended.pid)
    assert not is_running(tmp_path)
    lock(file, ended.pid, host="elsewhere")
    assert is_running(tmp_path)


def test_a_folder_of_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder"):
        watch.main([str(tmp_path)], standalone_mode=False)


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
def test_a_real_run_is_watched_to_its_end(tmp_path, terminal):
    pytest.importorskip("rlkit_ppo")
    run = tmp_path / "run"
    asked = ["train", "ppo", "CartPole-v1", "--run-dir", str(run), "--stop-iters", "6", "--evaluate", "1", "--no-plot"]
    with subprocess.Popen([*COMMAND, *asked, "--quiet"], stdout=subprocess.DEVNULL) as trains:
        while not (run / "run.json").exists():
            assert trains.poll() is None
            time.sleep(0.05)
        outer, inner = pty.openpty() if terminal else os.pipe()
        with subprocess.Popen([*COMMAND, "watch", str(run)], stdout=inner) as watches:
            os.close(inner)
            shown = b""
            while True:
                try:
                    part = os.read(outer, 65536)
                except OSError:  # a terminal that is closed
                    part = b""
                if not part:
                    break
                shown += part
            assert watches.wait(60) == 0
        trains.wait(60)
    text = shown.decode()
    assert ("\x1b" in text) == terminal
    assert "ended: 6 iterations; mean return" in text
    assert ("6,144 steps" if terminal else "iteration 6: return") in text
