"""Names with an underscore that authors use all the same."""

from __future__ import annotations

#: Names with an underscore that RLlib's users override, and so may plugins: they keep their spelling.
OVERRIDE_POINTS = {
    "_forward",
    "_forward_exploration",
    "_forward_inference",
    "_forward_train",
    "_get_dist_cls_from_action_space",
    "_get_encoder_config",
    "_get_tensor_variable",
    "_model_config_auto_includes",
    "_modules",  # torch's
    "_validate",  # of a model config, called first by its build()
}
