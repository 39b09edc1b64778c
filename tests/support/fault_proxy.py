"""A TCP proxy on loopback that stands for a bad network: it can cut, lose, stall and delay what passes."""

import asyncio
import socket
import struct
import threading

UP, DOWN = "up", "down"  # to the server, and to the client
CHUNK_BYTES = 16384
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes connections on to `target`, a pair of host and port; without one it turns them away."""

    def __init__(self, target=None):
        self.target = target
        self.delay = 0.0
        """How long each chunk is held up [s]."""
        self.struck = 0
        """How many connections were cut or lost."""
        self._loop = asyncio.new_event_loop()
        self._links = set()
        self._stalled = dict.fromkeys((UP, DOWN), False)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._do(self._serve())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, *, after=0, direction=UP, silently=False):
        """End every connection once `after` more bytes went in `direction`; silently, by losing whatever follows."""

        def each(link):
            link.left[direction] = after
            link.silent = silently
            if not after:
                self._strike(link)

        self._do(self._for_all(each))

    def stall(self, *directions):
        """Hold back what goes in these directions alone."""
        self._do(self._for_all(lambda link: None, {way: way in directions for way in (UP, DOWN)}))

    # -- within

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _serve(self):
        return await asyncio.start_server(self._accept, sock=self._listener)

    def _strike(self, link):
        self.struck += not link.struck
        link.struck = True
        if not link.silent:
            link.abort()

    async def _for_all(self, each, stalled=None):
        self._stalled = stalled or self._stalled
        for link in list(self._links):
            each(link)
            link.wake()

    async def _end(self):
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for link in list(self._links):
            link.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        far = None
        try:
            if self.target:
                far_reader, far = await asyncio.open_connection(*self.target)
        except OSError:
            pass  # nobody is there
        if far is None:
            writer.transport.abort()
            return
        link = _Link(writer, far)
        self._links.add(link)
        ways = [self._pump(link, reader, far, UP), self._pump(link, far_reader, writer, DOWN)]
        try:
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.abort()

    async def _pump(self, link, reader, writer, way):
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self.delay:
                    await asyncio.sleep(self.delay)
                while self._stalled[way]:
                    await link.woken()
                if link.struck:
                    continue
                if link.left[way] is not None:
                    data = data[: link.left[way]]
                    link.left[way] -= len(data)
                writer.write(data)
                await writer.drain()
                if link.left[way] == 0:
                    self._strike(link)
        except OSError:
            return
        finally:
            link.abort()


class _Link:
    """One connection through the proxy."""

    def __init__(self, *writers):
        self._writers = writers
        self._woken = asyncio.Event()
        self.left = dict.fromkeys((UP, DOWN))
        self.silent = self.struck = False

    def wake(self):
        self._woken.set()

    async def woken(self):
        self._woken.clear()
        await self._woken.wait()

    def abort(self):
        for writer in self._writers:
            ends = writer.get_extra_info("socket")
            if ends is not None and ends.fileno() >= 0:
                ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()
