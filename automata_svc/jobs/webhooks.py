"""Telling the outside that a job has ended: rows written with the event, sent until they arrive.

A delivery is stored in the transaction that stores the change of state, so that none is lost and
none is sent for what never happened. It may be sent more than once (a sender that dies between the
answer and the note of it): its id stays the same, and receivers drop what they have seen.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from automata_svc import __version__
from automata_svc.errors import AutomataError, Conflict, NotFound, Problem, SpecError, Unavailable
from automata_svc.jobs.addresses import (
    AddressPolicy,
    Refused,
    Resolve,
    Target,
    addresses_of,
    read_url,
)
from automata_svc.jobs.saying import SaidOnce
from automata_svc.jobs.signatures import DELIVERY, EVENT, SIGNATURE, TIMESTAMP, sign
from automata_svc.jobs.tokens import write_secret
from automata_svc.spec.job import JobNews, NotifySpec, TuneJob

if TYPE_CHECKING:
    from automata_svc.database import DeliveryRow, StoredJob
    from automata_svc.database.store import Database
    from automata_svc.settings import Settings

_log = logging.getLogger("automata.webhooks")

NEWS: frozenset[str] = frozenset(get_args(JobNews))  # states that somebody can be told of
MAX_NOTIFY = 10  # guess: of one job

MAX_ATTEMPTS = 15  # guess: with the pauses below some five hours, a long outage
FIRST_PAUSE_S, MOST_PAUSE_S = 5.0, 3_600.0  # guess: doubled after each attempt
CONNECT_S = 5.0  # guess: to one address
MOST_ADDRESSES = 4  # of one name that are tried
ANSWER_S = 10.0  # a receiver should note it and answer; for the whole exchange
AT_ONCE = 8  # sent side by side, so that a slow receiver holds nobody up
LEASE_S = 90.0  # of the one service that sends; longer than two rounds of receivers that are slow

SECRET_FILE = Path("service") / "webhook-secret"  # in the home


# ---- what is asked ------------------------------------------------------------------------------


def policy_for(settings: Settings, env: Mapping[str, str] | None = None) -> AddressPolicy:
    """Where webhooks may go: this machine too where the whole service is on it, in its own home.

    Raises:
        SpecError: AUTOMATA_WEBHOOK_NETWORKS cannot be read.
    """
    return AddressPolicy.from_env(env, embedded=settings.is_embedded)


def check_notify(job: TuneJob, policy: AddressPolicy) -> list[Problem]:
    """What is wrong with the receivers that a job names, as far as their URLs say."""
    return check_receivers(job.spec.notify, policy)


def check_receivers(notify: Sequence[NotifySpec], policy: AddressPolicy) -> list[Problem]:
    """The same of receivers alone."""
    problems = []
    if len(notify) > MAX_NOTIFY:
        said = f"{len(notify)} receivers; {MAX_NOTIFY} are allowed"
        problems.append(Problem("spec.notify", said))
    for index, one in enumerate(notify):
        try:
            read_url(one.webhook, policy)
        except Refused as refused:
            # Without the URL: its path may be the receiver's password.
            problems.append(Problem(f"spec.notify[{index}].webhook", f"refused: {refused}"))
    return problems


# ---- the rows -----------------------------------------------------------------------------------


def news_of(kind: str, body: str) -> str | None:
    """What an event is called towards receivers; None: nobody is told of it."""
    if kind != "job_state":
        return None
    state = str(json.loads(body).get("state", "")).lower()
    return state if state in NEWS else None


def deliveries_for(
    job: StoredJob, events: Sequence[tuple[str, str]], first_seq: int, at: float, summary: Any
) -> list[DeliveryRow]:
    """What is to be sent because of these events; the same rows for the same events, always.

    Args:
        job: as it was submitted.
        events: (kind, body) from `first_seq` on.
        at: unix seconds of their append.
        summary: of the job after them, JSON-able; part of what is sent.
    """
    from automata_svc.database import DeliveryRow

    rows: list[DeliveryRow] = []
    notify: list[Mapping[str, Any]] | None = None
    for seq, (kind, text) in enumerate(events, start=first_seq):
        news = news_of(kind, text)
        if news is None:
            continue
        if notify is None:
            notify = json.loads(job.spec)["spec"].get("notify") or []
        for index, receiver in enumerate(notify):
            if news not in receiver["events"]:
                continue
            delivery = f"dlv_{job.id.removeprefix('job_')}_{seq}_{index}"
            body = {
                "id": delivery,
                "event": f"job.{news}",
                "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
                "job": {
                    "id": job.id,
                    "name": job.name,
                    "project": job.project,
                    "state": news.upper(),
                    "reason": json.loads(text).get("reason", ""),
                    "seq": seq,
                    "summary": summary,
                },
            }
            rows.append(
                DeliveryRow(
                    id=delivery,
                    job_id=job.id,
                    project=job.project,
                    url=receiver["webhook"],
                    event=f"job.{news}",
                    body=json.dumps(body, ensure_ascii=False),
                    attempts=0,
                    next_at=at,
                    status="waiting",
                    error=None,
                    created_at=at,
                    delivered_at=None,
                )
            )
    return rows


# ---- the secret ---------------------------------------------------------------------------------


def webhook_secret(settings: Settings, env: Mapping[str, str] | None = None) -> str:
    """What webhooks are signed with: AUTOMATA_WEBHOOK_SECRET_FILE, else one made for this home.

    Raises:
        SpecError: the file that is named is not there, or too short to keep anybody out.
        Unavailable: none can be stored.
    """
    env = os.environ if env is None else env
    named = env.get("AUTOMATA_WEBHOOK_SECRET_FILE")
    path = Path(named).expanduser() if named else settings.home / SECRET_FILE
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if named:
            said = f"there is no file {path}"
            raise SpecError(Problem("AUTOMATA_WEBHOOK_SECRET_FILE", said)) from None
        secret = f"whsec_{secrets.token_urlsafe(32)}"
        write_secret(path, secret)
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"the webhook secret {path} cannot be read: {said}") from None
    if len(secret) < 16:
        said = f"{path} holds {len(secret)} characters; right is at least 16, random ones"
        raise SpecError(Problem("AUTOMATA_WEBHOOK_SECRET_FILE", said))
    return secret


# ---- sending ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """How one attempt ended."""

    ok: bool
    said: str  # "answered 500", "cannot connect: …"; never with the URL's path
    final: bool = False  # trying again makes no sense
    retry_after_s: float | None = None  # what the receiver asked for


@dataclass(frozen=True)
class Sender:
    """One attempt at a time: judge the address, connect to it and to no other, sign, post."""

    secret: str
    policy: AddressPolicy = AddressPolicy()
    clock: Callable[[], float] = time.time
    resolve: Resolve | None = None  # None: the system's
    tls: ssl.SSLContext | None = None  # None: the system's authorities
    answer_s: float = ANSWER_S

    def send(self, row: DeliveryRow) -> Sent:
        """Posts a delivery once. No redirect is followed, no proxy used."""
        try:
            target = read_url(row.url, self.policy)
            addresses = addresses_of(target, self.policy, self.resolve)
        except Refused as refused:
            return Sent(False, f"refused: {refused}", final=True)
        except OSError as error:
            return Sent(False, f"cannot find '{target.host}': {_words(error)}")
        said = "nothing was tried"
        for address in addresses[:MOST_ADDRESSES]:
            try:
                connected = socket.create_connection((address, target.port), CONNECT_S)
            except OSError as error:
                said = f"cannot connect to {address} port {target.port}: {_words(error)}"
                continue
            with connected:
                return self._post(target, connected, row)
        return Sent(False, said)

    def _post(self, target: Target, connected: socket.socket, row: DeliveryRow) -> Sent:
        # Reads have a time limit each; the watchdog ends receivers that drip. It has a handle of
        # its own, for TLS takes the other one away.
        connected.settimeout(self.answer_s)
        with connected.dup() as handle:
            watchdog = threading.Timer(self.answer_s, _shut, (handle,))
            watchdog.daemon = True
            watchdog.start()
            try:
                return self._exchange(target, connected, row)
            except (OSError, http.client.HTTPException) as error:
                return Sent(False, f"no answer from '{target.host}': {_words(error)}")
            finally:
                watchdog.cancel()
                watchdog.join()

    def _exchange(self, target: Target, connected: socket.socket, row: DeliveryRow) -> Sent:
        stream = connected
        if target.scheme == "https":
            tls = self.tls or ssl.create_default_context()
            # The certificate must be that of the name, whatever address it stood for.
            stream = tls.wrap_socket(connected, server_hostname=target.host.rstrip("."))
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.sock = stream
        try:
            body = row.body.encode()
            stamp = int(self.clock())
            headers = {
                "Host": target.authority,
                "User-Agent": f"automata/{__version__}",
                "Content-Type": "application/json",
                "Connection": "close",
                DELIVERY: row.id,
                EVENT: row.event,
                TIMESTAMP: str(stamp),
                SIGNATURE: sign(self.secret, stamp, body),
            }
            connection.request("POST", target.path, body, headers)
            answer = connection.getresponse()  # its body is nobody's business
            return _judged(answer.status, answer.getheader("Retry-After"))
        finally:
            connection.close()


def _judged(status: int, retry_after: str | None) -> Sent:
    if 200 <= status < 300:
        return Sent(True, f"answered {status}")
    if 300 <= status < 400:
        return Sent(False, f"answered {status}; redirects are not followed, give the last URL")
    wait = float(retry_after) if retry_after and retry_after.isdecimal() else None
    gone = " (gone: it wants no more)" if status == 410 else ""
    return Sent(False, f"answered {status}{gone}", final=status == 410, retry_after_s=wait)


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# ---- until it arrives ---------------------------------------------------------------------------


def pause_s(delivery: str, attempts: int) -> float:
    """Seconds until the next attempt, after `attempts` of them: doubled each time, and spread.

    The spread (half to one and a half) is drawn from the delivery's id and the attempt, so that
    many deliveries to one receiver do not come back at the same moment, and each is the same for
    every process that asks.
    """
    base = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 32))
    return base * random.Random(f"{delivery}:{attempts}").uniform(0.5, 1.5)


def deliver_due(
    database: Database,
    sender: Sender,
    now: float,
    limit: int = 100,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Sends what is due, each once, and notes how it went; returns how many there were.

    Blocks for as long as the slowest receiver takes: run it in a thread (`WebhookWorker`).

    Args:
        is_over: from then on nothing more is begun.

    Raises:
        Unavailable: the database is away; what was sent and not noted is sent again.
    """
    due = database.due_deliveries(now, limit)
    if not due:
        return 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="automata-webhook") as pool:
        list(pool.map(partial(_deliver, database, sender, is_over), due))
    return len(due)


def _deliver(
    database: Database, sender: Sender, is_over: Callable[[], bool], row: DeliveryRow
) -> None:
    if is_over():
        return
    with suppress(NotFound):  # its job was deleted meanwhile
        _note(database, row, sender.send(row), sender.clock)


def _note(database: Database, row: DeliveryRow, sent: Sent, clock: Callable[[], float]) -> None:
    attempts, now = row.attempts + 1, clock()
    if sent.ok:
        database.update_delivery(
            row.id, status="delivered", attempts=attempts, error=None, delivered_at=now
        )
        return
    is_dead = sent.final or attempts >= MAX_ATTEMPTS
    asked = min(sent.retry_after_s or 0.0, MOST_PAUSE_S)
    database.update_delivery(
        row.id,
        status="dead" if is_dead else "waiting",
        attempts=attempts,
        error=sent.said,
        next_at=now + max(asked, pause_s(row.id, attempts)),
    )
    if is_dead:
        _log.warning("delivery %s is given up after %d attempts: %s", row.id, attempts, sent.said)


@dataclass
class WebhookWorker:
    """A thread that delivers what is due; of many services on one database, one at a time."""

    database: Database
    sender: Sender
    owner: str
    every_s: float = 1.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _token: int | None = None  # of the lease that this one holds

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="automata-webhooks", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float = 2 * ANSWER_S) -> None:
        """Ends after the attempts that are under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(wait_s)

    def once(self) -> int:
        """Delivers what is due, unless another service does; returns how many there were.

        Raises:
            Unavailable: the database is away.
        """
        try:
            if self._token is None:
                self._token = self.database.take_named("webhooks", self.owner, LEASE_S)
            else:
                self.database.renew_named("webhooks", self._token, LEASE_S)
        except Conflict:  # a lease that was lost is one, too
            self._token = None
            return 0
        now, is_over = self.sender.clock(), self._stop.is_set
        return deliver_due(self.database, self.sender, now, 2 * AT_ONCE, is_over)

    def _run(self) -> None:
        said = SaidOnce(_log, "webhooks wait: %s")
        while not self._stop.wait(self.every_s):
            try:
                while self.once() and not self._stop.is_set():
                    continue
                said.works()
            except AutomataError as error:  # a database that is away for a moment
                said.waits(error)
            except Exception:  # a mistake of ours must not end all sending
                _log.exception("a round of webhooks failed")
        if self._token is not None:
            with suppress(AutomataError):
                self.database.release_named("webhooks", self._token)
