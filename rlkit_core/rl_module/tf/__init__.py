"""Import paths of RLlib's TensorFlow modules, whose names are those of the framework ``tf2``."""
