"""The settings that every algorithm has: one field line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from rlkit_core.algorithm.config import converters as to
from rlkit_core.algorithm.config import policies as by_module
from rlkit_core.algorithm.config.events import callbacks_classes, of_event
from rlkit_core.settings import (
    OtherNames,
    SectionedSettings,
    boolean,
    either,
    integer,
    mapping,
    number,
    one_of,
    optional,
    schedule,
    section,
    setting,
)

if TYPE_CHECKING:
    import gymnasium as gym

    from rlkit_core.algorithm.config.policies import PolicySpec
    from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec


@attrs.define(slots=False)
class CoreSettings(SectionedSettings):
    """The core's sections and their settings; ``AlgorithmConfig`` adds behaviour."""

    # Names of RLlib and other libraries, and what to say of each.
    other_names = OtherNames.read("rlkit_core.algorithm.config", "other_names.json")

    api_stack = section("Which generation of the API is used; there is only the new one.")
    framework = section("The tensor framework of modules and learners.", positional="framework")
    environment = section("The environment, its spaces and how its actions and rewards are treated.", positional="env")
    env_runners = section("How experience is collected.")
    learners = section("How the modules are updated.")
    resources = section("What the machine gives to this run.", also=("num_learners", "num_gpus_per_learner"))
    training = section("The algorithm's own numbers.", also=("learner_class", "learner_config_dict", "model_config"))
    rl_module = section("The networks.")
    multi_agent = section("Modules, and which agent uses which.", also=("algorithm_config_overrides_per_module",))
    evaluation = section("Evaluation with the deterministic policy beside training.")
    reporting = section("What ``train()`` reports, and how much work one call does.")
    callbacks = section(
        "What is called when something has happened, at most once a sample.", positional="callbacks_class"
    )
    checkpointing = section("When a run saves checkpoints, and which it keeps.")
    debugging = section("Seed and log level.")
    fault_tolerance = section("What happens when something dies.")
    experimental = section("Settings that may change.")
    execution = section("Where runners and learners live.", others="the executor's own")
    plugin = section("Settings of plugins' own; see :meth:`AlgorithmConfig.plugin`.")

    enable_rl_module_and_learner: bool = setting(
        True, section="api_stack", help="Always True.", converter=to.always_true
    )
    enable_env_runner_and_connector_v2: bool = setting(
        True, section="api_stack", help="Always True.", converter=to.always_true
    )
    _framework: str = setting(
        "torch", section="framework", help="'torch', or one that a plugin brings.", converter=to.framework
    )

    env: str | type[Any] | Callable[..., Any] | None = setting(
        section="environment", help="Gymnasium id, env class, or function that makes an env.", converter=to.env
    )
    env_config: dict[str, Any] = setting(
        {}, section="environment", help="Free-form arguments of the environment.", converter=mapping
    )
    wrappers: list[dict[str, Any]] = setting(
        [],
        section="environment",
        help="What is put around each env, the innermost first: 'package.module:Wrapper', a plugin's by name, a bundle "
        "('atari', 'minigrid'), a class or function, or {'name': any of these, **its arguments}, with "
        "training_only=True where evaluation goes without it.",
        converter=to.wrapper_entries,
    )
    observation_space: gym.Space[Any] | None = setting(
        section="environment", help="What modules observe, if not the env's own space.", converter=optional(to.space)
    )
    action_space: gym.Space[Any] | None = setting(
        section="environment", help="What modules act in, if not the env's own space.", converter=optional(to.space)
    )
    clip_rewards: bool | float | None = setting(
        section="environment",
        help="True: train on the sign of rewards; a number c: clip them to [-c, c]. Reported returns stay as they are.",
        converter=optional(either(boolean, number(gt=0))),
    )
    normalize_actions: bool = setting(
        True, section="environment", help="Modules act in [-1, 1], scaled to a bounded Box.", converter=boolean
    )
    clip_actions: bool = setting(
        True, section="environment", help="Clip continuous actions to the Box's bounds.", converter=boolean
    )
    disable_env_checking: bool = setting(
        True,
        section="environment",
        help="Leave out gymnasium's passive env checker, which costs time each step.",
        converter=boolean,
    )
    replay: bool = setting(
        True,
        section="environment",
        help="A resumed run goes on in the middle of episodes: each env is reset with its seed and given its actions "
        "again. False: it begins with fresh episodes.",
        converter=boolean,
    )
    replay_limit: int = setting(
        20_000,
        section="environment",
        help="An open episode of more steps is not replayed; a resumed run begins a fresh one in that env.",
        converter=integer(ge=1),
    )

    env_runner_cls: type[Any] | None = setting(
        section="env_runners",
        help="A class that gives rollouts in place of an env that is stepped here (rlkit_core.protocols.EnvRunner), or "
        "its 'package.module:Class'; evaluation plays in the env, where there is one.",
        converter=optional(to.class_with("sample", "a class with the methods of rlkit_core.protocols.EnvRunner")),
    )
    num_env_runners: int = setting(
        0,
        section="env_runners",
        help="Runners in processes of their own; 0 samples in this process.",
        converter=integer(ge=0),
    )
    max_requests_in_flight_per_env_runner: int = setting(
        1,
        section="env_runners",
        help="Rollouts that each runner has under way while an asynchronous algorithm learns.",
        converter=integer(ge=1),
        needs="num_env_runners",
    )
    num_envs_per_env_runner: int = setting(
        1, section="env_runners", help="Environments that one runner steps together.", converter=integer(ge=1)
    )
    gym_env_vectorize_mode: str = setting(
        "auto",
        section="env_runners",
        help="How envs are stepped: 'sync' one by one in this process, 'async' in a process each, 'gymnasium_sync', "
        "'vector_entry_point' by the env's own vector class, 'envpool' by that package; 'auto' is 'sync', from 64 envs "
        "on 'vector_entry_point' where there is one.",
        converter=to.vectorize_mode,
    )
    rollout_fragment_length: int | str = setting(
        "auto",
        section="env_runners",
        help="Steps of each env in one sample; 'auto' fits the train batch size.",
        converter=either(one_of("auto"), integer(ge=1)),
    )
    batch_mode: str = setting(
        "truncate_episodes",
        section="env_runners",
        help="Rollouts cut episodes and bootstrap.",
        converter=one_of("truncate_episodes", "complete_episodes"),
        only=("truncate_episodes",),
        only_why="rollouts are [T, N] arrays that cut episodes and bootstrap their value",
    )
    explore: bool = setting(
        True, section="env_runners", help="Sample training data with forward_exploration.", converter=boolean
    )

    exploration_noise: dict[str, Any] | None = setting(
        section="env_runners",
        help="How the noise of continuous actions hangs together over time: 'independent' (None), 'ou', 'pink' or "
        "{'type': 'pink', 'length': 1000}; each step's noise is standard normal whichever.",
        converter=to.exploration_noise,
    )

    num_learners: int = setting(
        0,
        section="learners",
        help="Learners, in processes of their own, that average their gradients; 0 learns in this process.",
        converter=integer(ge=0),
    )
    max_requests_in_flight_per_learner: int = setting(
        3,
        section="learners",
        help="Updates that may wait or run at once where they are not waited for; data beyond is dropped, and counted.",
        converter=integer(ge=1),
        needs="num_learners",
    )
    num_gpus_per_learner: float = setting(
        0,
        section="learners",
        help="GPUs of one learner; 0 learns on the CPU, anything above (a share of a GPU too) on local_gpu_idx.",
        converter=number(ge=0),
    )
    local_gpu_idx: int = setting(
        0,
        section="learners",
        help="Which of the GPUs that torch sees a learner with num_gpus_per_learner > 0 takes.",
        converter=integer(ge=0),
    )
    _learner_class: type[Any] | None = setting(
        section="learners",
        help="Learner subclass, or its 'package.module:Class', if not the algorithm's own.",
        converter=optional(to.class_with("compute_loss_for_module", "a Learner subclass")),
    )
    learner_config_dict: dict[str, Any] = setting(
        {}, section="learners", help="Free-form settings of a custom Learner.", converter=mapping
    )
    compile: str | None = setting(
        "auto",
        section="learners",
        help="The gradient step: None runs it eagerly, 'capture' records it once and replays it, 'inductor' compiles "
        "it (slow to start), 'auto' replays what is the same to the last bit; or another installed step engine.",
        converter=optional(to.name),
    )
    mixed_precision: str | None = setting(
        section="learners",
        help="'bf16' computes the forward pass of training in bfloat16 where torch holds that safe; weights, losses, "
        "gradients and optimizers stay float32, acting too. None is float32 throughout.",
        converter=optional(one_of("bf16")),
    )
    on_nonfinite: str = setting(
        "raise",
        section="learners",
        help="A loss or gradient that is NaN or infinite: 'raise', 'skip' that minibatch, or 'zero' the gradients.",
        converter=one_of("raise", "skip", "zero"),
    )

    torch_threads: int | str | None = setting(
        "auto",
        section="resources",
        help="Torch threads while training and evaluating, put back afterwards; 'auto' is 1 for small networks on "
        "minibatches of at most 2,048 rows, whose layers are quicker than the hand-over to a second thread; None "
        "leaves them alone.",
        converter=optional(either(one_of("auto"), integer(ge=1))),
    )

    gamma: float = setting(0.99, section="training", help="Discount factor.", converter=number(ge=0, le=1))
    lr: float | list[list[float]] = setting(
        0.001, section="training", help="Learning rate, or [[step, value], ...].", converter=schedule(ge=0)
    )
    torch_lr_scheduler_classes: list[Callable[..., Any]] = setting(
        [],
        section="experimental",
        help="Torch learning-rate schedulers, (optimizer) -> scheduler, stepped once per update, that start from lr.",
        converter=to.functions,
        aliases=("_torch_lr_scheduler_classes",),
    )
    grad_clip: float | None = setting(
        section="training", help="Bound on gradients; None does not clip.", converter=optional(number(gt=0))
    )
    grad_clip_by: str = setting(
        "global_norm",
        section="training",
        help="What grad_clip bounds: 'global_norm', 'norm' or 'value'.",
        converter=one_of("global_norm", "norm", "value"),
        needs="grad_clip",
    )
    train_batch_size: int = setting(
        32, section="training", help="Env steps per update, over all learners.", converter=integer(ge=1)
    )
    _train_batch_size_per_learner: int | None = setting(
        section="training",
        help="Env steps per update and learner; None splits train_batch_size.",
        converter=optional(integer(ge=1)),
    )
    num_epochs: int = setting(1, section="training", help="Passes over each train batch.", converter=integer(ge=1))
    minibatch_size: int | None = setting(
        section="training",
        help="Rows of one gradient step; None takes the whole batch.",
        converter=optional(integer(ge=1)),
    )
    shuffle_batch_per_epoch: bool = setting(
        False, section="training", help="Shuffle the batch before each epoch.", converter=boolean
    )

    _model_config: dict[str, Any] = setting(
        {},
        section="rl_module",
        help="Settings of the networks: a dict or a DefaultModelConfig.",
        converter=to.model_config,
    )
    _rl_module_spec: RLModuleSpec | MultiRLModuleSpec | None = setting(
        section="rl_module",
        help="RLModuleSpec or MultiRLModuleSpec, if not the algorithm's own.",
        converter=to.module_spec,
    )
    catalogs: list[str | type[Any]] = setting(
        [],
        section="rl_module",
        help="Catalogs, by name or class, that come before the algorithm's own.",
        converter=to.catalogs,
    )
    mixins: list[str] = setting(
        [],
        section="rl_module",
        help="API mixins, 'distribution/name', that are put onto the module's class, the first one first of all.",
        converter=to.names,
    )
    components: dict[str, Any] = setting(
        {}, section="rl_module", help="Components by place: {'encoder': 'distribution/name'}.", converter=to.components
    )
    _algorithm_config_overrides_per_module: dict[str, dict[str, Any]] = setting(
        {},
        section="rl_module",
        help="Settings that differ for a module: {module_id: {...}}.",
        converter=by_module.settings_per_module,
        validator=by_module.check_overrides_per_module,
    )

    policies: list[str] | dict[str, RLModuleSpec | PolicySpec | None] | None = setting(
        section="multi_agent",
        help="Module ids, or {id: RLModuleSpec, PolicySpec or None}; None is the ids of a MultiRLModuleSpec, or "
        "'default_policy' alone.",
        converter=by_module.policies,
        validator=by_module.check_policies,
    )
    _policy_mapping_fn: Callable[..., str] | None = setting(
        section="multi_agent",
        help="(agent_id, episode) -> module id, asked once per agent and episode; None maps all agents to a sole "
        "module, or each to the one of its own id.",
        converter=optional(to.function),
    )
    policies_to_train: list[str] | Callable[..., bool] | None = setting(
        section="multi_agent",
        help="Module ids that learn, or (module_id, batch) -> bool; None is all.",
        converter=by_module.policies_to_train,
    )

    evaluation_interval: int | None = setting(
        section="evaluation", help="Evaluate every so many iterations; None never.", converter=optional(integer(ge=1))
    )
    evaluation_duration: int | str = setting(
        10,
        section="evaluation",
        help="How much to evaluate, in evaluation_duration_unit; 'auto': for as long as the training beside it takes.",
        converter=either(one_of("auto"), integer(ge=1)),
    )
    evaluation_duration_unit: str = setting(
        "episodes",
        section="evaluation",
        help="'episodes', each from a seed of its own, or 'timesteps' over all evaluation runners.",
        converter=one_of("episodes", "timesteps"),
    )
    evaluation_force_reset_envs_before_iteration: bool = setting(
        True,
        section="evaluation",
        help="Evaluation by timesteps begins with fresh episodes; False goes on with those that are open.",
        converter=boolean,
    )
    custom_evaluation_function: Callable[..., dict[str, Any]] | None = setting(
        section="evaluation",
        help="(algorithm, evaluation runners) -> dict of results, in place of playing.",
        converter=optional(to.function),
    )
    evaluation_config: dict[str, Any] = setting(
        {},
        section="evaluation",
        help="Settings that differ while evaluating; explore is False unless given.",
        converter=to.some_settings,
        validator=to.check_overrides,
    )
    evaluation_num_env_runners: int = setting(
        0,
        section="evaluation",
        help="Evaluation runners in processes of their own; 0 evaluates in this process.",
        converter=integer(ge=0),
    )
    evaluation_parallel_to_training: bool = setting(
        False,
        section="evaluation",
        help="Evaluate, with the weights from before it, while an iteration trains.",
        converter=boolean,
        needs="evaluation_interval",
    )

    metrics_num_episodes_for_smoothing: int = setting(
        100, section="reporting", help="Episodes that returns are averaged over.", converter=integer(ge=1)
    )
    min_time_s_per_iteration: float | None = setting(
        section="reporting", help="One train() lasts at least this long.", converter=optional(number(ge=0))
    )
    min_train_timesteps_per_iteration: int = setting(
        0,
        section="reporting",
        help="One train() trains on at least so many env steps.",
        converter=integer(ge=0),
        only=(0,),
        only_why="not available in this version; use min_sample_timesteps_per_iteration",
    )
    min_sample_timesteps_per_iteration: int = setting(
        0, section="reporting", help="One train() samples at least so many env steps.", converter=integer(ge=0)
    )
    info_metrics: list[str] = setting(
        ["is_success"],
        section="reporting",
        help="Numbers in an episode's last info whose means are reported as NAME_mean.",
        converter=to.info_metrics,
    )
    writers: list[str] = setting(
        ["csv", "jsonl", "tensorboard"],
        section="reporting",
        help="What writes each result of a run, by name: the core's 'csv', 'jsonl' and 'tensorboard', or a plugin's.",
        converter=to.names,
    )
    log_gradients: bool = setting(
        False,
        section="reporting",
        help="Report the norm of every parameter's gradient, beside the joint norm that is always there.",
        converter=boolean,
    )
    callbacks_class: list[Any] = setting(
        [],
        section="callbacks",
        help="Class or object, or list of them, with on_... methods.",
        converter=callbacks_classes,
    )
    plugins: list[str] = setting(
        [], section="callbacks", help="Callbacks of installed plugins, by name: 'acme/early-stop'.", converter=to.names
    )
    on_algorithm_init: list[Callable[..., Any]] = of_event("on_algorithm_init")
    on_train_result: list[Callable[..., Any]] = of_event("on_train_result")
    on_evaluate_start: list[Callable[..., Any]] = of_event("on_evaluate_start")
    on_evaluate_end: list[Callable[..., Any]] = of_event("on_evaluate_end")
    on_env_runners_recreated: list[Callable[..., Any]] = of_event("on_env_runners_recreated")
    on_checkpoint_saved: list[Callable[..., Any]] = of_event("on_checkpoint_saved")
    on_checkpoint_loaded: list[Callable[..., Any]] = of_event("on_checkpoint_loaded")
    on_environment_created: list[Callable[..., Any]] = of_event("on_environment_created")
    on_episode_created: list[Callable[..., Any]] = of_event("on_episode_created")
    on_episode_start: list[Callable[..., Any]] = of_event("on_episode_start")
    on_episode_end: list[Callable[..., Any]] = of_event("on_episode_end")
    on_sample_end: list[Callable[..., Any]] = of_event("on_sample_end")

    checkpoint_every: float | str | None = setting(
        60.0,
        section="checkpointing",
        short="every",
        help="A run saves a checkpoint after so many seconds of training or '10 iterations'; None: only at its end.",
        converter=to.checkpoint_every,
    )
    checkpoint_keep: int = setting(
        3, section="checkpointing", short="keep", help="How many checkpoints a run keeps.", converter=integer(ge=1)
    )
    checkpoint_best: bool = setting(
        True,
        section="checkpointing",
        short="best",
        help="Whether a run keeps the checkpoint of its best evaluation beside them.",
        converter=boolean,
    )
    checkpoint_replay: str | bool = setting(
        "full",
        section="checkpointing",
        short="replay",
        help="A run's replay buffers: 'full' in every checkpoint it keeps, 'last' in the newest alone, False in none.",
        converter=one_of("full", "last", False),
    )

    seed: int | None = setting(
        section="debugging",
        help="Root of all random numbers; None draws one.",
        converter=optional(integer(ge=0, le=2**32 - 1)),
    )
    seed_resets: bool = setting(
        True,
        section="debugging",
        help="Each episode has a seed of its own, so that a resumed run can go on in its middle. False: envs go on "
        "with their own generators, where seeding is slow.",
        converter=boolean,
    )
    log_level: str | None = setting(
        section="debugging",
        help="Level of the 'rlkit_core' logger; None leaves it alone.",
        converter=one_of(None, "DEBUG", "INFO", "WARN", "WARNING", "ERROR"),
    )

    nonfinite_dir: str | None = setting(
        section="debugging",
        help="Where a minibatch with a non-finite loss or gradient is saved; None is a new temporary folder.",
        converter=optional(to.path),
    )

    plugin_config: dict[str, dict[str, Any]] = setting(
        {},
        section="plugin",
        help="Settings that plugins declare for themselves, by distribution: plugin('acme-rnd', bonus=0.5).",
        converter=to.plugin_config,
    )

    executor: str = setting(
        "auto",
        section="execution",
        help="Where runners and learners live that are not this process's own: 'process', 'local' (in this process, to "
        "debug; not for several learners), or a plugin's; 'auto' is 'process'.",
        converter=to.name,
    )
