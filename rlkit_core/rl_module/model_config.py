"""A module's ``model_config``: a plain dict, whatever it was given as."""

from __future__ import annotations

from rlkit_core.models.default_config import model_config_dict as plain_model_config

__all__ = ["plain_model_config"]
