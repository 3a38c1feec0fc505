"""IMPALA's and APPO's trajectories, one step and one env at a time."""

from __future__ import annotations

import torch


def perturbed(module, scale=0.05):
    """Give a module other weights than those that acted, so that ratios differ from 1."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))


def stepwise(module, rollout, forward):
    """Logits and values of every step, values of what followed it, and whether the trace ends with it.

    ``forward(batch)`` returns ``(logits, values, state_out)`` of a batch of one; a list of what it gave for each step.
    """
    steps, envs = rollout.num_steps, rollout.num_envs
    finals = {} if rollout.final_index is None else {int(i): k for k, i in enumerate(rollout.final_index)}
    recurrent = rollout.state_in is not None

    def call(obs, state):
        obs = {k: v[None] for k, v in obs.items()} if isinstance(obs, dict) else obs[None]
        if not recurrent:
            logits, value, _ = forward({"obs": obs})
            return logits[0], value[0], None
        logits, value, state = forward({"obs": obs[None], "state_in": state})
        return logits[0, 0], value[0, 0], state

    logits = [[None] * envs for _ in range(steps)]
    values = [[None] * envs for _ in range(steps)]
    following = torch.zeros(steps, envs)
    cuts = rollout["truncateds"].clone()
    cuts[-1] = True
    for n in range(envs):
        state = _at(rollout.state_in, 0, n) if recurrent else None
        for t in range(steps):
            if recurrent and rollout.episode_starts[t, n]:
                state = _map(lambda x: x[None], module.get_initial_state())
                cuts[t - 1, n] = True
            elif recurrent and t % rollout.seq_len == 0:
                state = _at(rollout.state_in, t // rollout.seq_len, n)
                if t:  # a chunk is a trajectory of its own
                    cuts[t - 1, n] = True
            logits[t][n], values[t][n], state = call(rollout["obs"][t, n], state)
            row, detached = t * envs + n, _map(lambda x: x.detach(), state)
            if row in finals:
                following[t, n] = call(rollout.final_obs[finals[row]], detached)[1].detach()
            elif t == steps - 1:
                following[t, n] = call(rollout.bootstrap_obs[n], detached)[1].detach()
            else:
                following[t, n] = call(rollout["obs"][t + 1, n], detached)[1].detach()
    return (
        torch.stack([torch.stack(row) for row in logits]),
        torch.stack([torch.stack(row) for row in values]),
        following,
        cuts,
    )


def _at(struct, *index):
    return _map(lambda x: x[index][None], struct)


def _map(function, struct):
    if struct is None:
        return None
    return {k: _map(function, v) if isinstance(v, dict) else function(v) for k, v in struct.items()}


def vtrace_by_steps(rho, rewards, values, following, discounts, cuts, clip_rho, clip_pg_rho):
    """Remark 1 of the paper, backwards, in Python numbers."""
    steps, envs = values.shape
    vs, advantages = torch.zeros(steps, envs), torch.zeros(steps, envs)
    for n in range(envs):
        tail = 0.0  # v_{t+1} - V_{t+1}
        for t in reversed(range(steps)):
            if cuts[t, n]:
                tail = 0.0
            r, d, v, nxt = (float(x[t, n]) for x in (rewards, discounts, values, following))
            p = float(rho[t, n])
            advantages[t, n] = min(clip_pg_rho, p) * (r + d * (nxt + tail) - v)
            tail = min(clip_rho, p) * (r + d * nxt - v) + d * min(1.0, p) * tail
            vs[t, n] = v + tail
    return vs, advantages
