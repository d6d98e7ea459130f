"""``/``: the dashboard, as `make` builds it from clients/web."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from service.access.scopes import Access, declare, open_to_all

FOLDER = Path(__file__).parents[1] / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_NOT_BUILT = "The page is not built: `make run` builds it. The service itself is up; see /v1/openapi.json.\n"
_KEEP = "public, max-age=31536000, immutable"
router = APIRouter(include_in_schema=False)


class _Assets(StaticFiles):
    """Files whose names change with what is in them."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        answer = super().file_response(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        answer.headers["Cache-Control"] = _KEEP
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


static = declare(_Assets(directory=FOLDER / "static", check_dir=False), Access(None))


@router.get("/")
@open_to_all()
async def dashboard() -> Response:
    """The page."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    page = FOLDER / "index.html"
    if not page.is_file():
        return Response(_NOT_BUILT, 503, headers, "text/plain")
    return FileResponse(page, headers=headers)


@router.get("/docs")
@open_to_all()
async def docs() -> Response:
    """Where people look for the REST API first."""
    return RedirectResponse("./#/api", 307)
