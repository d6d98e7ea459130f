"""Frames between frames, warped along their optical flow.

Between frames that lie far apart brightness cross-fades instead of moving, and nobody can tell motion from that.
Frames are therefore inserted until nothing moves by more than :data:`LARGEST_STEP_PX` from one to the next.
Flow is OpenCV's DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) in both
directions; where there and back again do not meet, a pixel is seen in one frame only and taken from that. The
flow between the frames is approximated as in Super SloMo (Jiang et al., CVPR 2018). Cuts, and motion that the
flow cannot follow, are not bridged: they are counted, and the time in which they lie is unreliable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.video import warp

Mode = Literal["auto", "off"] | int
LARGEST_STEP_PX = 2.0
BLOCK_STEP_PX = 1.0
"""How far what is seen in a block of a frame moves from one warp to the next: between, it fades."""
MOST_INSERTED = 63
SLOW_FRAME_US = 10_000
"""Frames so far apart or further may show a motion detector no motion, unless they are bridged."""
_CHANGED = 4
"""Levels of 255 by which a pixel that matters differs: less is compression."""
_LEAST_MET = 0.6
"""The share of changed pixels at which there and back again must meet."""
_SAME_LIGHT = 0.5
"""Correlation of two histograms below which a frame shows another scene."""

Frame = NDArray[Any]
Timed = tuple[Frame, float]


@dataclass
class Bridging:
    """What became of the times between frames.

    Attributes:
        inserted: frames that were made.
        cuts: pairs of frames of different scenes; not bridged.
        not_followed: pairs whose motion the flow lost; not bridged.
        unreliable: spans (from, to] in us in which motion cannot be told.
    """

    inserted: int = 0
    cuts: int = 0
    not_followed: int = 0
    unreliable: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def doubt(self, from_s: float, to_s: float) -> None:
        """Nothing about motion in this span can be relied upon."""
        span = round(from_s * 1e6), round(to_s * 1e6)
        if self.unreliable and self.unreliable[-1][1] == span[0]:
            self.unreliable[-1] = self.unreliable[-1][0], span[1]
        else:
            self.unreliable.append(span)


class Interpolator:
    """Takes frames one by one and gives them back with what lies between; remembers one frame.

    Args:
        mode: ``auto`` as above; N for N - 1 frames in each gap that can be bridged; ``off`` for none.
    """

    def __init__(self, mode: Mode = "auto") -> None:
        if isinstance(mode, int) and not 1 <= mode <= MOST_INSERTED + 1:
            raise ValueError(f"frame interpolation must be auto, off or 1 .. {MOST_INSERTED + 1}, not {mode}")
        self.bridging = Bridging()
        self._mode = mode
        self._last: Timed | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def feed(self, frame: Frame, t_s: float) -> list[Timed]:
        """The frames from the last one (without it) up to this one, with their times.

        Args:
            frame: grey, uint8 or uint16 [height, width]; frames that are made are uint16 of 257 times a uint8's
                values, so that nothing is rounded to 8 bits, and so are all others where any is made.
            t_s: its time.
        """
        if self._mode == "off":
            return self._as_it_is(frame, t_s)
        last, self._last = self._last, (frame, t_s)
        if last is None:
            return [(_as_16(frame), t_s)]
        return [*self._between(last, (frame, t_s)), (_as_16(frame), t_s)]

    def _as_it_is(self, frame: Frame, t_s: float) -> list[Timed]:
        if self._last is not None and round((t_s - self._last[1]) * 1e6) >= SLOW_FRAME_US:
            self.bridging.doubt(self._last[1], t_s)
        self._last = frame, t_s
        return [(frame, t_s)]

    def _between(self, last: Timed, this: Timed) -> list[Timed]:
        before, after = _as_8(last[0]), _as_8(this[0])
        changed = cv2.absdiff(before, after) >= _CHANGED
        # A flow over less than this is noise, or a picture that stands still.
        if np.count_nonzero(changed) * 1000 < changed.size or min(before.shape) < 16:
            return []
        there = self._flow.calc(before, after, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if self._mode == "auto" and _length(there).max() <= LARGEST_STEP_PX:
            return []
        back = self._flow.calc(after, before, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
        met_there, met_back = _meet(there, back), _meet(back, there)
        if np.count_nonzero(met_there & changed) < _LEAST_MET * np.count_nonzero(changed):
            self._give_up(before, after, last[1], this[1])
            return []
        steps = self._mode if isinstance(self._mode, int) else self._steps(there, back, met_there, met_back)
        if steps < 2:
            return []
        self.bridging.inserted += steps - 1
        step_px = BLOCK_STEP_PX if self._mode == "auto" else 0.0
        between = warp.pair(
            _as_16(last[0]), _as_16(this[0]), there, back, (met_there, met_back), steps, step_px
        )
        return [(warp.at(between, k), last[1] + k / steps * (this[1] - last[1])) for k in range(1, steps)]

    def _steps(self, there: Frame, back: Frame, met_there: Frame, met_back: Frame) -> int:
        """Into how many steps the largest displacement must be cut; single pixels do not decide."""
        lengths = np.concatenate([_length(there)[met_there], _length(back)[met_back]])
        largest = float(np.partition(lengths, -max(1, len(lengths) // 1000))[-max(1, len(lengths) // 1000)])
        return min(int(np.ceil(largest / LARGEST_STEP_PX)), MOST_INSERTED + 1)

    def _give_up(self, before: Frame, after: Frame, from_s: float, to_s: float) -> None:
        if _correlation(before, after) < _SAME_LIGHT:
            self.bridging.cuts += 1
        else:
            self.bridging.not_followed += 1
        self.bridging.doubt(from_s, to_s)


def _meet(there: Frame, back: Frame) -> Frame:
    """Where going there and back again ends close to the start."""
    places = warp.shifted(there)
    returned = cv2.remap(back, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return warp.meet(there, returned, places)


def _length(flow: Frame) -> Frame:
    return np.hypot(flow[..., 0], flow[..., 1])


def _correlation(before: Frame, after: Frame) -> float:
    """Of the frames' histograms."""
    histograms = [cv2.calcHist([frame], [0], None, [32], [0, 256]) for frame in (before, after)]
    return float(cv2.compareHist(histograms[0], histograms[1], cv2.HISTCMP_CORREL))


def _as_8(frame: Frame) -> Frame:
    return frame if frame.dtype == np.uint8 else (frame >> 8).astype(np.uint8)


def _as_16(frame: Frame) -> Frame:
    return frame if frame.dtype == np.uint16 else frame.astype(np.uint16) * np.uint16(257)
