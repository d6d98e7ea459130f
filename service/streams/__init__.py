"""Live sessions: frames in, rows out.

gate.py     which frames may come in        log.py     frames on disk, replayed after a crash
runner.py   the thread that computes        feed.py    numbered rows that subscribers read
stream.py   one stream's life               registry.py  all of them
"""

from service.streams.registry import Streams
from service.streams.request import StreamRequest
from service.streams.stream import Stream

__all__ = ["Stream", "StreamRequest", "Streams"]
