"""A wire that can be cut: a proxy on loopback that ends connections when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Forwards bytes to a port, and cuts where `cut_after` says so.

    Args:
        cut_after: asked of each piece that a client sends; True: it is forwarded, its answer is
            awaited, and the client gets the end of the connection instead of it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.cut_after: Callable[[bytes], bool] = lambda data: False
        self.cuts = 0
        self.refuses = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.refuses:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                deaf = threading.Event()
                answered = threading.Event()
                threading.Thread(
                    target=self._answers, args=(server, client, deaf, answered), daemon=True
                ).start()
                while data := client.recv(65536):
                    if self.cut_after(data):
                        self.cuts += 1
                        deaf.set()
                        server.sendall(data)
                        answered.wait(5)
                        _end(client)
                        _end(server)  # a close alone is not sent while the other thread reads
                        return
                    server.sendall(data)
                _end(server)

    def _answers(
        self,
        server: socket.socket,
        client: socket.socket,
        deaf: threading.Event,
        answered: threading.Event,
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if deaf.is_set():
                    answered.set()
                else:
                    client.sendall(data)
            _end(client)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
