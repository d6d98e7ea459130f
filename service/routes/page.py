"""``/``: the dashboard."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

_SERVICE = Path(__file__).parents[1]
# In the wheel it lies beside the service, in a checkout where it is written.
FOLDER = next(
    path
    for path in (_SERVICE / "web", _SERVICE.parent / "clients" / "web")
    if (path / "index.html").is_file()
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
router = APIRouter(include_in_schema=False)
static = StaticFiles(directory=FOLDER)


@router.get("/")
async def dashboard() -> FileResponse:
    """The page."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    return FileResponse(FOLDER / "index.html", headers=headers)
