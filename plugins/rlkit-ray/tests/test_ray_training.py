"""Training on a real cluster of two nodes: the numbers of one process, and a node that is lost in the middle."""

from __future__ import annotations

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("rlkit_impala", reason="it trains with PPO and IMPALA")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

from contextlib import contextmanager  # noqa: E402

from driver_programs import eventually  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from rlkit_impala import IMPALAConfig  # noqa: E402
from rlkit_ppo import PPOConfig  # noqa: E402

MEMORY = 150_000_000


@pytest.fixture
def cluster():
    """Two nodes, of two CPUs and one; this process is on the first, and the second may be taken away."""
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    made.second = made.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"quiet": 1})
    made.wait_for_nodes()
    ray.init(address=made.address)
    yield made
    ray.shutdown()
    made.shutdown()


def ppo(executor, runners=2, **options):
    config = PPOConfig().environment("CartPole-v1").debugging(seed=3)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=4).execution(executor=executor, **options)
    return config.training(train_batch_size=512, minibatch_size=128, num_epochs=4, lr=1e-3)


def where(_):
    import ray

    return ray.get_runtime_context().get_node_id()


@contextmanager
def one_on_each_node():
    """Takes one of the first node's CPUs, so that of two actors each has a node to itself."""

    class Guest:
        def here(self):
            return True

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    guest = ray.remote(Guest).options(num_cpus=1, scheduling_strategy=here).remote()
    assert ray.get(guest.here.remote())
    yield
    ray.kill(guest)


def train_to(algo, level, iterations):
    best = 0.0
    for _ in range(iterations):
        result = algo.train()
        best = max(best, result["env_runners"]["episode_return_mean"])
        if best >= level:
            break
    assert best >= level
    return result


def trained(config):
    algo = config.build()
    try:
        results = [algo.train()["env_runners"] for _ in range(2)]
        weights = algo.learner_group.get_weights().state["default_policy"]
        return [result["episode_return_mean"] for result in results], {k: np.array(v) for k, v in weights.items()}
    finally:
        algo.stop()


def test_the_same_numbers_here_in_processes_and_on_ray(cluster):
    returns, weights = trained(ppo("local"))
    for executor in ("process", "ray"):
        others, other_weights = trained(ppo(executor))
        assert others == returns, executor
        assert all(np.array_equal(other_weights[name], weights[name]) for name in weights), executor


def agents(executor, **options):
    """Three agents of two policies, and a runner that evaluates."""
    config = ppo(executor, **options)
    config.environment("rlkit_core.testing:MultiAgentCartPole", env_config={"num_agents": 3})
    config.multi_agent(policies={"even", "odd"}, policy_mapping_fn=lambda agent, *_: ("even", "odd")[int(agent) % 2])
    return config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=4)


def test_agents_and_evaluation_are_the_same_on_ray(cluster):
    results = []
    for executor, options in (("local", {}), ("ray", {"evaluation_options": {"resources": {"quiet": 1}}})):
        with agents(executor, **options).build() as algo:
            found = [algo.train() for _ in range(2)]
            if executor == "ray":
                assert algo.eval_env_runner_group.foreach_env_runner(where) == [cluster.second.node_id]
            state = algo.learner_group.get_weights().state
        returns = [(one["env_runners"], one["evaluation"]["env_runners"]) for one in found]
        returns = [[part["episode_return_mean"] for part in parts] for parts in returns]
        results.append((returns, {(m, name): np.array(v) for m in state for name, v in state[m].items()}))
    (returns, weights), (others, other_weights) = results
    assert others == returns
    assert all(np.array_equal(other_weights[name], weights[name]) for name in weights)


def test_ppo_goes_on_when_a_node_is_lost(cluster):
    with one_on_each_node():
        algo = ppo("ray", runner_options={"num_cpus": 1}).build()
    try:
        first = algo.train()
        assert first["fault_tolerance"]["num_healthy_env_runners"] == 2
        assert len(set(algo.env_runner_group.foreach_env_runner(where))) == 2
        cluster.remove_node(cluster.second, allow_graceful=False)
        result = train_to(algo, 450, 320)
        assert result["fault_tolerance"]["num_env_runner_restarts"] >= 1
        assert result["fault_tolerance"]["num_healthy_env_runners"] == 2
        weights = algo.learner_group.get_weights().state["default_policy"]

        def own(runner):
            return {name: np.array(value) for name, value in runner.module["default_policy"].get_state().items()}

        algo.sync_weights()
        for state in algo.env_runner_group.foreach_env_runner(own):
            assert all(np.array_equal(state[name], np.array(weights[name])) for name in state)
        assert len(set(algo.env_runner_group.foreach_env_runner(where))) == 1
    finally:
        algo.stop()


def test_impala_goes_on_when_a_node_is_lost(cluster):
    config = IMPALAConfig().environment("CartPole-v1").debugging(seed=3)
    config.env_runners(num_env_runners=2).execution(executor="ray", runner_options={"num_cpus": 1})
    with one_on_each_node():
        algo = config.build()
    try:
        algo.train()
        cluster.remove_node(cluster.second, allow_graceful=False)
        result = train_to(algo, 300, 400)
        assert result["fault_tolerance"]["num_env_runner_restarts"] >= 1
        assert result["fault_tolerance"]["num_healthy_env_runners"] == 2
    finally:
        algo.stop()


def test_learners_go_on_from_a_survivor(cluster):
    config = ppo("ray", runners=0, learner_options={"num_cpus": 1}).learners(num_learners=2, compile=None)
    with one_on_each_node():
        algo = config.build()
    try:
        algo.train()
        assert len(set(algo.learner_group.foreach_learner(where))) == 2
        cluster.remove_node(cluster.second, allow_graceful=False)
        # A worker outlives its node for a moment, and may learn meanwhile.
        assert eventually(lambda: algo.train()["fault_tolerance"]["num_learner_restarts"] >= 1, 60.0)
        assert len(set(algo.learner_group.foreach_learner(where))) == 1

        def weights(learner):
            return {name: np.array(value) for name, value in learner.module["default_policy"].get_state().items()}

        one, two = algo.learner_group.foreach_learner(weights)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    finally:
        algo.stop()
