"""A texture that slides, by the Fourier shift; and the retina, pixel by pixel."""

import numpy as np


def window(texture, top, left, size):
    fy, fx = np.fft.fftfreq(texture.shape[0])[:, None], np.fft.rfftfreq(texture.shape[1])[None]
    shifted = np.fft.rfft2(texture) * np.exp(2j * np.pi * (fy * top + fx * left))
    return np.fft.irfft2(shifted, texture.shape)[:size, :size]


def retina(frames, theta):
    events = np.zeros((len(frames) - 1, *frames.shape[1:]), np.int8)
    for y in range(frames.shape[1]):
        for x in range(frames.shape[2]):
            last = 0
            for k in range(len(events)):
                rest = np.float32(frames[k + 1, y, x] - frames[k, y, x]) - np.float32(theta) * np.float32(
                    last
                )
                last = int(rest > theta) - int(rest < -theta)
                events[k, y, x] = last
    return events
