"""A search with Ray Tune: trials that are stopped early, and one that is started again."""

from __future__ import annotations

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("pyarrow", reason="Ray Tune needs pyarrow")
pytest.importorskip("tensorboardX", reason="Ray Tune needs tensorboardX")
pytest.importorskip("rlkit_ppo", reason="it trains with PPO")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

from pathlib import Path  # noqa: E402

from ray import tune  # noqa: E402

from rlkit_core.algorithm import Algorithm  # noqa: E402
from rlkit_ppo import PPOConfig  # noqa: E402
from rlkit_ray.tune import trainable  # noqa: E402


@pytest.fixture
def cluster():
    ray.init("local", num_cpus=2, object_store_memory=150_000_000, include_dashboard=False)
    yield
    ray.shutdown()


def test_a_search_with_checkpoints_and_early_stop(cluster, tmp_path):
    config = PPOConfig().environment("CartPole-v1").debugging(seed=1).env_runners(num_env_runners=1)
    config.training(train_batch_size=64, minibatch_size=64, num_epochs=1).execution(executor="ray")
    scheduler = tune.schedulers.MedianStoppingRule(grace_period=1, min_samples_required=1)
    tuner = tune.Tuner(
        trainable(config, iterations=3, checkpoint_every=1),
        param_space={"lr": tune.grid_search([1e-4, 1e-3])},
        tune_config=tune.TuneConfig(
            metric="env_runners/episode_return_mean", mode="max", scheduler=scheduler, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="search", stop={"training_iteration": 2}),
    )
    results = tuner.fit()
    assert not results.errors
    best = results.get_best_result()
    assert best.metrics["training_iteration"] == 2  # stopped before the third
    with best.checkpoint.as_directory() as path:
        algo = Algorithm.from_checkpoint(Path(path) / "algorithm")
    assert algo.iteration == 2
    assert algo.config.lr == best.config["lr"]
    algo.stop()
