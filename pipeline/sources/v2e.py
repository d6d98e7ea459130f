"""An installed v2e as the pixel model. It is on no package registry and brings PyTorch along."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.base import SourceError
from pipeline.sources.emulator import EmulatorConfig


class InstalledV2e:
    """v2e's own emulator behind the same two lines as ours.

    Its times are float32 seconds: 4 us coarse after half a minute. Our ``timing`` and ``leak_cov_decades``
    do not reach it where its version lacks them.

    Args:
        config: the pixel's parameters.
        width: of the frames.
        height: likewise.

    Raises:
        SourceError: v2e is not installed.
    """

    def __init__(self, config: EmulatorConfig, width: int, height: int) -> None:
        try:
            module = importlib.import_module("v2ecore.emulator")
        except ImportError as problem:
            raise SourceError(
                "v2e is not installed here: clone github.com/SensorsINI/v2e and pip install it into this "
                "environment, or leave the pixel model at polychrony, which computes the same"
            ) from problem
        self._theirs: Any = module.EventEmulator(
            pos_thres=config.theta_on, neg_thres=config.theta_off, sigma_thres=config.theta_sigma,
            cutoff_hz=config.cutoff_hz, leak_rate_hz=config.leak_hz, shot_noise_rate_hz=config.shot_hz,
            refractory_period_s=config.refractory_us * 1e-6, photoreceptor_noise=config.photoreceptor_noise,
            leak_jitter_fraction=config.leak_jitter, noise_rate_cov_decades=config.leak_cov_decades,
            seed=config.seed, output_width=width, output_height=height, device="cpu",
        )  # fmt: skip

    def feed(self, frame: NDArray[Any], t_s: float) -> Events:
        """Events since the last frame, sorted by time."""
        found = self._theirs.generate_events(_in_255(frame), t_s)
        if found is None or len(found) == 0:
            return packets.no_events()
        rows = np.asarray(found, np.float64)
        t = np.rint(rows[:, 0] * 1e6).astype(np.int64)
        order = np.argsort(t, kind="stable")
        rows = rows[order]
        return t[order], rows[:, 1].astype(np.uint16), rows[:, 2].astype(np.uint16), rows[:, 3] > 0


def _in_255(frame: NDArray[Any]) -> NDArray[Any]:
    return frame / 257.0 if frame.dtype == np.uint16 else frame
