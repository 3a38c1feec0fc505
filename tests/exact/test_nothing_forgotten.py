"""A restored algorithm keeps what the saved one does, attribute by attribute, whether it has been used yet or not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from exact_cells import make_config, some_cells
from live_state import live_state

from rlkit_core import Algorithm

#: What a restored algorithm need not have, by path, and why.
ASIDE = {
    r"/_ids/|/module_parameters/|/layout$|/_made_for/|/_catalog/": "identities of objects and counts of their making",
    r"/gradients?(/|$)|/losses/": "left over from the last step, written anew by the next one",
    r"/_since$|^/timers/": "clocks",
    r"/_trainable/|/_counts/|/_of_module/|/_samplers/|/kinds/|/_names/": "made again when they are first used",
    r"/_small_plan/(_at|_made)/|/_link/(_at|_arrays)/": "where weights lie, found again when they are used",
    r"/_rng/_generator$": "lent for a rollout; where the stream is otherwise stands in _state",
    r"/_looked_at/|/_said$": "what has been said once",
    r"/engine/(_updates|checks/)": "when a recording is compared again, which changes nothing",
    r"^/replay_buffers/.*/(_drawn_|_seen/|_rows/|_sequences/|last_indices|_prefix|_state_rows_in)": "of the last batch",
    r"^/replay_buffers/.*/(array|tensor|_free)$": "has unused places; checkpoints are compared elsewhere",
    r"^/_stateless/": "made again",
    r"^/metrics/last/": "the last result, to be looked at",
    r"_draws_to_restore/": "of modules that have not acted yet",
    r"/_local/_mender/": "what has failed, and where an env began, for messages",
    r"/_local/(steps|_reports|_rows|env|envs|_first_env|_actors|loop|stats|_to_reset|_episode_seeds/_ahead)": "of the "
    "last rollout, of open episodes, and seeds drawn in advance",
}
CELLS = [cell for cell in some_cells() if not cell.processes]


def differences(one, other):
    """Paths at which two live objects differ; those that only one has are seen where something is counted."""
    aside = re.compile("|".join(ASIDE))
    states = [live_state(algo, lambda path: aside.search(f"{path}/") or aside.search(path)) for algo in (one, other)]
    common = states[0].keys() & states[1].keys()
    assert len(common) > 1000
    return [f"{p}: {states[0][p]} | {states[1][p]}" for p in sorted(common) if states[0][p] != states[1][p]]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_nothing_is_forgotten(cell, tmp_path):
    with make_config(cell).build_algo() as algo:
        for _ in range(3):
            algo.train()
        algo.save_to_path(tmp_path / "checkpoint")
        with Algorithm.from_checkpoint(tmp_path / "checkpoint") as restored:
            assert not differences(algo, restored)
            if cell is CELLS[0]:  # what is forgotten is found
                algo.evaluation.runners.local_env_runner._resets += 1
                algo.learner_group.learner.weights_seq_no += 1
                assert len(differences(algo, restored)) == 1
