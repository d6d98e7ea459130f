"""The client for threads and the one for asyncio offer the same."""

import inspect

import pytest
from polychrony_client import Client, Job, Stream
from polychrony_client.aio import AsyncClient, AsyncJob, AsyncStream

ONLY_ASYNC = {AsyncStream: {"connect"}}
"""`AsyncStream` is connected by whoever opens it; a constructor cannot await."""


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
