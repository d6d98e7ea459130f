"""One implementation of each storage port, as settings say: the only place that names one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings
from service.storage.files.catalogues import ModelFolders, PipelineFolders
from service.storage.files.job_queue import DATABASE, JobStore
from service.storage.files.outbox import Outbox
from service.storage.files.secret_files import SecretFiles
from service.storage.files.stream_files import StreamFolders
from service.storage.files.upload_files import UploadFiles
from service.storage.ports import Catalogue, Directory, JobQueue, OutboxStore, Secrets, UploadStore


@dataclass(frozen=True)
class Backends:
    """Where a service keeps what outlives it.

    Attributes:
        streams: which streams exist, and what is stored of each.
        jobs: the queue.
        uploads: what waits for a job or a stream.
        outbox: messages that wait for their receivers.
        secrets: tokens, and the key that snapshots are signed with.
        models: those that users keep, each the folder of a bundle.
        pipelines: those that users keep, each as YAML.
    """

    streams: Directory
    jobs: JobQueue
    uploads: UploadStore
    outbox: OutboxStore
    secrets: Secrets
    models: Catalogue[Path]
    pipelines: Catalogue[str]

    @classmethod
    def embedded(cls, settings: Settings) -> Backends:
        """Files and SQLite in the data folder of this machine."""
        data, fsync = settings.data_dir, settings.fsync
        secrets = SecretFiles(data)
        return cls(
            StreamFolders(settings.streams_dir, secrets, fsync, settings.max_recording_bytes),
            JobStore(data / DATABASE, fsync), UploadFiles(settings.uploads_dir, fsync),
            Outbox(data / "outbox.sqlite", fsync), secrets, ModelFolders(), PipelineFolders(),
        )  # fmt: skip
