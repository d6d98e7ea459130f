"""SHA-256 whose state can be kept and gone on with, which hashlib's cannot (FIPS 180-4, section 6.2).

A stream that goes on after a restart must go on with the digest of its rows too, without having kept the rows.
Blocks go through OpenSSL's own compression function where Python brings OpenSSL as a library (with the processor's
SHA instructions some 1,700 MiB/s), else through the kernel below (200 MiB/s); both are checked against hashlib.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

U32 = np.ndarray[tuple[int], np.dtype[np.uint32]]
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]

BLOCK = 64


def _fractions(of: Any, root: int, n: int) -> U32:
    """First 32 bits of the fractional parts of roots of primes, where FIPS 180-4 takes its constants from."""
    found: list[int] = []
    for prime in of[:n]:
        low, high = 0, 1 << 40  # of prime ** (1 / root) in units of 2 ** -32, exactly
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**root <= prime << (32 * root) else (low, middle)
        found.append(low & 0xFFFFFFFF)
    return np.array(found, np.uint32)


_PRIMES = [n for n in range(2, 312) if all(n % k for k in range(2, n))]
_K = _fractions(_PRIMES, 3, 64)
_START = _fractions(_PRIMES, 2, 8)


class Sha256:
    """A digest that grows.

    Args:
        compress: what works whole blocks into a state; the fastest that there is where None.

    Attributes:
        state: the eight words after all whole blocks, uint32 [8].
        rest: the bytes after them, fewer than 64.
        length: bytes taken in.
    """

    def __init__(self, compress: Callable[[bytes, U32], None] | None = None) -> None:
        self._compress = compress or _compress
        self.state: U32 = _START.copy()
        self.rest = b""
        self.length = 0

    def update(self, data: bytes) -> None:
        """Take in more bytes."""
        self.length += len(data)
        data = self.rest + data if self.rest else data
        whole = len(data) - len(data) % BLOCK
        if whole:
            self._compress(data[:whole], self.state)
        self.rest = data[whole:]

    def copy(self) -> Sha256:
        """Another that goes on from here."""
        other = Sha256(self._compress)
        other.state, other.rest, other.length = self.state.copy(), self.rest, self.length
        return other

    def hexdigest(self) -> str:
        """The digest of the bytes so far, 64 hex digits."""
        last = self.copy()
        padding = b"\x80" + bytes((-self.length - 9) % BLOCK) + (8 * self.length).to_bytes(8, "big")
        last.update(padding)
        return last.state.astype(">u4").tobytes().hex()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that it knows."""
        return {
            "state": self.state.copy(),
            "rest": np.frombuffer(self.rest, np.uint8).copy(),
            "length": np.array([self.length], np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot."""
        self.state = arrays["state"].astype(np.uint32)
        self.rest, self.length = arrays["rest"].astype(np.uint8).tobytes(), int(arrays["length"][0])


@kernel
def _rotated(x: np.uint32, n: int) -> np.uint32:
    return np.uint32((x >> np.uint32(n)) | (x << np.uint32(32 - n)))


@kernel
def _blocks(data: Bytes, state: U32, k: U32, w: U32) -> None:
    """Work whole blocks into the state."""
    for start in range(0, data.size, 64):
        for i in range(16):
            at = start + 4 * i
            w[i] = np.uint32(
                np.uint32(data[at]) << np.uint32(24) | np.uint32(data[at + 1]) << np.uint32(16)
                | np.uint32(data[at + 2]) << np.uint32(8) | np.uint32(data[at + 3])
            )  # fmt: skip
        for i in range(16, 64):
            a, b = w[i - 15], w[i - 2]
            small = np.uint32(_rotated(a, 7) ^ _rotated(a, 18) ^ (a >> np.uint32(3)))
            large = np.uint32(_rotated(b, 17) ^ _rotated(b, 19) ^ (b >> np.uint32(10)))
            w[i] = np.uint32(w[i - 16] + small + w[i - 7] + large)
        a, b, c, d = state[0], state[1], state[2], state[3]
        e, f, g, h = state[4], state[5], state[6], state[7]
        for i in range(64):
            high = np.uint32(_rotated(e, 6) ^ _rotated(e, 11) ^ _rotated(e, 25))
            choice = np.uint32((e & f) ^ (~e & g))
            first = np.uint32(h + high + choice + k[i] + w[i])
            low = np.uint32(_rotated(a, 2) ^ _rotated(a, 13) ^ _rotated(a, 22))
            majority = np.uint32((a & b) ^ (a & c) ^ (b & c))
            second = np.uint32(low + majority)
            h, g, f, e = g, f, e, np.uint32(d + first)
            d, c, b, a = c, b, a, np.uint32(first + second)
        state[0] += a
        state[1] += b
        state[2] += c
        state[3] += d
        state[4] += e
        state[5] += f
        state[6] += g
        state[7] += h


def in_numba(data: bytes, state: U32) -> None:
    """Work whole blocks of bytes into the state."""
    # frombuffer of bytes is read-only, which would compile the kernel once more.
    _blocks(np.frombuffer(bytearray(data), np.uint8), state, _K, np.empty(64, np.uint32))


class _Context(ctypes.Structure):
    """OpenSSL's SHA256_CTX."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8), ("length", ctypes.c_uint32 * 2), ("data", ctypes.c_uint32 * 16),
        ("num", ctypes.c_uint), ("md_len", ctypes.c_uint),
    )  # fmt: skip


def through_openssl() -> Callable[[bytes, U32], None] | None:
    """OpenSSL's compression function, or None where it cannot be reached or does not do as hashlib does."""
    try:
        library = ctypes.CDLL(str(importlib.import_module("_hashlib").__file__))
        start, update = library.SHA256_Init, library.SHA256_Update
    except (ImportError, OSError, AttributeError):
        return None
    update.argtypes = [ctypes.POINTER(_Context), ctypes.c_char_p, ctypes.c_size_t]

    def compress(data: bytes, state: U32) -> None:
        context = _Context()
        start(ctypes.byref(context))
        context.h[:] = state.tolist()
        update(ctypes.byref(context), data, len(data))
        state[:] = context.h[:]

    tried = Sha256(compress)
    tried.update(bytes(range(200)))
    return compress if tried.hexdigest() == hashlib.sha256(bytes(range(200))).hexdigest() else None


_compress: Callable[[bytes, U32], None] = through_openssl() or in_numba
