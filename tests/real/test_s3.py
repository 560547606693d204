"""A real S3 server behind the blob store: the contract, whole jobs, and the store in trouble."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from automata_svc.api.app import make_app
from automata_svc.blobs import Access, BlobStore, SignedBlobs, grant, open_store
from automata_svc.blobs.credentials import FILE_VARIABLE, write_credentials
from automata_svc.client.bundles import prepare, push
from automata_svc.client.http import Http
from automata_svc.errors import AutomataError, NotFound, SpecError, Unavailable
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from automata_svc.trials.templates import packaged_folder
from automata_svc.tuning.state import JobState
from tests.api.running import running
from tests.jobs.build import RUNNER, job_text, trial
from tests.jobs.test_bundles import ONE_TRIAL, library, template
from tests.real.seaweed import (
    BUCKET,
    KEY,
    READ_KEY,
    READ_SECRET,
    SECRET,
    Proxy,
    environment,
    proxy_to,
    seaweed,
    set_environment,
)

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with seaweed() as port:
        yield port


@pytest.fixture
def wire(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The server behind a proxy, and its credentials in the environment."""
    with proxy_to(server) as (proxy, endpoint):
        set_environment(monkeypatch, environment(endpoint))
        yield proxy


def new_url() -> str:
    return f"s3://{BUCKET}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(wire: Proxy) -> BlobStore:
    return open_store(new_url())


@pytest.fixture
def service(wire: Proxy, tmp_path: Path) -> Iterator[LocalService]:
    env = {"AUTOMATA_HOME": str(tmp_path / "home"), "AUTOMATA_STORE_URL": new_url()}
    one = LocalService(Settings.from_env(env))
    yield one
    one.database.close()


def run(service: LocalService, runner: str = RUNNER, **spec: object) -> JobState:
    return service.drive(service.submit(job_text(**spec), "job.yaml"), runner=runner)


# ---- the contract -------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_contract_of_blob_stores_holds_on_a_real_server(server: int) -> None:
    """In a process of its own, where the suite's bucket is this one."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **environment(f"http://127.0.0.1:{server}"),
        "AUTOMATA_TEST_S3_URL": f"s3://{BUCKET}/contract",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "s3",
         "tests/contracts/test_blobs.py"],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_a_large_object_goes_in_pieces_both_ways(store: BlobStore) -> None:
    pieces = [os.urandom(1_000_003) for _ in range(14)]  # three parts of a multipart upload
    store.put_stream("large", iter(pieces))
    assert b"".join(store.stream("large")) == b"".join(pieces)

    def breaks() -> Iterator[bytes]:
        yield from pieces
        raise ValueError("the sender is gone")

    with pytest.raises(ValueError, match="sender is gone"):
        store.put_stream("other", breaks())
    with pytest.raises(ValueError, match="sender is gone"):
        store.put_stream("large", breaks())
    assert not store.exists("other") and store.size("large") == 14 * 1_000_003


# ---- whole jobs ---------------------------------------------------------------------------------


def test_a_job_runs_on_it_and_leaves_its_winner_there(service: LocalService, tmp_path: Path):
    state = run(service, subset={"strategy": "milo"})
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.result is not None
    assert service.store.keys(f"checkpoints/{state.plan.job}") == [state.result.checkpoint]
    assert service.save_best(state.plan.job, tmp_path / "best")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_reach_exactly_what_their_orders_name(
    service: LocalService, wire: Proxy, tmp_path: Path
) -> None:
    """On Ray: each checkpoint and the code go over URLs that end by themselves."""
    own = template(tmp_path / "mine.py", "import helpers_of_mine")
    code = library(tmp_path / "lib", "x")
    state = run(service, "ray", trial=trial(template=own, code=code))
    assert state.state == "SUCCEEDED", state.move.reason
    seen = [(method, path) for method, path in wire.seen if "/leases/" not in path]
    puts = [path for method, path in seen if method == "PUT" and "/checkpoints/" in path]
    gets = [path for method, path in seen if method == "GET" and "/bundles/" in path]
    assert len(puts) >= 6 and all("X-Amz-Signature=" in path for path in puts)
    assert gets and all("X-Amz-Signature=" in path for path in gets)
    assert not any(SECRET in path for _, path in wire.seen)


def test_a_grant_is_for_the_named_objects_and_for_a_while(store: BlobStore) -> None:
    store.put("a/read", b"1")
    access = grant(store, ("a/read",), ("a/write",), for_s=60)
    assert access is not None and SECRET not in str(access.read) + str(access.write)
    assert "http" not in repr(access)
    blobs = SignedBlobs(access, patience_s=1)
    assert blobs.get("a/read") == b"1"
    blobs.put("a/write", b"2")
    assert store.get("a/write") == b"2"
    with pytest.raises(Unavailable, match="no access"):
        blobs.put("a/read", b"3")
    url = access.write["a/write"].replace("a/write", "a/read")
    with pytest.raises(Unavailable, match="refused it"):
        SignedBlobs(Access({}, {"a/read": url}), patience_s=1).put("a/read", b"3")
    assert store.get("a/read") == b"1"
    ended = grant(store, ("a/read", "a/none"), (), for_s=1)
    assert ended is not None
    with pytest.raises(NotFound):
        SignedBlobs(ended).get("a/none")
    time.sleep(2.1)
    with pytest.raises(Unavailable, match="is over"):
        SignedBlobs(ended, patience_s=1).get("a/read")


# ---- trouble ------------------------------------------------------------------------------------


def busy_for(proxy: Proxy, seconds: float) -> None:
    """503 from now on, for a while."""
    until = time.monotonic() + seconds
    proxy.busy = lambda method, path: time.monotonic() < until


def test_a_busy_server_is_asked_again_until_it_answers(wire: Proxy) -> None:
    store = open_store(new_url())
    busy_for(wire, 4)
    store.put("a", b"1")
    assert wire.refused >= 3
    busy_for(wire, 2)
    assert store.get("a") == b"1"
    access = grant(store, ("a",), ("b",), 60)
    assert access is not None
    busy_for(wire, 3)
    SignedBlobs(access).put("b", b"2")
    busy_for(wire, 2)
    assert SignedBlobs(access).get("a") == b"1"
    assert store.get("b") == b"2"


def test_a_server_that_stays_busy_is_said_and_nothing_is_half_there(wire: Proxy) -> None:
    store = open_store(new_url(), patience_s=1.0)
    store.put("a", b"1")
    access = grant(store, (), ("a",), 60)
    assert access is not None
    wire.busy = lambda method, path: True
    began = time.monotonic()
    for attempt in (
        lambda: store.put("a", b"2"),
        lambda: store.get("a"),
        lambda: store.keys(),
        lambda: SignedBlobs(access, patience_s=1.0).put("a", b"2"),
    ):
        with pytest.raises(Unavailable) as said:
            attempt()
        assert SECRET not in str(said.value)
    assert time.monotonic() - began < 30
    wire.busy = lambda method, path: False
    assert store.get("a") == b"1"


@pytest.mark.timeout(180)
def test_a_job_waits_for_a_server_that_is_busy_and_loses_nothing(
    service: LocalService, wire: Proxy
) -> None:
    """Outages amid checkpoints; the job ends as it does without them."""
    calm = run(service)
    over = threading.Event()

    def trouble() -> None:
        while not over.wait(1.5):
            busy_for(wire, 1.0)

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        state = run(service)
    finally:
        over.set()
        thread.join()
        wire.busy = lambda method, path: False
    assert state.state == "SUCCEEDED" and wire.refused > 0
    assert state.result is not None and calm.result is not None
    assert (state.result.trial, state.result.test) == (calm.result.trial, calm.result.test)


@pytest.mark.timeout(180)
def test_a_job_whose_server_stays_away_is_left_resumable(
    service: LocalService, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automata_svc.tuning.runners import ray_kit

    job = service.submit(job_text(), "job.yaml")
    hasty = LocalService(service.settings, store_patience_s=0.5)
    monkeypatch.setattr(ray_kit, "_store", lambda url: hasty.store)  # as a worker opens it
    puts = 0

    def busy(method: str, path: str) -> bool:
        nonlocal puts
        puts += method == "PUT" and "/checkpoints/" in path
        return puts > 5

    wire.busy = busy
    with pytest.raises(AutomataError):
        state = hasty.drive(job, runner=RUNNER)
        raise AutomataError(f"{state.state}: {state.move.reason}")
    hasty.database.close()
    assert service.find(job).state == "PAUSED"
    wire.busy = lambda method, path: False
    state = service.drive(job, runner=RUNNER)
    assert state.state == "SUCCEEDED", state.move.reason
    assert service.replay(job) == []


def test_an_api_whose_store_is_busy_says_so_and_a_push_goes_on_afterwards(
    wire: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automata_svc.api import world as worlds

    monkeypatch.setattr(worlds, "STORE_PATIENCE_S", 0.5)
    env = {"AUTOMATA_HOME": str(tmp_path / "home"), "AUTOMATA_STORE_URL": new_url()}
    world = worlds.ServiceWorld.of(Settings.from_env(env))
    token = world.tokens.create("root", ["admin"]).secret
    own = tmp_path / "mine.py"
    own.write_text((packaged_folder() / "tabular_mlp.py").read_text())
    with running(make_app(world)) as url, Http(url, token) as http:
        prepared = prepare("template", own)
        body = {"kind": "template", "name": "mine", "sha256": prepared.sha256,
                "size": prepared.size}  # fmt: skip
        id = http.request("POST", "/v1/uploads", json=body).json()["id"]
        wire.busy = lambda method, path: True
        answer = httpx.patch(
            f"{url}/v1/uploads/{id}",
            content=own.read_bytes(),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/octet-stream",
                "Upload-Offset": "0",
            },
        )
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
        assert SECRET not in answer.text and KEY not in answer.text
        busy_for(wire, 4)  # longer than the server has patience; the client has more
        assert push(http, "template", own) == f"mine@{prepared.sha256}"
        world.drain()
    world.service.database.close()


def test_a_store_that_may_only_be_read_is_said(
    server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint, url = f"http://127.0.0.1:{server}", new_url()
    set_environment(monkeypatch, environment(endpoint))
    open_store(url).put("a", b"1")
    set_environment(monkeypatch, environment(endpoint, READ_KEY, READ_SECRET))
    store = open_store(url, patience_s=2)
    assert store.get("a") == b"1" and store.keys() == ["a"]
    for attempt in (
        lambda: store.put("b", b"2"),
        lambda: store.put("b", b"2", if_absent=True),
        lambda: store.put_stream("b", (b"2" * 1_000_000 for _ in range(8))),
    ):
        with pytest.raises(Unavailable) as said:
            attempt()
        assert READ_SECRET not in str(said.value) and READ_KEY not in str(said.value)
    assert store.keys() == ["a"]


# ---- credentials --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "secret"), [(KEY, "not-the-secret-at-all"), ("AKIANOBODY00", SECRET)]
)
def test_credentials_are_in_no_error_and_no_log(
    server: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key: str,
    secret: str,
) -> None:
    import traceback

    set_environment(monkeypatch, environment(f"http://127.0.0.1:{server}", key, secret))
    caplog.set_level(logging.DEBUG)
    store = open_store(new_url(), patience_s=1)
    said = io.StringIO()
    for attempt in (
        lambda: store.put("a", b"1"), lambda: store.get("a"), store.keys,
        lambda: store.delete("a"), lambda: store.put_stream("a", (b"1", b"2")),
    ):  # fmt: skip
        try:
            attempt()
        except AutomataError as error:
            traceback.print_exception(error, file=said)
    assert "cannot store blob 'a'" in said.getvalue()
    for text in (said.getvalue(), caplog.text, repr(store), store.url):
        assert key not in text and secret not in text


def test_a_file_of_credentials_opens_the_store_and_is_for_its_owner_alone(
    server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "service" / "store"
    assert write_credentials(file, environment(f"http://127.0.0.1:{server}"))
    assert file.stat().st_mode & 0o777 == 0o600
    set_environment(monkeypatch, {FILE_VARIABLE: str(file)})
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    store = open_store(new_url())
    store.put("a", b"1")
    assert open_store(store.url).get("a") == b"1"
    file.write_text(f"AWS_ACCESS_KEY_ID={KEY}\nPASSWORD={SECRET}\n")
    with pytest.raises(SpecError, match="line 2") as refused:
        open_store(store.url)
    assert SECRET not in str(refused.value)


def test_credentials_are_in_nothing_that_a_job_leaves(
    service: LocalService, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    own = template(tmp_path / "mine.py", "raise OSError('fails')")
    run(service, trial=trial(template=own), **ONE_TRIAL)
    run(service, **ONE_TRIAL)
    assert SECRET not in caplog.text and KEY not in caplog.text
    for path in service.settings.home.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            assert SECRET.encode() not in raw and KEY.encode() not in raw, path
    for key in service.store.keys():
        assert SECRET.encode() not in service.store.get(key), key


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(SpecError, match="AWS_SECRET_ACCESS_KEY") as refused:
        open_store(f"s3://{KEY}:{SECRET}@{BUCKET}/x")
    assert SECRET not in str(refused.value) and KEY not in str(refused.value)
    assert urlsplit(new_url()).netloc == BUCKET
