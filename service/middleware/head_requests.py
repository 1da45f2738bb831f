"""HEAD on every route that answers GET."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware, the innermost: hands HEAD to the route as GET, and leaves out the body of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Extend ``app``."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; for the log and the server it is HEAD again when the answer begins."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        scope["method"] = "GET"

        async def send_without_body(message: Message) -> None:
            scope["method"] = "HEAD"
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, send_without_body)
        finally:
            scope["method"] = "HEAD"
