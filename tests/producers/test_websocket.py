"""A connection against a real server: every frame as it came, pings answered, bounds held, ends told."""

import asyncio
import socket
from contextlib import suppress

import pytest

from tapehouse.ports import Batch
from tapehouse.producers import websocket
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.websocket import Connection, HandshakeError, connect


class Taken(list[Batch]):
    async def take(self, batch: Batch) -> None:
        self.append(batch)

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self for frame in batch.frames]


async def receive(url: str, idle_after: float = 20.0) -> tuple[Connection, Taken, str]:
    connection, taken = await connect(url, ArrivalClock()), Taken()
    ending = await connection.deliver(taken.take, idle_after=idle_after)
    connection.abort()
    return connection, taken, ending


async def test_every_frame_arrives_in_order_with_its_time(exchange, trade):
    sent = [trade(ident) for ident in range(5000)]

    async def play(connection):
        for message in sent:
            await connection.send(message)

    exchange.plays.append(play)
    connection, taken, ending = await receive(exchange.ws)
    assert [message.encode() for message in sent] == taken.frames
    times = [at for batch in taken for at in batch.received_at]
    assert len(times) == 5000 == connection.frames_received
    assert times == sorted(times)
    assert (ending, connection.close_code) == ("closed", 1000)


async def test_text_binary_short_and_fragmented_messages_are_kept_as_they_came(exchange, trade):
    async def play(connection):
        await connection.send("{}")
        await connection.send(trade(1).encode())
        await connection.send(b"\x00\xff")
        await connection.send([trade(2)[:100], trade(2)[100:]])
        await connection.send([b"\x01" * 200, b"\x02", b"\x03" * 200])
        await connection.send(trade(3))

    exchange.plays.append(play)
    _, taken, _ = await receive(exchange.ws)
    whole = b"\x01" * 200 + b"\x02" + b"\x03" * 200
    assert [b"{}", trade(1).encode(), b"\x00\xff", trade(2).encode(), whole, trade(3).encode()] == taken.frames
    binary = [batch.frames[place] for batch in taken for place in batch.binary]
    assert [trade(1).encode(), b"\x00\xff", whole] == binary


async def test_a_ping_is_answered_with_its_payload_between_fragments_too(exchange):
    async def play(connection):
        await (await connection.ping("payload-1"))
        await connection.send("over")

    exchange.plays.append(play)
    _, taken, _ = await receive(exchange.ws)
    assert taken.frames == [b"over"]


async def test_a_flood_of_pings_is_answered_within_the_rate_and_the_last_one_is(exchange):
    pongs = []

    async def play(connection):
        waits = [await connection.ping(f"ping {number}") for number in range(50)]
        pongs.append(connection)
        await waits[-1]
        await connection.send("over")

    exchange.plays.append(play)
    connection, taken, _ = await receive(exchange.ws)
    assert taken.frames == [b"over"]
    assert connection.pongs_sent == 2


@pytest.mark.parametrize("fragments", [["x" * 700_000, "y" * 700_000], ["x" * 1_100_000]], ids=["pieces", "one"])
async def test_a_message_beyond_the_bound_ends_the_connection_with_1009(exchange, fragments, eventually):
    codes = []

    async def play(connection):
        await connection.send("before")
        await connection.send(fragments)
        await connection.wait_closed()
        codes.append(connection.close_code)

    exchange.plays.append(play)
    _, taken, ending = await receive(exchange.ws)
    assert (taken.frames, ending) == ([b"before"], "closed")
    await eventually(lambda: codes)
    assert codes == [1009]


async def test_the_close_code_and_reason_of_the_server_are_kept(exchange):
    async def play(connection):
        await connection.send("last words")
        await connection.close(1012, "back soon")

    exchange.plays.append(play)
    connection, taken, _ = await receive(exchange.ws)
    assert taken.frames == [b"last words"]
    assert (connection.close_code, connection.close_reason) == (1012, "back soon")


async def test_a_cut_without_a_word_ends_the_delivery_after_what_came(exchange):
    async def play(connection):
        await connection.send("one")
        connection.transport.close()

    exchange.plays.append(play)
    connection, taken, ending = await receive(exchange.ws)
    assert (taken.frames, ending, connection.close_code) == ([b"one"], "closed", 1006)


async def test_silence_is_told_as_idle_though_pings_come(exchange):
    async def play(connection):
        await connection.send("one")
        while True:
            await connection.ping()
            await asyncio.sleep(0.01)

    exchange.plays.append(play)
    _, taken, ending = await receive(exchange.ws, idle_after=0.1)
    assert (taken.frames, ending) == ([b"one"], "idle")


async def test_a_slow_taker_makes_the_server_wait_and_nothing_is_lost(exchange, eventually):
    count, sent = 3000, []
    message = "x" * 10_000

    async def play(connection):
        for number in range(count):
            await connection.send(f"{number:06}{message}")
            sent.append(number)

    exchange.plays.append(play)
    connection = await connect(exchange.ws, ArrivalClock())
    gate, taken = asyncio.Event(), Taken()

    async def take(batch: Batch) -> None:
        await gate.wait()
        await taken.take(batch)

    delivery = asyncio.create_task(connection.deliver(take, idle_after=20))
    await eventually(lambda: not connection.is_reading)
    assert connection.frames_received < count
    gate.set()
    assert await asyncio.wait_for(delivery, 20) == "closed"
    assert list(range(count)) == [int(frame[:6]) for frame in taken.frames]


async def test_a_refusal_carries_its_status_and_retry_after(exchange):
    exchange.refusals.append((429, {"Retry-After": "17"}, {"code": -1003}))
    with pytest.raises(HandshakeError) as refusal:
        await connect(exchange.ws, ArrivalClock())
    assert (refusal.value.status, refusal.value.retry_after) == (429, 17.0)


async def test_an_address_where_nobody_listens_is_a_handshake_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(HandshakeError) as refusal:
        await connect(f"ws://127.0.0.1:{port}", ArrivalClock())
    assert refusal.value.status == 0


async def test_a_server_that_accepts_and_says_nothing_is_given_up():
    accepted = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _reader, writer: accepted.set_result(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(HandshakeError, match="no answer"):
        await connect(f"ws://127.0.0.1:{port}", ArrivalClock(), timeout=0.1)
    writer = await asyncio.wait_for(accepted, 20)
    writer.close()
    await writer.wait_closed()
    server.close()


async def test_an_address_that_speaks_something_else_is_a_handshake_error():
    replied = asyncio.Event()

    async def reply(_reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        replied.set()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(HandshakeError):
        await connect(f"ws://127.0.0.1:{port}", ArrivalClock(), timeout=5)
    await asyncio.wait_for(replied.wait(), 20)
    server.close()


async def test_what_was_received_before_our_own_close_is_delivered(exchange, trade):
    async def play(connection):
        await connection.send(trade(1))
        await connection.wait_closed()

    exchange.plays.append(play)
    connection, taken = await connect(exchange.ws, ArrivalClock()), Taken()
    await asyncio.wait_for(connection.started.wait(), 20)
    connection.close()
    assert await connection.deliver(taken.take, idle_after=20) == "closed"
    assert [trade(1).encode()] == taken.frames


async def test_what_was_received_before_a_cancellation_is_delivered(exchange, trade, eventually):
    async def play(connection):
        for ident in range(100):
            await connection.send(trade(ident))
        await connection.wait_closed()

    exchange.plays.append(play)
    connection, taken = await connect(exchange.ws, ArrivalClock()), Taken()
    await eventually(lambda: connection.frames_received == 100)
    delivery = asyncio.create_task(connection.deliver(taken.take, idle_after=20))
    await asyncio.sleep(0)
    delivery.cancel()
    await asyncio.wait([delivery])
    connection.abort()
    assert delivery.cancelled()
    assert [trade(ident).encode() for ident in range(100)] == taken.frames


async def test_a_batch_the_taker_had_no_room_for_is_not_left_out_by_a_cancellation(exchange, trade, eventually):
    room, waits, taken = asyncio.Event(), asyncio.Event(), Taken()

    async def take(batch: Batch) -> None:
        waits.set()
        await room.wait()
        await taken.take(batch)

    async def play(connection):
        await connection.send(trade(1))
        await waits.wait()
        await connection.send(trade(2).encode())
        await connection.wait_closed()

    exchange.plays.append(play)
    connection = await connect(exchange.ws, ArrivalClock())
    delivery = asyncio.create_task(connection.deliver(take, idle_after=20))
    await eventually(lambda: connection.frames_received == 2)
    delivery.cancel()
    room.set()
    await asyncio.wait([delivery], timeout=20)
    connection.abort()
    assert [trade(1).encode(), trade(2).encode()] == taken.frames
    assert [place for batch in taken for place in batch.binary] == [1]


async def test_a_taker_without_room_does_not_hold_up_a_cancellation(exchange, trade, monkeypatch):
    monkeypatch.setattr(websocket, "LAST_BATCH_WITHIN", 0.01)

    async def play(connection):
        await connection.send(trade(1))
        await connection.wait_closed()

    exchange.plays.append(play)
    connection = await connect(exchange.ws, ArrivalClock())
    await connection.started.wait()
    delivery = asyncio.create_task(connection.deliver(lambda _batch: asyncio.sleep(3600), idle_after=20))
    await asyncio.sleep(0)
    delivery.cancel()
    await asyncio.wait([delivery], timeout=20)
    connection.abort()
    assert delivery.cancelled()


def test_the_rate_of_pongs_stays_below_five_a_second():
    assert 1 / websocket.PONG_SPACING < 5
