"""Webhooks: written with the event, signed, sent until they arrive, and never behind our walls."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from automata_svc.database import DeliveryRow, open_database
from automata_svc.database.store import Database
from automata_svc.errors import SpecError, Unavailable
from automata_svc.jobs.addresses import AddressPolicy
from automata_svc.jobs.hosted import Hosted
from automata_svc.jobs.housekeeping import Housekeeping
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.signatures import verify
from automata_svc.jobs.tenancy import OPERATOR
from automata_svc.jobs.webhooks import (
    AT_ONCE,
    FIRST_PAUSE_S,
    MAX_ATTEMPTS,
    MOST_PAUSE_S,
    Sender,
    Sent,
    WebhookWorker,
    check_notify,
    deliver_due,
    deliveries_for,
    pause_s,
    policy_for,
    webhook_secret,
)
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from tests.jobs.build import RUNNER, job_text
from tests.jobs.receiver import Receiver, receiving

SECRET = "whsec_of_the_tests_0123456789"
EMBEDDED = AddressPolicy(loopback=True)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'automata.db'}") as one:
        yield one


def sender(clock: Clock, **fields: Any) -> Sender:
    return Sender(**{"secret": SECRET, "policy": EMBEDDED, "clock": clock, **fields})


def row(url: str, **fields: Any) -> DeliveryRow:
    values: dict[str, Any] = {
        "id": "dlv_1",
        "job_id": "job_1",
        "project": "default",
        "url": url,
        "event": "job.succeeded",
        "body": '{"event": "job.succeeded", "job": {"name": "größer"}}',
        "attempts": 0,
        "next_at": 1_000.0,
        "status": "waiting",
        "error": None,
        "created_at": 1_000.0,
        "delivered_at": None,
    }
    return DeliveryRow(**{**values, **fields})


def only(database: Database) -> DeliveryRow:
    (found,) = database.list_deliveries(None, limit=10)
    return found


# ---- sending ------------------------------------------------------------------------------------


def test_a_receiver_that_fails_three_times_gets_it_at_last_and_can_check_it(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.fails(500, 503, 429)
    database.add_delivery(row(receiver.url))
    for attempt in (1, 2, 3):
        assert deliver_due(database, sender(clock), clock.now) == 1
        waiting = only(database)
        assert (waiting.status, waiting.attempts) == ("waiting", attempt)
        assert waiting.next_at > clock.now and "answered" in (waiting.error or "")
        assert deliver_due(database, sender(clock), clock.now) == 0  # not before its time
        clock.now = waiting.next_at
    deliver_due(database, sender(clock), clock.now)
    done = only(database)
    assert (done.status, done.attempts, done.error) == ("delivered", 4, None)
    assert done.delivered_at == clock.now
    assert deliver_due(database, sender(clock), clock.now + 1e9) == 0
    assert len(receiver.got) == 4
    last = receiver.got[-1]
    assert verify(SECRET, last.headers, last.body, now=clock.now) == "dlv_1"
    assert json.loads(last.body)["job"]["name"] == "größer"
    assert {got.headers["Automata-Delivery"] for got in receiver.got} == {"dlv_1"}
    assert last.headers["Automata-Event"] == "job.succeeded"
    assert last.path == "/hook"


def test_what_nobody_takes_is_given_up_after_so_many_attempts(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.fails(*[500] * MAX_ATTEMPTS)
    database.add_delivery(row(receiver.url))
    for _ in range(MAX_ATTEMPTS):
        deliver_due(database, sender(clock), clock.now)
        clock.now = only(database).next_at
    dead = only(database)
    assert (dead.status, dead.attempts) == ("dead", MAX_ATTEMPTS)
    assert dead.error == "answered 500"
    assert deliver_due(database, sender(clock), clock.now + 1e9) == 0


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.fails(410)
    database.add_delivery(row(receiver.url))
    deliver_due(database, sender(clock), clock.now)
    assert only(database).status == "dead"


def test_a_receiver_that_says_when_is_asked_then_and_not_before(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.fails(503, Retry_After="900")
    database.add_delivery(row(receiver.url))
    deliver_due(database, sender(clock), clock.now)
    assert only(database).next_at == clock.now + 900


def test_a_redirect_is_not_followed(receiver: Receiver, clock: Clock) -> None:
    receiver.fails(302, Location=receiver.url.replace("/hook", "/elsewhere"))
    sent = sender(clock).send(row(receiver.url))
    assert not sent.ok and "redirects are not followed" in sent.said
    assert [got.path for got in receiver.got] == ["/hook"]


def test_a_receiver_that_drips_is_cut_off(receiver: Receiver, clock: Clock) -> None:
    receiver.drip = True
    sent = sender(clock, answer_s=0.3).send(row(receiver.url))
    assert not sent.ok and not sent.final


def test_a_receiver_that_says_nothing_is_cut_off(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sent = sender(clock, answer_s=0.2).send(row(url))
    assert not sent.ok and "no answer" in sent.said


def test_a_port_where_nobody_listens_is_tried_again_later(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    sent = sender(clock).send(row(f"http://127.0.0.1:{port}/secret-path"))
    assert not sent.ok and not sent.final and "secret-path" not in sent.said


def test_a_slow_receiver_does_not_keep_others_from_theirs(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        database.add_delivery(row(url, id="dlv_0"))
        database.add_delivery(row(receiver.url, id="dlv_1"))
        assert deliver_due(database, sender(clock, answer_s=0.2), clock.now) == 2
    found = {one.id: one.status for one in database.list_deliveries(None, limit=10)}
    assert found == {"dlv_0": "waiting", "dlv_1": "delivered"}


# ---- the guard ----------------------------------------------------------------------------------


def test_outside_of_embedded_mode_this_machine_is_never_sent_to(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    database.add_delivery(row(receiver.url))
    deliver_due(database, sender(clock, policy=AddressPolicy()), clock.now)
    refused = only(database)
    assert refused.status == "dead" and "this machine" in (refused.error or "")
    assert receiver.got == []


def test_a_name_that_leads_to_an_internal_address_when_it_is_used_is_refused(
    receiver: Receiver, clock: Clock
) -> None:
    port = receiver.url.rpartition(":")[2]
    sent = sender(clock, policy=AddressPolicy(), resolve=lambda host, port: ["127.0.0.1"]).send(
        row(f"http://hooks.example.com:{port}")
    )
    assert sent.final and "hooks.example.com" in sent.said
    assert receiver.got == []


def test_the_connection_goes_to_the_address_that_was_judged(
    receiver: Receiver, clock: Clock
) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    url = receiver.url.replace("127.0.0.1", "hooks.example.com")
    sent = sender(clock, resolve=rebinding).send(row(url))
    assert sent.ok and asked == ["hooks.example.com"]  # looked up once, for judge and connection
    assert receiver.got[0].headers["Host"] == url.split("/")[2]


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert sender(clock).send(row(receiver.url)).ok


def test_a_job_with_a_bad_receiver_is_refused_when_it_is_submitted() -> None:
    urls = ["http://127.0.0.1/hook", "ftp://example.com/", "https://hooks.example.com/T0/secret"]
    job = parse_job(job_text(notify=[{"webhook": url} for url in urls]), "job.yaml")
    assert [problem.pointer for problem in check_notify(job, AddressPolicy())] == [
        "spec.notify[0].webhook",
        "spec.notify[1].webhook",
    ]
    local = parse_job(job_text(notify=[{"webhook": urls[0]}]), "job.yaml")
    assert check_notify(local, EMBEDDED) == []


def test_too_many_receivers_are_refused() -> None:
    many = [{"webhook": f"https://hooks.example.com/{n}"} for n in range(11)]
    job = parse_job(job_text(notify=many), "job.yaml")
    (problem,) = check_notify(job, AddressPolicy())
    assert "11 receivers" in problem.message


def test_only_a_service_that_is_all_on_one_machine_sends_to_that_machine(tmp_path: Path) -> None:
    home = {"AUTOMATA_HOME": str(tmp_path)}
    assert policy_for(Settings.from_env(home), {}).loopback
    for more in (
        {"AUTOMATA_DATABASE_URL": "postgresql+psycopg://db/automata"},
        {"AUTOMATA_STORE_URL": "s3://bucket/automata"},
        {"RAY_ADDRESS": "ray-head:6379"},
    ):
        assert not policy_for(Settings.from_env({**home, **more}), {}).loopback


# ---- https --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side and the client's of a certificate for hooks.example.com."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


def test_by_https_the_certificate_is_that_of_the_name_and_not_of_the_address(
    identity: tuple[ssl.SSLContext, ssl.SSLContext], clock: Clock
) -> None:
    server, client = identity
    with receiving(server) as receiver:
        port = receiver.url.split(":")[2]

        def sent(host: str, **fields: Any) -> Sent:
            one = sender(clock, tls=client, resolve=lambda host, port: ["127.0.0.1"], **fields)
            return one.send(row(f"https://{host}:{port}"))

        assert sent("hooks.example.com").ok
        verify(SECRET, receiver.got[0].headers, receiver.got[0].body, now=clock.now)
        for host in ("other.example.com", "127.0.0.1"):
            wrong = sent(host)
            assert not wrong.ok and "certificate" in wrong.said.lower()
        assert len(receiver.got) == 1
        receiver.drip = True
        assert not sent("hooks.example.com", answer_s=0.3).ok  # and it comes back


def test_by_https_a_certificate_that_nobody_vouches_for_is_refused(
    identity: tuple[ssl.SSLContext, ssl.SSLContext], clock: Clock
) -> None:
    with receiving(identity[0]) as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.example.com")
        sent = sender(clock, resolve=lambda host, port: ["127.0.0.1"]).send(row(url))
    assert not sent.ok and receiver.got == []


# ---- pauses -------------------------------------------------------------------------------------


def test_pauses_double_are_spread_and_are_the_same_for_everybody() -> None:
    for attempts in range(1, 40):
        base = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
        drawn = [pause_s(f"dlv_{n}", attempts) for n in range(50)]
        assert all(base / 2 <= one <= base * 1.5 for one in drawn)
        assert len(set(drawn)) == 50
        assert drawn == [pause_s(f"dlv_{n}", attempts) for n in range(50)]


# ---- rows with the event ------------------------------------------------------------------------


def test_a_job_that_ends_leaves_its_deliveries_in_the_same_transaction(
    service: LocalService, receiver: Receiver, clock: Clock
) -> None:
    notify = [
        {"webhook": receiver.url},
        {"webhook": receiver.url + "/failed", "events": ["failed"]},
    ]
    job = Hosted(service).submit(OPERATOR, job_text(notify=notify)).head.id
    state = service.drive(job, runner=RUNNER)
    assert state.state == "SUCCEEDED"
    delivery = only(service.database)
    body = json.loads(delivery.body)
    assert (delivery.job_id, delivery.event, body["id"]) == (job, "job.succeeded", delivery.id)
    assert body["job"]["state"] == "SUCCEEDED" and body["job"]["summary"]["best"] is not None
    assert delivery.id.split("_")[2] == str(body["job"]["seq"])
    clock.now = delivery.next_at
    deliver_due(service.database, sender(clock), clock.now)
    assert len(receiver.got) == 1
    verify(SECRET, receiver.got[0].headers, receiver.got[0].body, now=clock.now)


def test_a_job_that_is_stopped_while_nobody_drives_it_tells_so_too(
    service: LocalService, receiver: Receiver
) -> None:
    notify = [{"webhook": receiver.url, "events": ["cancelled"]}]
    job = Hosted(service).submit(OPERATOR, job_text(notify=notify)).head.id
    service.stop(job, "changed my mind")
    assert json.loads(only(service.database).body)["job"]["reason"] == "changed my mind"


def test_a_job_of_the_command_line_tells_nobody(service: LocalService, receiver: Receiver) -> None:
    job = service.submit(job_text(notify=[{"webhook": receiver.url}]), "job.yaml")
    service.stop(job)
    assert service.database.list_deliveries(None, limit=10) == []


def test_the_same_events_always_make_the_same_rows(service: LocalService) -> None:
    job = service.submit(job_text(notify=[{"webhook": "https://hooks.example.com/"}]), "job.yaml")
    record = service.database.get_job(job)
    events = [("passes", "{}"), ("job_state", '{"state": "FAILED", "reason": "r", "v": 1}')]
    first = deliveries_for(record, events, 7, 5.0, {"x": 1})
    assert first == deliveries_for(record, events, 7, 5.0, {"x": 1})
    assert [one.id for one in first] == [f"dlv_{job.removeprefix('job_')}_8_0"]
    assert deliveries_for(record, events[:1], 7, 5.0, {}) == []


def test_the_worker_delivers_until_it_is_stopped(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    worker = WebhookWorker(database, sender(clock), "me", every_s=0.01)
    database.add_delivery(row(receiver.url))
    worker.start()
    try:
        while only(database).status == "waiting":
            pass
    finally:
        worker.stop()
    assert only(database).status == "delivered"
    database.take_named("webhooks", "another", 60.0)  # the lease was given back


def test_a_worker_says_once_that_the_database_is_away_and_delivers_when_it_is_back(
    database: Database, receiver: Receiver, clock: Clock, monkeypatch, caplog
) -> None:
    worker = WebhookWorker(database, sender(clock), "me", every_s=0.01)
    database.add_delivery(row(receiver.url))
    tries = iter(range(5))
    take_named = database.take_named

    def away(*asked: object) -> int:
        if next(tries, None) is None:
            return take_named(*asked)
        raise Unavailable("it restarts")

    monkeypatch.setattr(database, "take_named", away)
    with caplog.at_level("WARNING", "automata.webhooks"):
        worker.start()
        try:
            while only(database).status == "waiting":
                pass
        finally:
            worker.stop()
    assert [one.getMessage() for one in caplog.records] == ["webhooks wait: it restarts"]


def test_a_worker_that_is_to_stop_begins_nothing_more(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.drip = True
    for number in range(2 * AT_ONCE):
        database.add_delivery(row(receiver.url, id=f"dlv_{number}"))
    worker = WebhookWorker(database, sender(clock, answer_s=50.0), "me", every_s=0.01)
    worker.start()
    while len(receiver.got) < AT_ONCE:
        time.sleep(0.01)
    worker.stop(0.0)  # while those are under way
    receiver.breaks_off()
    worker.stop()
    assert len(receiver.got) == AT_ONCE
    found = database.list_deliveries()
    assert sorted(one.attempts for one in found) == [0] * AT_ONCE + [1] * AT_ONCE
    database.take_named("webhooks", "another", 60.0)  # the lease was given back


def test_of_many_services_one_delivers(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    first, second = (WebhookWorker(database, sender(clock), who) for who in ("a", "b"))
    assert first.once() == 0  # it has the lease from now on
    database.add_delivery(row(receiver.url))
    assert second.once() == 0 and receiver.got == []
    assert first.once() == 1 and len(receiver.got) == 1


def test_a_job_that_is_deleted_while_its_webhook_is_sent_disturbs_no_other(
    database: Database, receiver: Receiver, clock: Clock
) -> None:
    other = row(receiver.url, id="dlv_2")
    database.add_delivery(other)

    def deletes(host: str, port: int) -> list[str]:
        with database._writing() as connection:
            connection.exec_driver_sql("DELETE FROM deliveries WHERE id = 'dlv_1'")
        return ["127.0.0.1"]

    database.add_delivery(row(receiver.url.replace("127.0.0.1", "hooks.example.com")))
    assert deliver_due(database, sender(clock, resolve=deletes), clock.now) == 2
    assert only(database).status == "delivered"


def test_a_services_housekeeping_starts_and_stops(home: Settings) -> None:
    service = LocalService(home)
    keeping = Housekeeping(service, policy_for(home, {}), {})
    keeping.start()
    keeping.stop()
    assert keeping.webhooks.sender.policy.loopback  # all on this machine
    service.database.close()


# ---- the secret ---------------------------------------------------------------------------------


def test_a_home_gets_a_secret_of_its_own_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    secret = webhook_secret(settings, {})
    path = tmp_path / "service" / "webhook-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert webhook_secret(settings, {}) == secret == path.read_text().strip()


def test_an_operators_secret_file_is_used_and_must_be_there_and_long(tmp_path: Path) -> None:
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    path = tmp_path / "mounted"
    env = {"AUTOMATA_WEBHOOK_SECRET_FILE": str(path)}
    with pytest.raises(SpecError, match="no file"):
        webhook_secret(settings, env)
    path.write_text("short\n")
    with pytest.raises(SpecError, match="at least 16") as caught:
        webhook_secret(settings, env)
    assert "short" not in str(caught.value).replace("too short", "")
    path.write_text("long enough to be random\n")
    assert webhook_secret(settings, env) == "long enough to be random"
