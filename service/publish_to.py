"""Whom the service tells what: entries of the setting ``publish``."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.row_kinds import Published

MIB = 2**20
SCHEMES = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443}


class PublishTo(BaseModel):
    """One receiver."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="of the receiver, unique")
    to: str = Field(
        max_length=500,
        description="mqtt://HOST[:PORT]/TOPIC, mqtts://... or the http(s) address of a webhook",
    )
    kinds: tuple[Published, ...] = Field(
        default=("decisions",), min_length=1, description="kinds of outputs that are told"
    )
    outputs: tuple[str, ...] = Field(default=(), description="names of outputs that are told; all where none")
    user: str | None = Field(default=None, description="of an MQTT broker")
    secret_file: Path | None = Field(
        default=None, description="file with the broker's password, or with the key that signs a webhook"
    )
    home_assistant: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=100,
        description="of an MQTT broker: the prefix by which Home Assistant discovers sensors, such as homeassistant",
    )  # fmt: skip
    ca_file: Path | None = Field(default=None, description="certificates (PEM) to trust, beside the system's")
    every_s: float = Field(default=0.1, ge=0.01, le=3600, description="streams are looked at so often, s")
    rows: int = Field(default=500, ge=1, le=5000, description="rows of one message, at most")
    keep_bytes: int = Field(
        default=64 * MIB, ge=65_536, description="messages that wait; the oldest are dropped, bytes"
    )
    keep_s: float = Field(default=7 * 86_400, gt=0, description="a message waits for so long, s")

    @field_validator("to")
    @classmethod
    def _address(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError("allowed are mqtt://, mqtts://, http:// and https://, with a host")
        if parts.username or parts.password:
            raise ValueError("user and secret_file say who asks, not the address")
        try:
            _ = parts.port
        except ValueError as problem:
            raise ValueError("the port is a number up to 65535") from problem
        if parts.scheme.startswith("mqtt") and not set("+#").isdisjoint(parts.path):
            raise ValueError("a topic has neither + nor #")
        return text

    @model_validator(mode="after")
    def _only_brokers_are_discovered(self) -> Self:
        if self.home_assistant and not self.over_mqtt:
            raise ValueError("home_assistant is of an MQTT broker, and `to` is a webhook")
        return self

    @property
    def address(self) -> SplitResult:
        """Its parts."""
        return urlsplit(self.to)

    @property
    def over_mqtt(self) -> bool:
        """Whether it is a broker."""
        return self.address.scheme.startswith("mqtt")

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address.port or SCHEMES[self.address.scheme]

    def secret(self) -> str | None:
        """What is in its file.

        Raises:
            OSError: it cannot be read.
        """
        return self.secret_file.read_text().strip() if self.secret_file else None


def trusting(to: PublishTo) -> ssl.SSLContext:
    """TLS that trusts what the system trusts, and ``ca_file``."""
    context = ssl.create_default_context()
    if to.ca_file is not None:
        context.load_verify_locations(to.ca_file)
    return context
