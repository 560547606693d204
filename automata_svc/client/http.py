"""One connection to a service: requests, what is tried again, and problems as our own errors."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from automata_svc import errors
from automata_svc.errors import AutomataError, SpecError, Unavailable
from automata_svc.spec.wire.problems import MEDIA_TYPE, Problem

TIMEOUT_S = 60.0  # guess: for an answer; planning on a large dataset takes seconds
CONNECT_S = 5.0
TRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 0.2, 5.0  # guess: 3 s of a server that restarts

# The last part of a problem's type → the error that it stands for; by status where none is known.
BY_CODE: Mapping[str, type[AutomataError]] = MappingProxyType(
    {
        "stale": errors.Stale,
        "key-reused": errors.KeyReused,
        "unauthenticated": errors.Unauthenticated,
        "denied": errors.Denied,
        "damaged": errors.Damaged,
    }
)
BY_STATUS: Mapping[int, type[AutomataError]] = MappingProxyType(
    {
        401: errors.Unauthenticated,
        403: errors.Denied,
        404: errors.NotFound,
        408: errors.TooSlow,
        409: errors.Conflict,
        412: errors.Stale,
        413: errors.TooLarge,
        502: errors.Unavailable,
        503: errors.Unavailable,
        504: errors.Unavailable,
    }
)


class Http:
    """Safe to share between threads.

    A request that may be sent twice (GET, DELETE, one with an Idempotency-Key, or where `again`
    says so) is tried again where the network fails or the server says "later".

    Args:
        url: of the server, e.g. http://127.0.0.1:8070. One on loopback is reached directly,
            whatever HTTP_PROXY says.
        token: a bearer token; None: none is sent.

    Raises:
        SpecError: the URL or the token cannot be one.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = _split(url)
        self.url = url.rstrip("/")
        self._sleep = sleep
        self._client = httpx.Client(
            base_url=self.url,
            headers={} if token is None else {"Authorization": f"Bearer {_checked(token)}"},
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            transport=transport,
            mounts=_no_proxy(parts.hostname or ""),
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        again: bool | None = None,
    ) -> httpx.Response:
        """Sends a request and returns its answer, which is no error.

        Args:
            again: whether it may be sent a second time; None: by its method and headers.

        Raises:
            Unavailable: nobody answers, or the server says "later" every time.
            AutomataError: what the server's problem stands for.
        """
        sent = dict(headers or {})
        if again is None:
            again = method in ("GET", "HEAD", "PUT", "DELETE") or "Idempotency-Key" in sent
        limit = (
            httpx.USE_CLIENT_DEFAULT
            if timeout_s is None
            else httpx.Timeout(timeout_s, connect=CONNECT_S)
        )
        pause = FIRST_PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                answer = self._client.request(
                    method, path, params=params, json=json, content=content, headers=sent,
                    timeout=limit,
                )  # fmt: skip
            except httpx.TransportError as error:
                # A connection that was never made did nothing, whatever was to be sent.
                if left and (again or isinstance(error, httpx.ConnectError)):
                    self._sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                    continue
                raise self._unreachable(error) from None
            if answer.is_success:
                return answer
            problem = error_of(answer)
            if left and isinstance(problem, Unavailable) and (again or _refused(answer)):
                self._sleep(max(pause, min(_retry_after(answer), LONGEST_PAUSE_S)))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            raise problem
        raise AssertionError("unreachable")

    def post_json(self, path: str, body: str, *, timeout_s: float) -> bytes:
        """Sends JSON that may be sent again; see `client.asks.Posts`."""
        headers = {"Content-Type": "application/json"}
        answer = self.request(
            "POST", path, content=body, headers=headers, timeout_s=timeout_s, again=True
        )
        return answer.content

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, silence_s: float = TIMEOUT_S
    ) -> Iterator[httpx.Response]:
        """A GET whose answer is read bit by bit; it is not tried again.

        Args:
            silence_s: without a single byte, after which the line counts as cut.

        Raises:
            As `request`; Unavailable also where the line is cut while it is read.
        """
        timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
        try:
            with self._client.stream(
                "GET", path, headers=dict(headers or {}), timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise error_of(answer)
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        said = str(error) or type(error).__name__
        return Unavailable(
            f"the server {self.url} does not answer: {said}. Is it up? `automata serve` starts "
            "one; --server names another, --local runs jobs without one"
        )


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], answer: httpx.Response) -> Model:
    """The body of an answer.

    Raises:
        AutomataError: it is not what this version understands.
    """
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _not_ours(answer, f"{where}: {first['msg']}" if where else first["msg"]) from None


def read_object(answer: httpx.Response) -> dict[str, Any]:
    """The body of an answer that is a JSON object; raises as `read`."""
    try:
        found = answer.json()
    except ValueError as error:
        raise _not_ours(answer, str(error)) from None
    if not isinstance(found, dict):
        raise _not_ours(answer, "it is no JSON object")
    return found


def _not_ours(answer: httpx.Response, said: str) -> AutomataError:
    return AutomataError(
        f"{answer.request.url} answered what is not understood here ({said}); is it an automata "
        "server, and no newer than this client?"
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SpecError(f"server '{url}': {error}; write it as http://127.0.0.1:8070") from None
    if "@" in parts.netloc:  # not repeated: it may hold a password
        raise SpecError(
            f"a server's URL holds no user or password ('…@{parts.hostname}'); its token goes into "
            "--token-file or AUTOMATA_TOKEN"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise SpecError(f"server '{url}': a URL is needed, e.g. http://127.0.0.1:8070")
    if parts.query or parts.fragment:
        raise SpecError(f"server '{url}': leave out what follows the path, from ? or # on")
    return parts


def _checked(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SpecError(
            "the token is empty, or has spaces or letters that no token has; is it the whole "
            "content of the right file?"
        )
    return token


def _no_proxy(host: str) -> dict[str, None] | None:
    """What keeps httpx from sending loopback's requests, and their token, to a proxy."""
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost" or host.endswith(".localhost")
    return {f"all://{f'[{host}]' if ':' in host else host}": None} if near else None


def new_key() -> str:
    """An Idempotency-Key: however often a request with it arrives, it is done once."""
    return uuid.uuid4().hex


def error_of(answer: httpx.Response) -> AutomataError:
    """The error that a problem stands for, with its own words."""
    if not answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        kind = BY_STATUS.get(answer.status_code, AutomataError)
        return kind(
            f"{answer.request.url} answered {answer.status_code}; is it an automata server?"
        )
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return AutomataError(f"{answer.request.url} answered {answer.status_code}, unreadably")
    if answer.status_code == 429:
        return errors.TooMany(problem.detail, _retry_after(answer))
    said = BY_CODE.get(problem.code) or BY_STATUS.get(answer.status_code)
    if said is not None:
        return said(problem.detail)
    if problem.errors:
        return SpecError([errors.Problem(one.pointer, one.detail) for one in problem.errors])
    if answer.status_code < 500:
        return SpecError(problem.detail)
    return AutomataError(f"{problem.detail} (trace {problem.trace_id})")


def _refused(answer: httpx.Response) -> bool:
    """Whether the server says that it did nothing: too many requests."""
    return answer.status_code == 429


def _retry_after(answer: httpx.Response) -> float:
    try:
        return float(answer.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
