"""What a request needs: declared at each route, looked up before anything else is done with the request.

    @router.delete("/{stream_id}")
    @needs(Scope.STREAM)
    async def delete(...): ...

A route that declares nothing keeps the service from starting; a path that no route answers needs ``read`` to learn
that, and ``admin`` where something would be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import starlette.types
from starlette.routing import BaseRoute, Match, Mount

from service.access.tokens import Scope

_F = TypeVar("_F", bound=Callable[..., Any])
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_ATTRIBUTE = "__polychrony_access__"


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        scope: that a token must have; None for everybody.
        always: whether it is answered whatever else is wrong, and as often as somebody asks.
    """

    scope: Scope | None
    always: bool = False


def needs(scope: Scope) -> Callable[[_F], _F]:
    """Declare the scope that a route's requests need."""
    return lambda endpoint: declare(endpoint, Access(scope))


def open_to_all(always: bool = False) -> Callable[[_F], _F]:
    """Declare that anybody may ask; see :class:`Access`."""
    return lambda endpoint: declare(endpoint, Access(None, always))


def declare(endpoint: _F, access: Access) -> _F:
    """The same endpoint, declared."""
    setattr(endpoint, _ATTRIBUTE, access)
    return endpoint


class Scopes:
    """What each request needs, by the route that will answer it.

    Args:
        routes: of the application, in the order in which they are tried.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = tuple(flat(routes))

    def check(self) -> None:
        """Demand that every route declares something.

        Raises:
            RuntimeError: one does not.
        """
        undeclared = [
            str(getattr(route, "path", route)) for route in self._routes if _declared(route) is None
        ]
        if undeclared:
            raise RuntimeError(f"routes that do not declare who may ask: {', '.join(undeclared)}")

    def of(self, scope: starlette.types.Scope) -> Access:
        """What a request or an upgrade needs."""
        match, access = self._nearest(scope)
        if match is not Match.FULL and scope["path"].endswith("/"):
            redirected, target = self._nearest(_without_slash(scope))
            match, access = (redirected, target) if redirected is Match.FULL else (match, access or target)
        if access is not None:  # also of a method that the path has not: 405 may be told
            return access
        harmless = scope["type"] == "websocket" or scope["method"] in SAFE
        return Access(Scope.READ if harmless else Scope.ADMIN)

    def _nearest(self, scope: starlette.types.Scope) -> tuple[Match, Access | None]:
        partial = list[Access]()
        for route in self._routes:
            match, access = route.matches(scope)[0], _declared(route)
            if match is Match.FULL and access is not None:
                return match, access
            if match is Match.PARTIAL and access is not None:
                partial.append(access)
        return Match.PARTIAL, min(partial, key=lambda one: one.scope or 0, default=None)


def _without_slash(scope: starlette.types.Scope) -> starlette.types.Scope:
    """What a path with a slash too many is redirected to."""
    return {**scope, "path": scope["path"].rstrip("/") or "/"}


def flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """The routes, and those of included routers, which FastAPI keeps as they are."""
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else flat(included.routes)


def _declared(route: BaseRoute) -> Access | None:
    answers = route.app if isinstance(route, Mount) else getattr(route, "endpoint", None)
    return getattr(answers, _ATTRIBUTE, None)
