"""Several agents in one env: kinds of envs, their columns in rollouts, and the runner."""
