"""`make run` waits for as long as the service gets ready, and no longer."""

import threading

import pytest
from polychrony_client import Refused, Unreachable

from service.cli import demo


class Service:
    """Answers /readyz as it is told, then that it is ready."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def request(self, method, path):
        assert (method, path) == ("GET", "/readyz")
        if self.answers:
            raise self.answers.pop(0)


class Clock:
    """A busy machine: ten minutes between two looks."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, _):
        self.now += 600


def refused(detail):
    return Refused(503, detail)


def test_it_waits_for_kernels_for_as_long_as_they_take(monkeypatch):
    monkeypatch.setattr(demo, "time", Clock())
    service = Service(Unreachable("not yet"), *[refused("not ready: kernels (being prepared)")] * 20)
    demo._wait_until_ready(service, threading.current_thread())
    assert service.answers == []


def test_it_says_why_it_will_never_be_ready(monkeypatch):
    monkeypatch.setattr(demo, "time", Clock())
    ready = refused("not ready: kernels (cannot be prepared: OSError)")
    with pytest.raises(demo.DemoFailed, match="cannot be prepared: OSError"):
        demo._wait_until_ready(Service(ready), threading.current_thread())
    ended = threading.Thread()
    with pytest.raises(demo.DemoFailed, match="has ended"):
        demo._wait_until_ready(Service(), ended)
