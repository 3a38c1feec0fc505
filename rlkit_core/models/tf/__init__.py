"""Import paths of RLlib's TensorFlow parts, which rlkit does not have."""
