"""Offline analyses: uploads that wait in SQLite and run as ``polychrony analyze`` in child processes.

store.py   the queue        runner.py  child processes and their progress
upload.py  bodies to disk   child.py   the limits that a child puts on itself
"""

from service.jobs.runner import Jobs
from service.storage.records import Job

__all__ = ["Job", "Jobs"]
