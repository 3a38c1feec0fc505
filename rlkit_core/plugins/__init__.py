"""Finding, loading and asking plugins.

``discovery`` reads metadata only, ``hookspecs`` says what a plugin may implement, ``host`` loads plugins and
keeps their faults apart, ``registry`` chooses components, ``records`` are what plugins hand over. None of
these imports torch, numpy or gymnasium; ``builtin``, the core's own plugin, names gymnasium's space classes.
"""

from __future__ import annotations

API_VERSION: tuple[int, int] = (1, 0)
"""The plugin API of this core. A plugin states the one it is written for as ``rlkit_api = "MAJOR.MINOR"``."""


class PluginWarning(UserWarning):
    """A plugin was left out, or a ``RLKIT_PLUGINS*`` variable names something that is not installed."""


class PluginDeprecationWarning(PluginWarning):
    """A plugin uses what a later plugin API will not have; says which plugin, what, until when, and what to write."""


__all__ = ["API_VERSION", "PluginDeprecationWarning", "PluginWarning"]
