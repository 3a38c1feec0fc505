"""The conformance kit: contracts as test classes, and the functions and the command that run them over a plugin."""
