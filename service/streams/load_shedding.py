"""How a realtime stream keeps its latency under a bound in an overload: it evaluates less often, then sheds.

No clock and no I/O: times come in, decisions go out. The answers to a frame exist once the frames before it and
the frame itself are worked off. What a frame will take is told from what the last ones took, so that one whose
answers would come too late is shed before it costs anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_AIM = 0.7
"""Of the bound: answers shall be there by then; what comes behind, up to the socket, has the rest."""
_CAREFUL = 1.25
"""Frames are taken to be so much dearer than the last ones."""
_FADES = 0.95
"""Of a frame that was dear, from one frame to the next."""
_FRESH = 0.05
"""Of the bound: a frame that waited no longer is worked off, whatever it costs, or nobody would learn that."""
_PRESSING, _CALM = 0.25, 0.1
"""Of the bound: whoever waits longer makes the stride longer; while all wait less it may become shorter."""
_FIRST_TRIAL_S, _LAST_TRIAL_S = 1.0, 60.0
"""So long it is calm before a shorter stride is tried; twice as long whenever that did not last."""


@dataclass
class LoadShedder:
    """Of one stream.

    Attributes:
        bound_s: latency, from a frame's arrival until its answers are sent.
        most_stride: detectors evaluate at least at one of so many places.
        stride: how often they do now.
        changes: how often that was changed.
    """

    bound_s: float
    most_stride: int = 1
    stride: int = 1
    changes: int = 0
    _unit_s: float = 0.0
    _changed_s: float = -1e9
    _busy_s: float = -1e9
    _trial_s: float = field(default=_FIRST_TRIAL_S)
    _fell_s: float = -1e9

    def sheds(self, waited_s: float, units: int) -> bool:
        """Whether a frame's answers would come too late.

        Args:
            waited_s: since it came.
            units: its rows, or bytes of a camera.
        """
        if waited_s <= _FRESH * self.bound_s:
            return False
        return waited_s + _CAREFUL * self._unit_s * units > _AIM * self.bound_s

    def shed(self) -> None:
        """A frame was shed: what is remembered of dear frames fades, or all would be shed for ever."""
        self._unit_s *= _FADES

    def worked(self, units: int, seconds: float) -> None:
        """Frames were worked off."""
        if units > 0:
            self._unit_s = max(seconds / units, self._unit_s * _FADES)

    def step(self, now_s: float, waited_s: float, shedding: bool) -> int:
        """The stride from the next frame on.

        Args:
            now_s: on any clock that does not fall.
            waited_s: how long the next frame has waited.
            shedding: whether it will be shed.
        """
        if self.most_stride == 1:
            return 1
        if shedding or waited_s > _CALM * self.bound_s:
            self._busy_s = now_s
        pressing = shedding or waited_s > _PRESSING * self.bound_s
        if pressing and self.stride < self.most_stride and now_s - self._changed_s > self.bound_s:
            if now_s - self._fell_s < 2 * self._trial_s:
                self._trial_s = min(_LAST_TRIAL_S, 2 * self._trial_s)
            self._change(now_s, min(self.most_stride, self.stride * 2))
        elif self.stride > 1 and now_s - max(self._busy_s, self._changed_s) > self._trial_s:
            if now_s - self._fell_s > 4 * self._trial_s:
                self._trial_s = max(_FIRST_TRIAL_S, self._trial_s / 2)
            self._fell_s = now_s
            self._change(now_s, (self.stride + 1) // 2)
        return self.stride

    def _change(self, now_s: float, stride: int) -> None:
        # A shorter stride may cost as much more; whether a longer one saves anything is yet to be seen.
        self._unit_s *= max(1.0, self.stride / stride)
        self.stride, self._changed_s, self.changes = stride, now_s, self.changes + 1
