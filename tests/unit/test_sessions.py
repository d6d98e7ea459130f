"""A browser that is signed in is not for ever."""

import time

from service.access.sessions import Sessions
from service.access.tokens import Scope, Tokens
from service.storage.files.secret_files import SecretFiles


def test_a_session_ends_by_itself_and_with_its_token(tmp_path):
    tokens = Tokens(SecretFiles(tmp_path))
    secret, token = tokens.create("me", Scope.ADMIN)
    short = Sessions(tokens, 0.2)
    cookie, _ = short.begin(secret)
    assert short.find(cookie).id == token.id
    assert short.find(cookie + "x") is None
    time.sleep(0.25)
    assert short.find(cookie) is None
    long = Sessions(tokens, 3600)
    cookie, _ = long.begin(secret)
    other, _ = long.begin(secret)
    long.end(other)
    assert long.find(other) is None
    assert long.find(cookie).id == token.id
    tokens.revoke(token.id)
    assert long.find(cookie) is None
