"""Simulators that return torch tensors: stepped, acted in and recorded on their own device."""
