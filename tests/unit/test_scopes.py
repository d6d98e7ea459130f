"""Each route says who may ask; one that does not keeps the service from starting."""

import pytest
from starlette.routing import Mount, Route

from service.access.scopes import Access, Scopes, flat, needs
from service.access.tokens import Scope
from service.app import create_app
from service.settings import Settings

OPEN = {"/", "/docs", "/healthz", "/readyz", "/v1/session", "/static"}
ID = "0123456789abcdef"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))


def expected(kind, path, method):
    if path in OPEN:
        return None
    if kind == "websocket":
        return Scope.STREAM if path.endswith(("/ingest", "/pictures")) else Scope.READ
    if path.endswith("/snapshot"):  # it holds what the stream saw
        return Scope.STREAM
    if method in {"GET", "HEAD", "OPTIONS"} or path == "/v1/pipelines/validate":
        return Scope.READ
    return Scope.STREAM if path.startswith(("/v1/streams", "/v1/jobs", "/v1/uploads")) else Scope.ADMIN


def test_what_changes_streams_needs_stream_and_what_changes_the_service_admin(app):
    scopes, seen = Scopes(app.routes), 0
    for route in flat(app.routes):
        if isinstance(route, Mount):
            continue
        kind = "http" if hasattr(route, "methods") else "websocket"
        path = route.path
        for name in ("stream_id", "job_id", "upload_id", "name", "output", "artifact", "file"):
            path = path.replace(f"{{{name}}}", ID * (2 if name == "upload_id" else 1))
        path = path.replace("{", "").replace("}", "").partition(":")[0]
        for method in getattr(route, "methods", None) or [""]:
            found = scopes.of({"type": kind, "path": path, "method": method, "headers": [], "root_path": ""})
            assert found.scope == expected(kind, path, method), (method, path)
            seen += 1
    assert seen > 45


@pytest.mark.parametrize(
    ("method", "scope"), [("GET", Scope.READ), ("POST", Scope.ADMIN), ("DELETE", Scope.ADMIN)]
)
def test_paths_that_nobody_answers_are_not_for_strangers(app, method, scope):
    request = {"type": "http", "path": "/v1/nothing", "method": method, "headers": [], "root_path": ""}
    assert Scopes(app.routes).of(request) == Access(scope)


def test_a_route_that_does_not_say_who_may_ask_is_noticed():
    @needs(Scope.READ)
    async def declared(request):
        pass

    async def forgotten(request):
        pass

    routes = [Route("/a", declared), Route("/b", forgotten)]
    Scopes(routes[:1]).check()
    with pytest.raises(RuntimeError, match=r"who may ask: /b$"):
        Scopes(routes).check()


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        ("POST", "/v1/streams/", Access(Scope.STREAM)),  # redirected
        ("DELETE", f"/v1/jobs/{ID}/", Access(Scope.STREAM)),
        ("OPTIONS", "/healthz", Access(None, always=True)),  # 405 with Allow, as for anybody
        ("POST", "/readyz", Access(None, always=True)),
        ("PUT", "/v1/streams", Access(Scope.READ)),  # 405
    ],
)
def test_redirects_and_wrong_methods_are_told_to_whoever_may_ask(app, method, path, access):
    request = {"type": "http", "path": path, "method": method, "headers": [], "root_path": ""}
    assert Scopes(app.routes).of(request) == access
