"""Import paths of RLlib's TensorFlow parts, whose names are those of the framework ``tf2``."""
