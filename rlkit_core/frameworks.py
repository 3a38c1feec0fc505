"""Other tensor frameworks than torch: what a service of kind ``framework`` names, and how the core finds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from rlkit_core.errors import ConfigError, PluginError

TORCH: Final = "torch"


@frozen
class AlgorithmParts:
    """What an algorithm is made of in a framework.

    Attributes:
        rl_module_spec: gives the ``RLModuleSpec`` of its default module.
        learner_class: its Learner class.
    """

    rl_module_spec: Callable[[], Any]
    learner_class: type


@frozen
class Framework:
    """What the target of a service of kind ``framework`` is: the parts by which the core works with its tensors.

    Rollouts, batches and weights are torch tensors and numpy arrays whatever modules compute with: a sampler and a
    learner of a framework translate at their borders.

    Attributes:
        name: as ``config.framework(name)`` has it, and ``framework`` of its modules and learners.
        module_base: the RLModule that its modules derive from.
        learner_base: the Learner that its learners derive from.
        to_numpy: a tensor of it to a numpy array; everything else stays.
        from_numpy: a numpy array to a tensor of it.
        sampler: made as an :class:`~rlkit_core.rl_module.acting.ActionSampler` is, with the same public methods; takes
            and returns torch tensors.
        build: a model config to a new network.
        distribution: an rlkit distribution class to the one that computes the same with its tensors.
        algorithms: what algorithms are made of, by ``"module:Class"`` of their config, whose subclasses have the same.
        names: public names, with what each stands for: what import paths of the core forward to.
    """

    name: str
    module_base: type
    learner_base: type
    to_numpy: Callable[[Any], Any]
    from_numpy: Callable[[Any], Any]
    sampler: Callable[..., Any]
    build: Callable[[Any], Any]
    distribution: Callable[[type], type]
    algorithms: Mapping[str, AlgorithmParts] = field(factory=dict)
    names: Mapping[str, Any] = field(factory=dict)

    def parts_for(self, config_class: type) -> AlgorithmParts | None:
        """What the algorithm of a config class is made of; None where the framework has nothing for it."""
        for cls in config_class.__mro__:
            parts = self.algorithms.get(f"{cls.__module__}:{cls.__qualname__}")
            if parts is not None:
                return parts
        return None


def get_framework(name: str) -> Framework:
    """The framework of that name (``"distribution/name"`` or a short name), imported if need be.

    Raises:
        PluginNotFoundError: nothing installed has it; says the line to install.
        PluginError: its plugin failed, or what it names is no :class:`Framework`.
    """
    from rlkit_core.plugins.host import default_host

    found = default_host().get_service("framework", name)
    if not isinstance(found, Framework):
        raise PluginError(f"framework {name!r}: its target is {type(found).__name__}, expected a Framework")
    return found


def check_installed(name: str) -> None:
    """Raise, as :func:`get_framework` does, unless a framework of that name is installed; imports none."""
    from rlkit_core.plugins.host import default_host

    default_host().find_service("framework", name)


def build_with(framework: str, config: object) -> Any:
    """A new network for a model config in another framework than torch.

    Raises:
        PluginNotFoundError, PluginError: as :func:`get_framework`.
        ConfigError: the framework has no network for such a config.
    """
    return get_framework(framework).build(config)


def forwarded(framework: str, part: str | None = None) -> Callable[[str], Any]:
    """``__getattr__`` of a module whose names are a framework's.

    Args:
        framework: its name.
        part: the one of its ``names`` that is a module, where names of that are meant.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name.startswith("__"):
            raise AttributeError(name)
        return name_in(framework, name, part)

    return __getattr__


def name_in(framework: str, name: str, part: str | None = None) -> Any:
    """What a public name stands for in a framework.

    Raises:
        PluginNotFoundError, PluginError: as :func:`get_framework`, with the name.
        AttributeError: the framework has no such name.
    """
    try:
        names = get_framework(framework).names
    except PluginError as error:
        raise type(error)(f"{name}: {error}") from error
    found = names if part is None else vars(names[part])
    if name not in found:
        raise AttributeError(f"framework {framework!r} has no {name!r}")
    return found[name]


def check_same(what: str, framework: str | None, wanted: str) -> None:
    """Refuse what is of another framework than the rest; None is of any.

    Raises:
        ConfigError: it is.
    """
    if framework not in (None, wanted):
        raise ConfigError(f"{what} is of framework {framework!r}, expected {wanted!r}: config.framework({framework!r})")
