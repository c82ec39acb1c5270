"""What makes the page installable as an app: its manifest and icons."""

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from core.files import Folders

MANIFEST = "/manifest.json"
ICONS = {"icon-192.png": ("192x192", "any"), "icon-512.png": ("512x512", "any"),
         "icon-maskable-512.png": ("512x512", "maskable")}
# Colours of the page in style.css, for the window's frame until the page is there.
PAGE, ACCENT = "#f5f7f8", "#0b6a7d"


def routes(folders: Folders) -> list[Route]:
    """They stand before Gradio's own, whose manifest has one icon without a size."""
    icons = [{"src": f"icons/{name}", "sizes": sizes, "type": "image/png", "purpose": purpose}
             for name, (sizes, purpose) in ICONS.items()]

    async def manifest(_: Request) -> Response:
        return JSONResponse({
            "id": "tunedesk", "name": "TuneDesk", "short_name": "TuneDesk",
            "description": "Fine-tune a language model on your own data by clicking.",
            "start_url": "./", "scope": "./", "display": "standalone",
            "background_color": PAGE, "theme_color": ACCENT, "icons": icons,
        }, media_type="application/manifest+json")

    async def icon(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ICONS:
            return Response("There is no such icon.", 404)
        return FileResponse(folders.assets / name)

    return [Route(MANIFEST, manifest), Route("/icons/{name}", icon)]
