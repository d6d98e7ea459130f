"""What the service asks of storage.

Every class here is an interface; ``tests/contract/storage`` holds what any implementation must pass. "Durable" means:
survives what the implementation promises to survive. Files survive the death of the process, and with ``fsync`` that
of the machine.
"""

from service.storage.ports.catalogue import Catalogue
from service.storage.ports.jobs import JobQueue
from service.storage.ports.outbox import OutboxStore
from service.storage.ports.secrets import Secrets
from service.storage.ports.streams import Directory, Recording, RowFile, ShedLog, StreamLog, StreamStore
from service.storage.ports.uploads import UploadStore, UploadWriter

__all__ = [
    "Catalogue",
    "Directory",
    "JobQueue",
    "OutboxStore",
    "Recording",
    "RowFile",
    "Secrets",
    "ShedLog",
    "StreamLog",
    "StreamStore",
    "UploadStore",
    "UploadWriter",
]
