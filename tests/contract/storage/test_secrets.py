"""The port of secrets: none is made twice, none is cut short, and that tokens were made is never forgotten."""

import os
import threading

import pytest

from service.access.tokens import Scope, TokenError, Tokens


def made(byte):
    return lambda: bytes([byte]) * 16 + os.urandom(16)


def test_a_secret_is_made_once_and_kept(storage):
    first = storage.opened().secrets.read_or_make("a key", 32, made(1))
    assert len(first) == 32
    assert storage.opened().secrets.read_or_make("a key", 32, made(2)) == first
    assert storage.opened().secrets.read_or_make("another", 32, made(3)) != first


def test_whoever_asks_at_once_gets_the_same(storage):
    opened = [storage.opened().secrets for _ in range(8)]
    found, together = [], threading.Barrier(len(opened))

    def ask(number, store):
        together.wait()
        found.append(store.read_or_make("key", 32, made(number)))

    threads = [threading.Thread(target=ask, args=one) for one in enumerate(opened)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(opened)
    assert len(set(found)) == 1


def test_tokens_are_seen_by_all_and_change_the_version(storage):
    one, other = storage.opened().secrets, storage.opened().secrets
    assert one.tokens_version() is None
    assert not one.tokens_were_made()
    one.change_tokens(lambda before: b"[]" if before is None else before)
    first = other.tokens_version()
    assert (first is not None, other.tokens(), other.tokens_were_made()) == (True, b"[]", True)
    other.change_tokens(lambda before: before + b" ")
    assert one.tokens() == b"[] "
    assert one.tokens_version() not in {None, first}


def test_a_change_that_fails_changes_nothing(storage):
    store = storage.opened().secrets
    store.change_tokens(lambda _: b"[]")
    before = store.tokens_version()
    with pytest.raises(ZeroDivisionError):
        store.change_tokens(lambda _: bytes(1 // 0))
    assert (store.tokens(), store.tokens_version()) == (b"[]", before)
    store.change_tokens(lambda before: before + b" ")  # whoever comes next is not held up
    assert store.tokens() == b"[] "


def test_no_change_of_many_at_once_is_lost(storage):
    def add(store):
        for _ in range(20):
            store.change_tokens(lambda before: (before or b"") + b"x")

    threads = [threading.Thread(target=add, args=(storage.opened().secrets,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.opened().secrets.tokens() == b"x" * 80


def test_tokens_over_any_store(storage):
    tokens = Tokens(storage.opened().secrets)
    assert not tokens.demanded
    secret, made_ = Tokens(storage.opened().secrets).create("somebody", Scope.STREAM)
    assert tokens.demanded
    assert tokens.find(secret).id == made_.id
    assert tokens.find(secret + "x") is None
    Tokens(storage.opened().secrets).revoke(made_.id)
    assert tokens.find(secret) is None
    assert tokens.demanded, "that the last one was revoked opens nothing"
    with pytest.raises(TokenError, match="no token has the id"):
        tokens.revoke(made_.id)
    storage.opened().secrets.change_tokens(lambda _: b"no tokens")
    with pytest.raises(TokenError, match="nobody gets in"):
        tokens.find(secret)
