"""Tokens: only digests are stored, and what is expired, revoked or made up lets nobody in."""

from __future__ import annotations

import hashlib
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.database import open_database
from automata_svc.database.store import Database
from automata_svc.errors import Denied, NotFound, SpecError, Unauthenticated, Unavailable
from automata_svc.jobs.tenancy import ADMIN, OPERATOR, SCOPES, Caller, read_scopes
from automata_svc.jobs.tokens import Tokens, read_token_file, write_secret


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "automata.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{path}") as one:
        yield one


@pytest.fixture
def tokens(database: Database, clock: Clock) -> Tokens:
    return Tokens(database, clock)


# ---- making and using ---------------------------------------------------------------------------


def test_a_secret_stands_for_the_caller_it_was_made_for(tokens: Tokens) -> None:
    row, secret = tokens.create("ci", ["jobs:read", "jobs:write"], project="lang")
    caller = tokens.authenticate(secret)
    expected = Caller(row.id, "ci", "lang", frozenset({"jobs:read", "jobs:write"}))
    assert caller == expected


def test_a_secret_is_256_bits_behind_a_prefix_that_scanners_know(tokens: Tokens) -> None:
    secrets = {tokens.create("ci", [ADMIN]).secret for _ in range(20)}
    assert len(secrets) == 20
    assert all(re.fullmatch(r"automata_[A-Za-z0-9_-]{43}", one) for one in secrets)


def test_the_database_holds_a_digest_and_nowhere_the_secret(
    tokens: Tokens, database: Database, path: Path
) -> None:
    row, secret = tokens.create("ci", [ADMIN])
    tokens.authenticate(secret)
    assert row.hash == hashlib.sha256(secret.encode()).hexdigest()
    database.close()
    for file in path.parent.iterdir():
        assert secret.removeprefix("automata_").encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "secret",
    ["", "automata_", "automata_" + 43 * "x", "x" * 52, "automata_" + 44 * "x",
     "automata_" + 43 * "é", "' OR 1=1 --", "automata_" + 42 * "x" + "\n", "\x00"],
)  # fmt: skip
def test_a_made_up_secret_lets_nobody_in(tokens: Tokens, secret: str) -> None:
    tokens.create("ci", [ADMIN])
    with pytest.raises(Unauthenticated):
        tokens.authenticate(secret)


def test_a_digest_from_the_database_is_no_secret(tokens: Tokens) -> None:
    row, _ = tokens.create("ci", [ADMIN])
    for stolen in (row.hash, f"automata_{row.hash[:43]}"):
        with pytest.raises(Unauthenticated):
            tokens.authenticate(stolen)


def test_a_token_ends_when_its_time_is_over(tokens: Tokens, clock: Clock) -> None:
    _, secret = tokens.create("ci", [ADMIN], expires_in_s=60)
    clock.now += 59
    tokens.authenticate(secret)
    clock.now += 1
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.authenticate(secret)


def test_a_revoked_token_ends_at_once_and_stays_listed(tokens: Tokens, clock: Clock) -> None:
    row, secret = tokens.create("ci", [ADMIN])
    tokens.authenticate(secret)
    assert tokens.revoke("ci").revoked_at == clock.now
    with pytest.raises(Unauthenticated, match="revoked"):
        tokens.authenticate(secret)
    clock.now += 5
    assert tokens.revoke(row.id).revoked_at == clock.now - 5  # again: nothing changes
    assert [one.id for one in tokens.rows()] == [row.id]


def test_last_use_is_noted_but_not_with_every_request(
    tokens: Tokens, database: Database, clock: Clock
) -> None:
    row, secret = tokens.create("ci", [ADMIN])
    for _ in range(5):
        tokens.authenticate(secret)
        clock.now += 10
    assert tokens.find(row.id).last_used_at == 1_000_000.0
    clock.now += 60
    tokens.authenticate(secret)
    assert tokens.find(row.id).last_used_at == clock.now


def test_a_token_is_found_by_name_id_or_its_beginning_and_only_if_it_is_one(
    tokens: Tokens,
) -> None:
    first, second = tokens.create("ci", [ADMIN]).row, tokens.create("nightly", [ADMIN]).row
    assert tokens.find("nightly").id == second.id
    assert tokens.find(first.id).id == first.id
    assert tokens.find(second.id.removeprefix("tok_")).id == second.id
    with pytest.raises(SpecError, match="more than one"):
        tokens.find("tok_")
    with pytest.raises(NotFound, match="nightly"):
        tokens.find("nightli")
    with pytest.raises(NotFound):
        tokens.find("")


def test_a_name_used_again_means_the_one_that_is_still_good(tokens: Tokens) -> None:
    old = tokens.create("ci", [ADMIN]).row
    tokens.revoke(old.id)
    new = tokens.create("ci", [ADMIN]).row
    assert tokens.find("ci").id == new.id


def test_another_projects_tokens_are_not_there(tokens: Tokens) -> None:
    mine = tokens.create("mine", [ADMIN], project="lang").row
    theirs = tokens.create("theirs", [ADMIN], project="vision").row
    assert [one.id for one in tokens.rows("lang")] == [mine.id]
    with pytest.raises(NotFound):
        tokens.revoke(theirs.id, "lang")
    assert tokens.find(theirs.id).revoked_at is None


# ---- mistakes -----------------------------------------------------------------------------------


def test_every_mistake_comes_back_at_once_with_the_nearest_scope(tokens: Tokens) -> None:
    with pytest.raises(SpecError) as caught:
        tokens.create("No Name", ["job:read", "jobs:write", "god"], project="../x", expires_in_s=0)
    found = [(one.pointer, one.message) for one in caught.value.problems]
    assert [pointer for pointer, _ in found] == [
        "name", "project", "expires_in", "scopes", "scopes",
    ]  # fmt: skip
    assert "did you mean 'jobs:read'?" in found[3][1]
    assert tokens.rows() == []


def test_a_token_without_scopes_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one"):
        read_scopes(["", " "])


# ---- who may do what ----------------------------------------------------------------------------


def caller(*scopes: str, project: str | None = None) -> Caller:
    return Caller("tok_1", "ci", project, frozenset(scopes))


def test_admin_may_do_everything_and_others_what_their_scopes_say() -> None:
    assert all(caller(ADMIN).may(scope) for scope in SCOPES)
    reader = caller("jobs:read")
    assert [scope for scope in SCOPES if reader.may(scope)] == ["jobs:read"]
    with pytest.raises(Denied, match=r"jobs:write.*has: jobs:read"):
        reader.needs("jobs:write")


def test_a_bound_caller_sees_its_project_and_others_are_not_there() -> None:
    bound = caller(ADMIN, project="lang")
    assert bound.sees("lang") and not bound.sees("vision")
    assert (bound.shown(None), bound.shown("lang")) == ("lang", "lang")
    with pytest.raises(NotFound):
        bound.shown("vision")
    assert (bound.home(None), bound.home("lang")) == ("lang", "lang")
    with pytest.raises(Denied, match="bound to project 'lang'"):
        bound.home("vision")


def test_a_free_caller_sees_every_project() -> None:
    assert OPERATOR.sees("lang") and OPERATOR.shown(None) is None
    assert OPERATOR.home(None) == "default" and OPERATOR.home("lang") == "lang"


# ---- files --------------------------------------------------------------------------------------


def test_the_embedded_token_is_an_admins_in_a_file_that_only_its_owner_reads(
    tokens: Tokens, tmp_path: Path
) -> None:
    secret = tokens.embedded(tmp_path)
    path = tmp_path / "service" / "token"
    assert read_token_file(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tokens.authenticate(secret).may("code:push")
    assert tokens.embedded(tmp_path) == secret  # it stays from start to start
    assert len(tokens.rows()) == 1


def test_an_embedded_token_that_is_no_good_any_more_is_replaced(
    tokens: Tokens, tmp_path: Path
) -> None:
    first = tokens.embedded(tmp_path)
    path = tmp_path / "service" / "token"
    path.chmod(0o644)
    tokens.embedded(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tokens.revoke(tokens.rows()[0].name)
    second = tokens.embedded(tmp_path)
    assert second != first and tokens.authenticate(second).may(ADMIN)
    path.write_text("of another database\n")
    third = tokens.embedded(tmp_path)
    assert third not in (first, second)
    with pytest.raises(Unauthenticated):  # whoever found it somewhere has nothing of it
        tokens.authenticate(second)


def test_the_embedded_tokens_of_two_homes_on_one_database_leave_each_other_alone(
    tokens: Tokens, tmp_path: Path
) -> None:
    named_alike = tokens.create("embedded", [ADMIN]).secret
    first, second = (tokens.embedded(tmp_path / home) for home in ("one", "two"))
    for secret in (named_alike, first, second):
        assert tokens.authenticate(secret).may(ADMIN)
    assert tokens.embedded(tmp_path / "one") == first


def test_a_secret_file_is_never_seen_half_written_nor_open_to_others(tmp_path: Path) -> None:
    path, seen, over = tmp_path / "new" / "token", set(), threading.Event()

    def look() -> None:
        while not over.is_set():
            for file in (tmp_path / "new").glob("*") if path.parent.exists() else ():
                try:
                    seen.add(stat.S_IMODE(file.stat().st_mode))
                except FileNotFoundError:
                    continue
            found = read_token_file(path)
            assert found is None or len(found) == 52, found

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(60):
        write_secret(path, f"automata_{number:043d}")
    over.set()
    watcher.join()
    assert seen <= {0o600}
    assert [one.name for one in path.parent.iterdir()] == ["token"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot write"):
        write_secret(tmp_path / "file" / "token", "x")
