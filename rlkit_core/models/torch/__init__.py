"""Import paths that code written against RLlib uses."""
