"""How many env steps a second runners and learners take in together: a model, and points that it is held against.

The model is :func:`steps_per_second`. The points are trainings on an env and with a learner that sleep for as long as
is asked of them, so that a busy machine changes little; what else the model takes is measured beside them.

    python benchmarks/throughput.py [--executor ray] [--iterations 4] [--json FILE]
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from attrs import asdict, frozen
from costly_env import CostlyEnv
from scaling import BLOCK, Holder, its_cluster, medians
from side_by_side import describe_machine

from rlkit_core import get_algorithm_config
from rlkit_core.execution import make_executor


@frozen
class Costs:
    """What things take, in seconds.

    Attributes:
        step: an env step of one runner, its policy included; envs of a runner take turns.
        cpu: the part of it in which a core is busy.
        learn: what one learner does for one step of a batch, all epochs together.
        exchange: gradients of several learners averaged once.
        call: a call to a runner, there and back.
        byte: a byte on its way between two processes; on a network, 8 / its bits per second.
    """

    step: float
    learn: float
    call: float
    byte: float
    cpu: float = 0.0
    exchange: float = 0.0


@frozen
class Setup:
    """What a run consists of.

    Attributes:
        runners: their number; ``learners`` alike, where none is one in the driver.
        batch: env steps of an update.
        rollout: env steps that a runner returns at once; for an algorithm that waits, ``batch / runners``.
        exchanges: times that gradients are averaged in an update: epochs times minibatches.
        row_bytes: of an env step in a rollout.
        weight_bytes: of the weights that runners get after an update.
        cores: of all machines that runners are on.
        machines: their number; weights go to each once.
    """

    runners: int
    batch: int
    rollout: float
    learners: int = 0
    exchanges: int = 1
    row_bytes: float = 40.0
    weight_bytes: float = 0.0
    cores: float = float("inf")
    machines: int = 1


def limits(costs: Costs, setup: Setup) -> dict[str, float]:
    """Env steps per second that each part could take if the others took no time."""
    learners = max(1, setup.learners)
    learn = costs.learn / learners + (costs.exchange * setup.exchanges / setup.batch if learners > 1 else 0.0)
    weights = (costs.call * setup.runners + costs.byte * setup.weight_bytes * setup.machines) / setup.batch
    carry = costs.call / setup.rollout + costs.byte * setup.row_bytes + weights
    runners = setup.runners / costs.step
    if costs.cpu:
        runners = min(runners, setup.cores / costs.cpu)
    return {"runners": runners, "carrying": 1 / carry, "learners": 1 / learn}


def steps_per_second(costs: Costs, setup: Setup, *, waits: bool) -> float:
    """Env steps per second of a training.

    Args:
        costs: what things take.
        setup: what there is.
        waits: whether runners and learners take turns (PPO), so that their times add up. Otherwise they work beside
            each other (IMPALA, APPO), and the slowest says how fast it goes.
    """
    each = limits(costs, setup).values()
    return 1 / sum(1 / limit for limit in each) if waits else min(each)


# -- points -----------------------------------------------------------------------------------------------------------

SLEEP, LEARN, NUM_ENVS = 0.005, 0.0005, 4
BATCH = {"ppo": 800, "impala": 400}
FRAGMENT = 25
POINTS = [("ppo", 1, 0), ("ppo", 4, 0), ("ppo", 8, 0), ("ppo", 8, 2)]
POINTS += [("impala", 1, 0), ("impala", 4, 0), ("impala", 8, 0)]


def slow(learner_class: Any, seconds: float) -> Any:
    """The learner class, asleep for so long before an update, divided by the number of learners."""

    class Slow(learner_class):  # type: ignore[misc]
        def before_gradient_based_update(self, **kwargs: Any) -> None:
            time.sleep(seconds / self.peers.size)
            super().before_gradient_based_update(**kwargs)

    return Slow


def training(name: str, runners: int, learners: int, executor: str) -> Any:
    """An algorithm of the measured kind."""
    batch = BATCH[name]
    config = get_algorithm_config(name).environment(CostlyEnv, env_config={"sleep": SLEEP}).debugging(seed=1)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=NUM_ENVS).execution(executor=executor)
    config.training(train_batch_size=batch).rl_module(model_config={"fcnet_hiddens": [64, 64]})
    if name == "ppo":
        config.training(minibatch_size=batch // max(1, learners), num_epochs=1)
    else:
        config.env_runners(rollout_fragment_length=FRAGMENT).reporting(min_time_s_per_iteration=0)
    learn = LEARN if name == "ppo" else 2 * LEARN  # so that eight runners are more than the learner can take
    learner_class = slow(config.get_default_learner_class(), learn * batch)
    return config.learners(num_learners=learners, learner_class=learner_class, compile=None).build_algo()


def measured(name: str, runners: int, learners: int, executor: str, iterations: int) -> dict[str, Any]:
    """Env steps per second that were trained on, and the seconds of one learner for a step of a batch."""
    with training(name, runners, learners, executor) as algo:
        for _ in range(3):
            result = algo.train()
        before, updates = trained(result), []
        start = time.perf_counter()
        while time.perf_counter() - start < 4.0 * iterations:
            result = algo.train()
            updates.append(result["timers"]["learner_update"])
        seconds, steps = time.perf_counter() - start, trained(result) - before
    return {"steps_per_s": round(steps / seconds, 1), "learn": sum(updates) * max(1, learners) / steps}


def trained(result: dict[str, Any]) -> int:
    """Env steps that the learner has trained on so far: where it cannot keep up, IMPALA drops what is older."""
    return int(result["learners"]["default_policy"]["num_module_steps_trained_lifetime"])


def costs_of_calls(executor_name: str) -> dict[str, float]:
    """What a call takes, and a byte of a result."""
    with make_executor(executor_name) as executor:
        actor = executor.spawn(Holder, 10)
        actor.ready.result()
        calls = {
            "call": lambda: [actor.call("nothing").result() for _ in range(BLOCK)],
            "byte": lambda: float(actor.call("sample").result()["obs"].max()),
        }
        found = medians(calls, 9, warm_up=2)
    return {"call": found["call"] / BLOCK, "byte": found["byte"] / 10e6}


def predicted(costs: Costs, name: str, runners: int, learners: int) -> float:
    """What the model says of a point."""
    batch = BATCH[name]
    rollout = batch / runners if name == "ppo" else FRAGMENT * NUM_ENVS
    setup = Setup(runners, batch, rollout, learners, weight_bytes=20_000)
    return steps_per_second(costs, setup, waits=name == "ppo")


@click.command()
@click.option("--executor", default="ray", show_default=True)
@click.option("--iterations", default=4, show_default=True, help="Lengths of four seconds of each training.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(executor: str, iterations: int, json_path: Path | None) -> None:
    """Measure the costs with one runner, then trainings with more, beside what the model says of them."""
    with its_cluster(executor, 100) as about:
        calls, costs, rows = costs_of_calls(executor), {}, []
        for name, runners, learners in POINTS:
            row = measured(name, runners, learners, executor, iterations)
            if runners == 1:  # from here on the model knows the algorithm
                rest = 1 / row["steps_per_s"] - (row["learn"] if name == "ppo" else 0.0)
                costs[name] = Costs(step=rest, learn=row["learn"], **calls)
            says = round(predicted(costs[name], name, runners, learners), 1)
            rows.append({"algorithm": name, "runners": runners, "learners": learners, **row, "predicted": says})
            click.echo(
                f"{name:>7} {runners} runner(s) {learners} learner(s) {row['steps_per_s']:8} steps/s, model {says}"
            )
    if json_path is not None:
        report = {
            "executor": executor,
            **about,
            "machine": describe_machine(),
            "costs": {name: asdict(one) for name, one in costs.items()},
            "points": rows,
        }
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
