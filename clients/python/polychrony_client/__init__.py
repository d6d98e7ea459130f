"""Client for the Polychrony service: stream events, follow jobs, read results as numpy columns.

from polychrony_client import Client

client = Client("http://127.0.0.1:8700")

job = client.submit("bikes.mp4")              # a video or recording, offline
job.wait()
job.download("answers")

stream = client.stream("motion", sensor=(640, 480))    # live
stream.send(t, x, y, p)
summary, motion = stream.end(), stream.rows("motion")
"""

from polychrony_client.aio import AsyncClient, AsyncJob, AsyncStream
from polychrony_client.client import Client
from polychrony_client.errors import (
    Closed,
    EventsLost,
    PolychronyError,
    Refused,
    RowsGone,
    TimedOut,
    Unreachable,
)
from polychrony_client.jobs import Job
from polychrony_client.objects import (
    Decision,
    Detection,
    Event,
    Evidence,
    FieldVector,
    Trigger,
    ViewMotion,
)  # fmt: skip
from polychrony_client.results import Gap, Lagged, Output, Rows, Watermark
from polychrony_client.streams import Stream

__all__ = [
    "AsyncClient", "AsyncJob", "AsyncStream", "Client", "Closed", "Decision", "Detection", "Event", "EventsLost",
    "Evidence", "FieldVector", "Gap", "Job", "Lagged", "Output", "PolychronyError", "Refused", "Rows", "RowsGone",
    "Stream", "TimedOut", "Trigger", "Unreachable", "ViewMotion", "Watermark",
]  # fmt: skip
__version__ = "0.1.0"
