"""What a stream of events goes through, from source to sink."""

from pipeline.offline import run

__all__ = ["run"]
