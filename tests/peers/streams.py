"""Our streams against CPython's, both ways round, on TCP and unix sockets.

    streams.py STREAM_PEER
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile

PEER = sys.argv[1]
LIMIT = 1 << 20


async def echo_lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def talk(connect, seed):
    reader, writer = await connect()
    rng = random.Random(seed)
    lines = [bytes([97 + i % 26]) * rng.randrange(200_000 if i % 50 == 0 else 100) + b"\n"
             for i in range(200)]

    async def send():
        for line in lines:
            writer.write(line)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    for line in lines:
        assert await reader.readline() == line
    assert await reader.read() == b""
    await sending
    writer.close()
    await writer.wait_closed()


class OurServer:
    def __init__(self, where):
        self.where = where

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            PEER, "serve", self.where, stdout=subprocess.PIPE)
        self.port = int(await self.process.stdout.readline())
        return self

    async def __aexit__(self, *error):
        self.process.kill()
        await self.process.wait()


async def talk_to(connect):
    await asyncio.gather(*(talk(connect, i) for i in range(20)))


async def run_client(*where):
    process = await asyncio.create_subprocess_exec(PEER, "client", *where)
    assert await process.wait() == 0, f"our client failed against {where}"


async def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        async with OurServer("127.0.0.1") as server:
            await talk_to(lambda: asyncio.open_connection("127.0.0.1", server.port, limit=LIMIT))
            print("CPython's clients, our server: ok")
        async with OurServer(path):
            await talk_to(lambda: asyncio.open_unix_connection(path, limit=LIMIT))
            print("CPython's clients, our unix server: ok")
        server = await asyncio.start_server(echo_lines, "127.0.0.1", 0, limit=LIMIT)
        await run_client("127.0.0.1", str(server.sockets[0].getsockname()[1]))
        server.close()
        print("our clients, CPython's server: ok")
        other = os.path.join(folder, "other")
        server = await asyncio.start_unix_server(echo_lines, other, limit=LIMIT)
        await run_client(other)
        server.close()
        print("our clients, CPython's unix server: ok")


asyncio.run(asyncio.wait_for(main(), 100))
