"""A real uvicorn on a free port of loopback, for as long as a block lasts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from automata_svc.api.connections import HeadsInTime


@contextmanager
def running(app: Any, http: type[HeadsInTime] = HeadsInTime) -> Iterator[str]:
    """Serves an ASGI app; gives its URL."""
    # Of protocol TCP by name: asyncio sends small answers at once over such sockets only.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", http=http)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
