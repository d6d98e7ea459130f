"""A bank of motifs on addresses: any inputs and delays, no neighbourhood; see :mod:`kernels.motifs.coincidence`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from kernels.columns import I64, XY, P
from kernels.motifs import coincidence
from pipeline.models.bundle import Tensors
from pipeline.models.motif_bank import BankCard, Weights, prune


class AddressCard(BankCard):
    """``model.json`` of a bank on addresses."""

    kind: Literal["address_bank"] = "address_bank"  # pyright: ignore[reportIncompatibleVariableOverride]
    address: Literal["x", "y", "pixel", "pixel_polarity"] = Field(
        description="what an event's address is: its column, row, y * width + x, or twice that + (1 if ON)"
    )
    width: int = Field(ge=1, le=65536, description="of the sensor that it was made for, pixels")
    height: int = Field(ge=1, le=32768)

    @property
    def addresses(self) -> int:
        """How many addresses there are."""
        pixels = self.width * self.height
        return {"x": self.width, "y": self.height, "pixel": pixels, "pixel_polarity": 2 * pixels}[
            self.address
        ]

    def of_events(self, x: XY, y: XY, p: P) -> I64:
        """The address of each event."""
        if self.address == "x":
            return x.astype(np.int64)
        if self.address == "y":
            return y.astype(np.int64)
        pixel = y.astype(np.int64) * self.width + x
        return pixel if self.address == "pixel" else 2 * pixel + p


@dataclass(frozen=True, eq=False)
class AddressBank:
    """A bank as the motif stage uses it; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        weight: [class, address, delay (0 = now)] integers as float32.
        bias: [class] integers as float32.
        digest: SHA-256 over the card and the weights.
    """

    card: AddressCard
    weight: Weights
    bias: Weights
    digest: str

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddressBank) and other.digest == self.digest

    def synapses(self, keep: float = 1.0, delays: int | None = None) -> coincidence.Synapses:
        """The bank laid out for the kernel; the arguments are those of :meth:`MotifBank.taps`."""
        return coincidence.synapses(prune(np.ascontiguousarray(self.weight[:, :, :delays]), keep), self.bias)

    @classmethod
    def of(cls, document: dict[str, Any], tensors: Tensors, digest: str) -> AddressBank:
        """A bank from what :func:`pipeline.models.bundle.read` gives.

        Raises:
            ValueError: it is none, with what is wrong.
        """
        card = AddressCard.model_validate(document)
        weight, bias = (np.asarray(tensors[name], np.float32) for name in ("weight", "bias"))
        n = len(card.labels)
        if weight.ndim != 3 or weight.shape[:2] != (n, card.addresses) or bias.shape != (n,):
            raise ValueError(
                f"weight {weight.shape} and bias {bias.shape} do not fit {n} labels and {card.addresses} addresses"
            )
        coincidence.synapses(weight, bias)
        return cls(card, weight, bias, digest)
