"""The client for threads and the one for asyncio offer the same."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from polychrony_client import Client, Job, Rows, Stream, wire
from polychrony_client.aio import AsyncClient, AsyncJob, AsyncStream

from pipeline.row_kinds import ROW_KINDS

ONLY_ASYNC = {AsyncStream: {"connect"}}
"""`AsyncStream` is connected by whoever opens it; a constructor cannot await."""


TYPESCRIPT = Path(__file__).parents[2] / "clients" / "typescript" / "src"


def offered(of):
    return {name: inspect.signature(one) for name, one in inspect.getmembers(of, callable) if name[0] != "_"}


def arguments(signature):
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


@pytest.mark.parametrize(
    ("plain", "awaited"), [(Client, AsyncClient), (Stream, AsyncStream), (Job, AsyncJob)]
)
def test_both_clients_offer_the_same_methods(plain, awaited):
    one, other = offered(plain), offered(awaited)
    assert set(one) == set(other) - ONLY_ASYNC.get(awaited, set())
    for name in one:
        assert arguments(one[name]) == arguments(other[name]), name
    fields = [{n for n, v in vars(of).items() if isinstance(v, property)} for of in (plain, awaited)]
    assert fields[0] == fields[1]


@pytest.mark.parametrize("name", ROW_KINDS)
def test_the_client_knows_every_kind_of_rows(name):
    kind = ROW_KINDS[name]
    if kind.frame is not None:
        assert kind.frame in {value for key, value in vars(wire).items() if key.isupper()}
    columns = {column: np.ones(3, dtype) for column, dtype in kind.columns.items()}
    if kind.per_class:
        columns["evidence"] = np.ones((3, 4), np.float32)
    if kind.frame is None or "flags" not in kind.layout.names:
        columns = {
            column: values for column, values in columns.items() if column != "flags" or kind.frame is None
        }
    found = list(Rows("out", 0, columns, 3, name, ("a", "b")).objects())
    assert len(found) == 3
    assert all(one.t == 1 for one in found)


@pytest.mark.parametrize("name", ROW_KINDS)
def test_the_typescript_client_can_read_every_kind_of_rows(name):
    kind = ROW_KINDS[name]
    types = re.search(r"TYPE = \{(.*?)\}", (TYPESCRIPT / "wire.ts").read_text(), re.DOTALL)[1]
    readers = re.search(r"READERS.*?= \{\n(.*?)\n\};", (TYPESCRIPT / "results.ts").read_text(), re.DOTALL)[1]
    assert kind.frame is None or kind.frame in {int(code) for code in re.findall(r": (\d+)", types)}
    read = dict(re.findall(r'"(<\w+)": \{ bytes: (\d)', readers))
    for column in (kind.layout[field] for field in kind.layout.names):
        assert int(read[column.str]) == column.itemsize
    assert not kind.per_class or "<f4" in read
