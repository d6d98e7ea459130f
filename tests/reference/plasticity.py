"""Symmetric STDP synapse by synapse; Lempel-Ziv words by looking each one up."""

import numpy as np

F = np.float32


def pair(arrived, fired, before, after, weight, eta, offset, largest):
    """The weights after one step."""
    weight = weight.copy()
    for j in fired:
        for i in range(len(before)):
            w = weight[j, i] + F(F(F(eta) * F(before[i] - F(offset))) * F(F(largest) - weight[j, i]))
            weight[j, i] = min(max(w, F(0)), F(largest))
    for i in arrived:
        for j in range(len(after)):
            if after[j] != 0:
                w = weight[j, i] + F(F(F(eta) * after[j]) * F(F(largest) - weight[j, i]))
                weight[j, i] = min(max(w, F(0)), F(largest))
    return weight


def words(train):
    """Words of the exhaustive history: each is the shortest that does not occur in what is before its last bin."""
    text = "".join(str(int(bit)) for bit in train)
    found, start = 0, 0
    while start < len(text):
        length = 1
        while start + length <= len(text) and text[start : start + length] in text[: start + length - 1]:
            length += 1
        found += 1
        start += length
    return found
