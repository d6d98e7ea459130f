"""A reservoir neuron by neuron and synapse by synapse."""

import numpy as np

F = np.float32


def step(arrived, weights, state, rules):
    """(who sends a spike, new state) from [input] values; weights are changed."""
    given, own, inhibitory = weights
    v, sent, rate, trace, astro = (column.copy() for column in state)
    n = len(v)
    c = {name: F(value) for name, value in rules._asdict().items()}
    for i in range(n):
        v[i] = v[i] * c["decay"]
        for e in np.flatnonzero(arrived):
            v[i] += F(arrived[e] * given[e, i])
        for j in range(n):
            if sent[j]:
                v[i] += own[j, i]
    now = v >= c["threshold"]
    for i in range(n):
        rate[i] = c["rate_decay"] * rate[i] + (F(1) - c["rate_decay"]) * F(now[i])
    v[now] = 0
    for j, i in np.ndindex(n, n):
        if own[j, i] != 0 and inhibitory[j] and sent[j] and c["eta"] > 0:
            own[j, i] = min(max(own[j, i] - c["eta"] * (rate[i] - c["target"]), -c["largest"]), F(-1e-6))
    if c["a_plus"] > 0:
        astro[0] = c["astro_decay"] * astro[0] + c["astro_gain"] * (
            F(now.sum()) - F(np.count_nonzero(arrived))
        )
        a_minus = max(c["astro_base"] + astro[0], F(0))
        for j, i in np.ndindex(n, n):
            if own[j, i] == 0 or inhibitory[j] or inhibitory[i]:
                continue
            w = own[j, i]
            if now[i]:
                w += c["a_plus"] * trace[j]
            if sent[j]:
                w -= a_minus * trace[i]
            own[j, i] = min(max(w, F(1e-6)), c["largest"])
    return now, (v, now.copy(), rate, c["trace_decay"] * trace + now.astype(F), astro)
