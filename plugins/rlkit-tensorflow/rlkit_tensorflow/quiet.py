"""Imports TensorFlow, which draws from Python's generator meanwhile, and puts that back."""

import random

_before = random.getstate()
import tensorflow  # noqa: E402, F401

random.setstate(_before)
