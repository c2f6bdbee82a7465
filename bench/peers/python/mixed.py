"""What asyncio-mixed does (bench/mixed.cpp), with CPython's asyncio: the same command line."""
import asyncio
import json
import os
import ssl
import stat
import sys
import threading
import time

clock = time.perf_counter
work_ns_a_kib = 0.0


def compute(seconds):
    end = clock() + seconds
    while clock() < end:
        pass


def work_on(size):
    if work_ns_a_kib:
        compute(size / 1024 * work_ns_a_kib / 1e9)


class Connection(asyncio.Protocol):
    kind = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.kind == 0:
            self.kind = data[0]
        if self.kind == ord("E"):
            self.transport.write(data)
        else:
            work_on(len(data))


class Datagrams(asyncio.DatagramProtocol):
    def datagram_received(self, data, addr):
        work_on(len(data))


class Pipe(asyncio.Protocol):
    def data_received(self, data):
        work_on(len(data))


async def answer(reader, writer):
    kind = 0
    try:
        while data := await reader.read(65536):
            if kind == 0:
                kind = data[0]
            if kind == ord("E"):
                writer.write(data)
                await writer.drain()
            else:
                work_on(len(data))
    except OSError:
        pass
    writer.close()


async def serve(kind, pem, port):
    loop = asyncio.get_running_loop()
    context = None
    if pem:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
    if kind == "streams":
        server = await asyncio.start_server(answer, "127.0.0.1", port, ssl=context)
    else:
        server = await loop.create_server(Connection, "127.0.0.1", port, ssl=context)
    await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", port))
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        await loop.connect_read_pipe(Pipe, os.fdopen(os.dup(0), "rb", 0))
    print("# ready", flush=True)
    await server.serve_forever()


async def beside(tasks, each, length):
    loop = asyncio.get_running_loop()
    over = False

    async def worker():
        while not over:
            compute(each)
            await asyncio.sleep(0)

    workers = [asyncio.create_task(worker()) for _ in range(tasks)]
    sleeps, posts = [], []
    ended = threading.Event()

    def post():
        while not ended.is_set():
            time.sleep(0.01)
            posted = clock()
            loop.call_soon_threadsafe(lambda posted=posted: posts.append((clock() - posted) * 1e6))

    poster = threading.Thread(target=post)
    poster.start()
    end = clock() + length
    while clock() < end:
        due = clock() + 0.01
        await asyncio.sleep(0.01)
        sleeps.append((clock() - due) * 1e6)
    ended.set()
    await loop.run_in_executor(None, poster.join)
    over = True
    await asyncio.gather(*workers)
    print(json.dumps({"sleep": sleeps, "post": posts}))


def main():
    global work_ns_a_kib
    kind, *rest = sys.argv[1:]
    if kind == "compute":
        asyncio.run(beside(int(rest[0]), int(rest[1]) / 1e6, float(rest[2])))
        return
    pem = rest.pop(0) if kind.startswith("tls-") else None
    work_ns_a_kib = float(rest[0])
    asyncio.run(serve(kind.removeprefix("tls-"), pem, int(rest[1])))


main()
