"""Names that people bring along from RLlib and other libraries, and what the config says about them."""

from __future__ import annotations

from typing import Final

from rlkit_core.settings import OtherNames

_RENAMED = {
    "num_sgd_iter": "num_epochs",
    "sgd_minibatch_size": "minibatch_size",
    "model": "model_config",
    "model_config_dict": "model_config",
    "num_workers": "num_env_runners",
    "num_rollout_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_learner_workers": "num_learners",
    "num_gpus_per_learner_worker": "num_gpus_per_learner",
    "evaluation_num_workers": "evaluation_num_env_runners",
}
"""Older names of RLlib, accepted with a note."""

_OTHER_LIBRARIES = {
    "learning_rate": "lr",
    "discount": "gamma",
    "discount_factor": "gamma",
    "gae_lambda": "lambda_",
    "lambda": "lambda_",
    "lam": "lambda_",
    "n_steps": "rollout_fragment_length",
    "num_steps": "rollout_fragment_length",
    "n_envs": "num_envs_per_env_runner",
    "num_envs": "num_envs_per_env_runner",
    "n_epochs": "num_epochs",
    "update_epochs": "num_epochs",
    "epochs": "num_epochs",
    "batch_size": "minibatch_size",
    "mini_batch_size": "minibatch_size",
    "ent_coef": "entropy_coeff",
    "entropy_coef": "entropy_coeff",
    "vf_coef": "vf_loss_coeff",
    "value_loss_coef": "vf_loss_coeff",
    "max_grad_norm": "grad_clip",
    "clip_range": "clip_param",
    "clip_coef": "clip_param",
    "clip_range_vf": "value_clip",
    "clip_vloss": "value_clip",
    "target_kl": "kl_target",
    "policy_kwargs": "model_config",
    "net_arch": "model_config",
    "env_id": "env",
    "env_name": "env",
    "env_kwargs": "env_config",
    "random_seed": "seed",
    "callback": "on_train_result",
    "buffer_size": "replay_buffer_config",
    "learning_starts": "num_steps_sampled_before_learning_starts",
    "target_update_interval": "target_network_update_freq",
    "num_workers_per_learner": "num_env_runners",
}
"""Names used by other libraries; refused, naming ours."""

_CONNECTORS = (
    "there are no connector pipelines; preprocessing and normalisation live in the module (its setup() and "
    "_forward methods, or an encoder), and advantages are computed by the Learner"
)
_PROCESSES = "where actors run, and how they are watched, is up to the executor: execution(executor=...)"
_EPISODES = (
    "nothing is called per episode or per step; take statistics from result['env_runners'] in "
    "on_train_result, or wrap the environment"
)
_COMPILE = "use learners(compile=...)"

_REFUSED = {
    **dict.fromkeys(
        (
            "env_to_module_connector",
            "module_to_env_connector",
            "learner_connector",
            "add_default_connectors_to_env_to_module_pipeline",
            "add_default_connectors_to_module_to_env_pipeline",
            "add_default_connectors_to_learner_pipeline",
            "enable_connectors",
            "observation_filter",
            "preprocessor_pref",
        ),
        _CONNECTORS,
    ),
    **dict.fromkeys(
        (
            "delay_between_env_runner_restarts_s",
            "restart_failed_sub_environments",
            "num_consecutive_env_runner_failures_tolerance",
            "env_runner_health_probe_timeout_s",
            "env_runner_restore_timeout_s",
            "sample_timeout_s",
            "num_cpus_per_env_runner",
            "num_gpus_per_env_runner",
            "custom_resources_per_env_runner",
            "num_cpus_per_learner",
            "num_aggregator_actors_per_learner",
            "custom_resources_per_learner",
            "max_requests_in_flight_per_aggregator_actor",
            "validate_env_runners_after_construction",
            "create_local_env_runner",
            "create_env_on_local_worker",
            "merge_env_runner_states",
            "broadcast_env_runner_states",
            "evaluation_sample_timeout_s",
            "placement_strategy",
            "num_cpus_for_main_process",
        ),
        _PROCESSES,
    ),
    **dict.fromkeys(
        (
            "on_episode_created",
            "on_episode_start",
            "on_episode_step",
            "on_episode_end",
            "on_sample_end",
            "on_environment_created",
            "on_env_runners_recreated",
            "keep_per_episode_custom_metrics",
        ),
        _EPISODES,
    ),
    **dict.fromkeys(
        (
            "torch_compile_learner",
            "torch_compile_learner_what_to_compile",
            "torch_compile_learner_dynamo_mode",
            "torch_compile_learner_dynamo_backend",
            "torch_compile_worker",
            "torch_compile_worker_dynamo_mode",
            "torch_compile_worker_dynamo_backend",
            "eager_tracing",
            "eager_max_retraces",
        ),
        _COMPILE,
    ),
    **dict.fromkeys(
        (
            "num_gpu_loader_threads",
            "num_multi_gpu_tower_stacks",
            "minibatch_buffer_size",
            "learner_queue_timeout",
            "timeout_s_sampler_manager",
            "timeout_s_aggregator_manager",
            "use_env_runner_state_server",
        ),
        "there are no loader threads, aggregators or state servers; rollouts are arrays, put together where they are "
        "learned from",
    ),
    **dict.fromkeys(
        ("opt_type", "decay", "momentum"),
        "the optimizer is Adam; override configure_optimizers_for_module() in a Learner subclass for another",
    ),
    **dict.fromkeys(
        ("replay_proportion", "replay_ratio", "replay_buffer_num_slots"),
        "IMPALA learns from each batch once; APPO's circular buffer uses batches several times",
    ),
    "simple_queue_size": "use training(learner_queue_size=...), with use_circular_buffer=False",
    "vtrace": "IMPALA and APPO always correct with V-trace; leave it out",
    "vtrace_drop_last_ts": "the last step of a rollout is bootstrapped, never dropped",
    "use_gae": "PPO's advantages are always GAE's, those of IMPALA and APPO V-trace's; leave it out",
    "lr_schedule": "write the schedule as lr=[[0, start], [step, end]]",
    "entropy_coeff_schedule": "write the schedule as entropy_coeff=[[0, start], [step, end]]",
    "torch_skip_nan_gradients": "use learners(on_nonfinite='skip')",
    "optimizer": "override configure_optimizers_for_module() in a Learner subclass and pass learner_class",
    "render_env": "pass env_config={'render_mode': 'human'}",
    "action_mask_key": "the key is always 'action_mask', at the root of a Dict observation",
    "is_atari": "nothing depends on it; name the wrappers in the environment",
    "env_task_fn": "vary the task inside the environment",
    "episode_lookback_horizon": "rollouts are arrays [T, N]; there are no episode objects to look back into",
    "episodes_to_numpy": "rollouts are numpy arrays already",
    "compress_observations": "rollouts are written in place and never compressed",
    "remote_worker_envs": "use gym_env_vectorize_mode='async'",
    "remote_env_batch_wait_ms": "use gym_env_vectorize_mode='async'",
    "env_runner_cls": "the runner is chosen from the environment",
    "num_gpus": "use learners(num_gpus_per_learner=...)",
    "exploration_config": "exploration lives in the module's _forward_exploration",
    "count_steps_by": "steps are counted as environment steps",
    "always_attach_evaluation_results": "results hold 'evaluation' in the iterations that evaluated",
    "logger_config": "result writers come from plugins (rlkit_result_writers)",
    "logger_creator": "result writers come from plugins (rlkit_result_writers)",
    "_validate_config": "validation cannot be turned off; correct the setting that it names",
    "_enable_rl_module_api": "there is only the RLModule API",
    "eager_mode": "TensorFlow is not built",
    "tf_session_args": "TensorFlow is not built",
}
"""Settings of RLlib that this design drops, each with what replaces it."""

_METHODS = {
    "rollouts": "use env_runners(...)",
    "exploration": "use env_runners(explore=...); how to explore lives in the module's _forward_exploration",
    "offline_data": "training from recorded data is not part of this library",
    "python_environment": "set environment variables before Python starts",
    "build_env_to_module_connector": _CONNECTORS,
    "build_module_to_env_connector": _CONNECTORS,
    "build_learner_connector": _CONNECTORS,
}
"""Methods of RLlib's config that this one does not have."""

OTHER_NAMES: Final = OtherNames(
    renamed=_RENAMED, elsewhere=_OTHER_LIBRARIES, refused=_REFUSED, methods=_METHODS, origin="RLlib"
)
