"""Layers of spiking neurons as the equations say them: every neuron in every step, one after the other."""

import numpy as np

F = np.float32


def convolve(dense_in, weight, stride, pad, dilation, groups, shape):
    """[channel in, y, x] -> [channel out, y, x], in the framework's layout [out, in / groups, ky, kx]."""
    _, height, width = dense_in.shape
    out = np.zeros((weight.shape[0], *shape), np.float64)
    per_in, per_out = weight.shape[1], weight.shape[0] // groups
    for o, k, ky, kx in np.ndindex(weight.shape):
        for oy, ox in np.ndindex(shape):
            iy, ix = (
                oy * stride[0] + ky * dilation[0] - pad[0],
                ox * stride[1] + kx * dilation[1] - pad[1],
            )
            if 0 <= iy < height and 0 <= ix < width:
                out[o, oy, ox] += dense_in[o // per_out * per_in + k, iy, ix] * weight[o, k, ky, kx]
    return out


class Layer:
    """Neurons one by one; coefficients by name, each [neuron]."""

    def __init__(self, model, reset, non_strict, many, sends_potential, coefficients, start=0.0):
        self.model, self.reset, self.non_strict = model, reset, non_strict
        self.many, self.sends_potential = many, sends_potential
        self.c = {name: np.asarray(value, F) for name, value in coefficients.items()}
        n = len(self.c["decay"])
        self.v, self.i, self.a = np.full(n, start, F), np.zeros(n, F), np.zeros(n, F)

    def _passes(self, u, level):
        return u > level or (self.non_strict and u == level)

    def step(self, x):
        """What each neuron sends, given what arrives at it."""
        return np.array([self._neuron(n, F(x[n])) for n in range(len(self.v))], F)

    def _neuron(self, n, x):
        c = {name: value[n] for name, value in self.c.items()}
        if self.model == "cuba":
            self.i[n] = F(c["syn_decay"] * self.i[n]) + F(c["syn_gain"] * F(x + c["bias"]))
            x = self.i[n]
        if self.model == "alif":
            self.a[n] = c["adapt_decay"] * self.a[n]
        charge = F(c["gain"] * x)
        if self.model in {"linear", "threshold"}:
            u = F(charge + c["constant"])
        else:
            remembers = self.reset.startswith("delayed") or self.reset == "residual"
            late = remembers and self._passes(self.v[n], c["threshold"])
            if late and self.reset == "delayed_hard":
                self.v[n] = c["reset_to"]
            u = F(F(F(c["decay"] * self.v[n]) + charge) + c["constant"])
            if late and self.reset in {"delayed_subtract", "residual"}:
                u = F(u - c["reset_to"])
            if late and self.reset == "delayed_clear":
                u = c["reset_to"]
            u = max(u, c["floor"])
        self.v[n] = u
        if self.sends_potential or self.model == "linear":
            return u
        level = F(c["threshold"] + self.a[n]) if self.model == "alif" else c["threshold"]
        fires = self._passes(u, level)
        if self.reset == "residual" and self.model in {"lif", "cuba"}:
            self.v[n] = F(u - F(F(int(fires) - int(late)) * c["reset_to"])) if fires != late else u
            return F(fires)
        if not fires:
            return F(0)
        number = F(np.floor(F(u / level))) if self.many else F(1)
        self.a[n] += c["adapt_step"]
        if self.reset == "hard":
            self.v[n] = c["reset_to"]
        elif self.reset == "subtract":
            self.v[n] = max(F(u - F(number * c["reset_to"])), c["floor"])
        return number
