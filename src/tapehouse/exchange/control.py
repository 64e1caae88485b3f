"""The levers beside the exchange's own paths: `/_exchange`, `/_exchange/faults`, `/_exchange/play`."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapehouse.exchange.context.faults import Fault
from tapehouse.exchange.faults import FaultSettings, Refusal
from tapehouse.exchange.floor import Floor


def control_routes(floor: Floor) -> list[Route]:
    """Return the routes that show and change what the exchange does.

    `POST /_exchange/faults` takes fault settings to change (`{"drop": 0.01}`), and beside them `clear`, `cut_now`,
    `server_shutdown` (true), `refuse` (a `Refusal`) and `context` (a `Fault` of an upstream beside the exchange).
    """

    async def show(_: Request) -> Response:
        return _json(floor.status())

    async def change(request: Request) -> Response:
        try:
            _carry_out(floor, msgspec.json.decode(await request.body(), type=dict[str, Any]))
        except ValueError as error:
            return _json({"error": str(error)}, status=422)
        return _json(floor.status())

    async def play(_: Request) -> Response:
        floor.play()
        return _json(floor.status())

    return [
        Route("/_exchange", show, methods=["GET"]),
        Route("/_exchange/faults", change, methods=["POST"]),
        Route("/_exchange/play", play, methods=["POST"]),
    ]


def _carry_out(floor: Floor, order: dict[str, Any]) -> None:
    refusal = msgspec.convert(order.pop("refuse", None), Refusal | None)
    context = msgspec.convert(order.pop("context", None), Fault | None)
    clears, cuts, shuts = (order.pop(name, False) is True for name in ("clear", "cut_now", "server_shutdown"))
    msgspec.convert(order, FaultSettings)  # refused as a whole, before anything changes
    if clears:
        floor.faults.clear()
        floor.context_faults.clear()
    floor.faults.set(**order)
    if refusal:
        floor.faults.refuse(refusal)
    if context:
        floor.context_faults.lay(context)
    if shuts:
        floor.announce_shutdown()
    if cuts:
        floor.cut()


def _json(value: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
