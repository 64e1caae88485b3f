"""HEAD is answered as GET is, without the body (RFC 9110, 9.3.2): `curl -I` and uptime monitors ask so."""

from starlette.types import ASGIApp, Receive, Scope, Send


class AnswersHead:
    """ASGI middleware: the app sees GET in the place of HEAD; the server, which knows better, sends no body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        asks_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if asks_head else scope, receive, send)
