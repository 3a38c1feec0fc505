"""How the core's settings must fit together; each check yields texts, so that one error can report all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlkit_core.algorithm.config.derived import DerivedSettings, specs_by_id
from rlkit_core.errors import did_you_mean
from rlkit_core.frameworks import TORCH, get_framework
from rlkit_core.learner.group.config import SEVERAL, learner_problems
from rlkit_core.plugins.discovery import RESERVED


def only_problems(config: DerivedSettings) -> Iterator[str]:
    """Values that are legal but cannot be honoured at present."""
    for item in config.known_settings().values():
        value = config.stored(item.name)
        if item.only is not None and value not in item.only:
            allowed = " or ".join(repr(one) for one in item.only)
            yield f"{item.section}({item.name}={value!r}): {item.only_why}; set it to {allowed}"


def settings_without_effect(config: DerivedSettings) -> Iterator[str]:
    """Settings that were set while the one they need is off."""
    known = config.known_settings()
    for name in sorted(config.set_by_user()):
        item = known[name]
        if item.needs and not config.stored(item.needs):
            off, value = known[item.needs], config.stored(item.needs)
            yield (
                f"{item.section}({item.spelled}={config.stored(name)!r}) changes nothing: it needs "
                f"{off.section}({off.spelled}=...), which is {value!r}"
            )


def core_problems(config: DerivedSettings) -> Iterator[str]:
    """Contradictions among the core's settings."""
    batch = config.train_batch_size_per_learner
    given = "minibatch_size" in config.set_by_user()  # otherwise prepared() takes the whole batch
    if given and config.minibatch_size is not None and config.minibatch_size > batch:
        yield (
            f"minibatch_size={config.minibatch_size} is larger than the train batch of one learner "
            f"(train_batch_size_per_learner={batch}); lower the one or raise the other"
        )
    known = set(config.policy_ids) | set(specs_by_id(config.stored("rl_module_spec")))
    trained = config.policies_to_train
    if trained is not None and not callable(trained):
        yield from _missing(trained, known, "policies_to_train")
    yield from _missing(config.algorithm_config_overrides_per_module, known, "algorithm_config_overrides_per_module")
    if config.env is None and config.observation_space is None and "env_config" in config.set_by_user():
        yield "env_config is set but no environment: environment('CartPole-v1', env_config={...})"
    yield from _evaluation_problems(config)
    yield from _service_problems(config)
    yield from wrapper_problems(config)
    yield from mixin_problems(config)
    yield from learner_problems(config)
    yield from _framework_problems(config)


def plugin_problems(config: DerivedSettings) -> Iterator[str]:
    """What the plugins that a config uses object to (hook ``rlkit_check_config``), each with its name.

    Each gets a frozen copy; others that are installed are not asked. A plugin that a script registered is asked too.

    Raises:
        PluginError: one of them raised, or returned something else than sentences.
    """
    from rlkit_core.algorithm.config.used import distributions_named
    from rlkit_core.plugins.host import default_host

    host, hook = default_host(), "rlkit_check_config"
    if not host.is_heard(hook):
        return
    used = distributions_named(config, host) | {RESERVED}
    for origin, problem in host.ask(hook, used, lambda: {"config": config.copy(copy_frozen=True)}):
        yield f"{problem} (said by {origin.distribution})"


def _missing(ids: Iterable[str], known: set[str], what: str) -> Iterator[str]:
    for module_id in ids:
        if module_id not in known:
            there = ", ".join(sorted(known))
            yield f"{what} names module {module_id!r}; there are {there}.{did_you_mean(module_id, sorted(known))}"


def _evaluation_problems(config: DerivedSettings) -> Iterator[str]:
    parallel = config.evaluation_parallel_to_training
    if parallel and not config.evaluation_num_env_runners:
        yield (
            "evaluation_parallel_to_training=True needs runners of its own: evaluation(evaluation_num_env_runners=1), "
            "or set it to False"
        )
    if parallel and config.custom_evaluation_function is not None:
        yield (
            "custom_evaluation_function runs in this process, between training: "
            "evaluation(evaluation_parallel_to_training=False)"
        )
    if config.evaluation_duration == "auto" and not parallel:
        yield (
            "evaluation_duration='auto' lasts as long as the training beside it: "
            "evaluation(evaluation_parallel_to_training=True, evaluation_num_env_runners=1), or give a number"
        )


def _service_problems(config: DerivedSettings) -> Iterator[str]:
    """An executor, learners elsewhere, a step engine or callbacks that are not installed, before anything starts."""
    from rlkit_core.errors import RLKitError
    from rlkit_core.execution.by_name import service_name
    from rlkit_core.plugins.host import default_host

    actors = config.num_env_runners or config.num_learners or config.evaluation_num_env_runners
    named = []
    if actors or config.executor != "auto":
        named.append((f"execution(executor={config.executor!r})", "executor", service_name(config.executor)))
    if config.num_learners:
        named.append((f"learners(num_learners={config.num_learners})", "learner_group", SEVERAL))
    if config.compile not in (None, "auto"):
        named.append((f"learners(compile={config.compile!r})", "step_engine", config.compile))
    named += [(f"callbacks(plugins=[{name!r}])", "callbacks", name) for name in config.plugins]
    named += [(f"reporting(writers=[{name!r}])", "writer", name) for name in config.writers]
    for setting, kind, name in named:
        try:
            default_host().get_service(kind, name)
        except RLKitError as error:
            yield f"{setting}: {error}"


def _framework_problems(config: DerivedSettings) -> Iterator[str]:
    """A framework without a learner for this algorithm."""
    name = config.framework_str
    if name == TORCH or config.stored("learner_class") is not None:
        return
    wanted = get_framework(name)
    if getattr(config.learner_class, "framework", None) != wanted.name:
        has = ", ".join(one.partition(":")[2] for one in wanted.algorithms) or "no algorithm"
        yield (
            f"framework({name!r}): it has no learner for {type(config).__name__}, only for {has}; give "
            f"learners(learner_class=...), a subclass of {wanted.learner_base.__name__}, or use framework('torch')"
        )


def wrapper_problems(config: DerivedSettings) -> Iterator[str]:
    """Wrappers that are not there, or were read from a file and are nobody's."""
    from rlkit_core.envs.wrapping.apply import find
    from rlkit_core.errors import RLKitError

    for entry in config.wrappers:
        if "name" not in entry:
            continue
        try:
            find(entry["name"])
        except RLKitError as error:
            yield f"environment(wrappers=[...]): {error}"


def mixin_problems(config: DerivedSettings) -> Iterator[str]:
    """API mixins that are not installed, or cannot be mixed in."""
    from rlkit_core.algorithm.config.used import mixins_named
    from rlkit_core.rl_module.apis.composition import mixin_problem

    for name in mixins_named(config):
        if problem := mixin_problem(name):
            yield f"rl_module(mixins=[{name!r}]): {problem}"


def model_config_problems(config: DerivedSettings, auto_includes: Iterable[str]) -> Iterator[str]:
    """Misspelt keys of ``model_config``, where the modules are the algorithm's own (which wrote ``auto_includes``).

    A module class, catalog or component of the user's reads what it likes from ``model_config``; so may a gap
    filler of an installed plugin, so a key that resembles no known one passes.
    """
    if config.stored("rl_module_spec") is not None or config.catalogs or config.components or config.mixins:
        return
    from rlkit_core.models.default_config import DefaultModelConfig, is_of_a_slot

    known = [*DefaultModelConfig().to_dict(), *auto_includes]
    for name in config.stored("model_config"):
        if name not in known and not is_of_a_slot(name) and (hint := config.other_names.hint(name, known)):
            yield f"rl_module(model_config={{{name!r}: ...}}): no such key.{hint}"
