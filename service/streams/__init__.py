"""Live sessions: frames in, rows out.

admission.py  which frames may come in        session.py    who sends them, and what the sender is told
runner.py     the thread that computes        row_store.py  numbered rows that subscribers read
stream.py     one stream, made of these       registry.py   all of them
"""

from service.streams.registry import Streams
from service.streams.request import StreamRequest
from service.streams.stream import Stream

__all__ = ["Stream", "StreamRequest", "Streams"]
