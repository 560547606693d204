"""What a worker gets of a store: a few objects, by URLs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from automata_svc.blobs import Access, BlobStore, SignedBlobs, grant, open_store
from automata_svc.blobs.credentials import read_credentials, secret_values, write_credentials
from automata_svc.errors import NotFound, SpecError, Unavailable
from automata_svc.jobs.around import with_access
from automata_svc.trials.types import PassTable, SegmentOrder, StrategyOrder, checkpoint_key
from tests.blobs.small_s3 import small_s3

SECRET = "a-secret-of-the-store"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    with small_s3() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield open_store("s3://bucket/some/prefix")


ORDER = SegmentOrder(
    job="job_1", trial=7, segment=2, phase="search", params={}, seed=0,
    table=PassTable(1_000, 100, 1), from_boundary=3, to_boundary=9, checkpoint="checkpoints/x.pt",
    values_at={6: 0, 9: 0}, checkpoints_at=(2, 3, 5), strategy=StrategyOrder("full"), finish=0.0,
)  # fmt: skip


def test_an_order_gives_access_to_what_its_segment_reads_and_writes(store: BlobStore) -> None:
    code = "c" * 64
    access = with_access(ORDER, store, code).access
    assert access is not None
    assert set(access.read) == {"checkpoints/x.pt", f"bundles/{code}"}
    assert set(access.write) == {checkpoint_key("job_1", 7, b, 2) for b in (5, 6, 9)}
    assert SECRET not in pickle.dumps(access).decode("latin-1")
    assert "http" not in repr(with_access(ORDER, store, code))


def test_a_folder_needs_no_access(tmp_path) -> None:
    folder = open_store(tmp_path.as_uri())
    assert with_access(ORDER, folder, None) is ORDER and grant(folder, ("a",), (), 60) is None


def test_objects_come_and_go_by_their_urls_alone(store: BlobStore) -> None:
    store.put("in", b"1")
    access = grant(store, ("in", "absent"), ("out",), 60)
    assert access is not None
    blobs = SignedBlobs(pickle.loads(pickle.dumps(access)))
    assert blobs.get("in") == b"1" and blobs.put("out", b"2" * 100_000) is True
    assert store.get("out") == b"2" * 100_000
    with pytest.raises(NotFound, match="'absent'"):
        blobs.get("absent")
    with pytest.raises(Unavailable, match="no access"):
        blobs.get("out")


def test_a_store_that_is_away_is_tried_for_a_while_and_then_said_without_its_url() -> None:
    url = "http://127.0.0.1:9/bucket/a?X-Amz-Signature=abc"
    with pytest.raises(Unavailable) as said:
        SignedBlobs(Access({"a": url}, {}), patience_s=0.3).get("a")
    assert "abc" not in str(said.value) and "'a'" in str(said.value)


def test_a_file_of_credentials_is_read_as_it_was_written(tmp_path) -> None:
    file = tmp_path / "s" / "store"
    env = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "", "X": "1"}
    assert write_credentials(file, env) is True
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_credentials(file) == {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert SECRET in secret_values(read_credentials(file))
    assert write_credentials(file, {}) is False and not file.exists()


@pytest.mark.parametrize("line", ["PASSWORD=hidden-value", "hidden-value", "=hidden-value"])
def test_a_line_that_is_none_is_named_by_its_number_alone(tmp_path, line: str) -> None:
    file = tmp_path / "store"
    file.write_text(f"# ours\nexport AWS_REGION='eu-central-1'\n{line}\n")
    with pytest.raises(SpecError, match="line 3") as refused:
        read_credentials(file)
    assert "hidden-value" not in str(refused.value)


def test_a_url_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(SpecError, match="AWS_ACCESS_KEY_ID") as refused:
        open_store("s3://key:pass-word@bucket/x")
    assert "pass-word" not in str(refused.value)
