"""Envs that raise, or return what cannot be learned from: begun anew, one by one."""
