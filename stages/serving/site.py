"""The page's addresses. All lie below a token that the command prints, and answer this machine's browser alone.

Refused are another ``Host`` (a name that was made to lead here), another ``Origin``, and whatever has no token. A key of a file
or a job is drawn by chance here; none becomes a path before it is found among those that were given out.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.base.errors import ParameterError
from stages.serving.asked import Wanted
from stages.serving.files import Files, TooMuch
from stages.serving.line import Full, Line
from stages.talking.options import BLINKS, MOTION, Options

HERE = Path(__file__).parent
HOSTS = ("127.0.0.1", "localhost")
LONGEST = 4096  # bytes of a job's description
STATIC = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through what has the token and comes from the page itself; gives every answer :data:`HEADERS`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, headed)

    def _refusal(self, scope: Scope) -> Response | None:
        given = Headers(scope=scope)
        origin = given.get("origin")
        if origin is not None and origin != f"http://{given.get('host')}":
            return PlainTextResponse("asked by another site\n", 403)
        followed = scope["method"] == "GET" and given.get("sec-fetch-mode") == "navigate"  # a link, in a terminal say
        if given.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            return PlainTextResponse("asked by another site\n", 403)
        if scope["path"] == "/favicon.ico":
            return Response(status_code=204)
        if not secrets.compare_digest(scope["path"].split("/")[1].encode(), self.token):
            return PlainTextResponse("open the whole address that the command printed\n", 403)
        return None


def app(token: str, files: Files, line: Line, model: Path, usual: Options, always: Sequence[str]) -> Starlette:
    """The page for a model. ``usual``: the options of its every film; ``always``: the flags that give these."""

    def static(name: str) -> Route:
        file, kind = STATIC[name]

        async def answer(request: Request) -> Response:
            return FileResponse(HERE / file, media_type=kind)

        return Route(f"/{name}", answer)

    async def about(request: Request) -> Response:
        shown = {"motion": MOTION, "blink": BLINKS, "seed": usual.seed}
        return JSONResponse({"model": model.name, "most": files.most, "max_side": usual.max_side, "usual": shown})

    async def receive(request: Request) -> Response:
        said = request.headers.get("content-length", "")
        try:
            key = await files.receive(request.stream(), int(said) if said.isdecimal() else None)
        except TooMuch as error:
            return JSONResponse({"error": str(error)}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse({"key": key}, 201)

    async def remove(request: Request) -> Response:
        return Response(status_code=204 if files.remove(request.path_params["key"]) else 404)

    async def add(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST:
                return JSONResponse({"error": f"a job's description has more than {LONGEST} bytes"}, 413)
        try:
            job = Wanted.model_validate_json(body)
            face, sound = files.path(job.face), files.path(job.sound)
            if face is None or sound is None:
                return JSONResponse({"error": "the file is not here any more; choose it again"}, 404)
            key = line.add(face, sound, job.asked.options(usual), job.asked.command(model, always))
        except ValidationError as error:
            wrong = error.errors()[0]
            return JSONResponse({"error": f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"}, 422)
        except ParameterError as error:
            return JSONResponse({"error": str(error)}, 422)
        except Full as error:
            return JSONResponse({"error": str(error)}, 429)
        return JSONResponse({"key": key}, 201)

    async def jobs(request: Request) -> Response:
        return JSONResponse(line.shown())

    async def cancel(request: Request) -> Response:
        return Response(status_code=202 if line.cancel(request.path_params["key"]) else 404)

    async def video(request: Request) -> Response:
        path = line.result(request.path_params["key"])
        if path is None:
            return PlainTextResponse("no such video\n", 404)
        return FileResponse(path, media_type="video/mp4")

    routes = [
        *map(static, STATIC),
        Route("/about", about),
        Route("/files", receive, methods=["POST"]),
        Route("/files/{key}", remove, methods=["DELETE"]),
        Route("/jobs", jobs),
        Route("/jobs", add, methods=["POST"]),
        Route("/jobs/{key}", cancel, methods=["DELETE"]),
        Route("/jobs/{key}/video", video),
    ]
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(Guard, token=token),
    ]
    return Starlette(routes=[Mount(f"/{token}", Router(routes, redirect_slashes=False))], middleware=guards)
