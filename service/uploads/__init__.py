"""Uploads that may break off and go on (tus 1.0); what is complete waits here for a job or a stream."""

from service.uploads.uploads import Uploads

__all__ = ["Uploads"]
