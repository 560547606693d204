"""Pushing over HTTP: whole, in pieces, interrupted, wrong; and what jobs can name afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from automata_svc.client import bundles as pushing
from automata_svc.client.bundles import prepare, push, push_paths
from automata_svc.errors import Conflict, NotFound, SpecError, Unavailable
from automata_svc.jobs.tenancy import OPERATOR
from automata_svc.jobs.uploads import Uploads
from automata_svc.spec.job import TrialSpec
from automata_svc.trials.templates import packaged_folder
from tests.api.served import JSON, Served
from tests.jobs.build import job_text, trial

OCTETS = {"Content-Type": "application/octet-stream"}
ROOT_TEMPLATE = (packaged_folder() / "tabular_mlp.py").read_text()


class Plain:
    """The client's part of pushing over plain httpx, with a fault now and then."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.sent: list[tuple[str, str, int]] = []
        self.fails: set[int] = set()  # numbers of PATCH requests that are lost on their way
        self.unheard: set[int] = set()  # … whose answer is lost
        self.patches = 0

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        number = self.patches
        self.patches += method == "PATCH"
        if method == "PATCH" and number in self.fails:
            raise Unavailable("the line was cut")
        self.sent.append((method, path, len(content or b"")))
        more = {} if json is None else {"json": json}
        answer = self.http.request(
            method, path, params=params, content=content, headers=headers, **more
        )  # type: ignore[arg-type]
        if method == "PATCH" and number in self.unheard:
            raise Unavailable("the answer was lost")
        errors = {404: NotFound, 409: Conflict, 422: SpecError}
        if answer.status_code in errors:
            raise errors[answer.status_code](answer.json()["detail"])
        assert answer.status_code < 300, answer.text
        return answer


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(pushing, "FIRST_PAUSE_S", 0.0)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(ROOT_TEMPLATE)
    return path


def csv(rows: int = 120, shift: int = 0) -> str:
    lines = ["a,b,label"]
    lines += [f"{i % 7},{(i * i + shift) % 11},{'xy'[i % 2]}" for i in range(rows)]
    return "\n".join(lines) + "\n"


def begin(client: httpx.Client, data: bytes, kind: str = "template", name: str = "mine") -> Any:
    body = {"kind": kind, "name": name, "size": len(data)}
    body["sha256"] = hashlib.sha256(data).hexdigest()
    return client.post("/v1/uploads", json=body)


def whole(client: httpx.Client, data: bytes, kind: str, name: str = "mine") -> httpx.Response:
    """Begins, sends and finishes; the answer to the last of it."""
    id = begin(client, data, kind, name).json()["id"]
    for at in range(0, len(data), 2**20):
        headers = {**OCTETS, "Upload-Offset": str(at)}
        sent = client.patch(f"/v1/uploads/{id}", content=data[at : at + 2**20], headers=headers)
        assert sent.status_code == 200, sent.text
    return client.post(f"/v1/uploads/{id}:finish")


# ---- pushing ------------------------------------------------------------------------------------


def test_a_pushed_template_is_listed_shown_and_named_by_a_job(served: Served, template: Path):
    seen: list[tuple[str, int, int]] = []
    client = Plain(served.client)
    ref = push(client, "template", template, progress=lambda *said: seen.append(said))
    size = len(ROOT_TEMPLATE.encode())
    assert ref == f"mine@{hashlib.sha256(ROOT_TEMPLATE.encode()).hexdigest()}"
    assert seen[0] == ("template mine", 0, size) and seen[-1] == ("template mine", size, size)
    assert [at for _, at, _ in seen] == sorted({at for _, at, _ in seen})

    listed = served.client.get("/v1/templates").json()["items"]
    assert {"tabular_mlp", ref} <= {one["ref"] for one in listed}
    mine = next(one for one in listed if one["ref"] == ref)
    assert mine["source"] == "pushed" and {p["name"] for p in mine["params"]} >= {"lr", "hidden"}
    assert served.client.get(f"/v1/templates/{ref}").json()["text"] == ROOT_TEMPLATE

    job = served.submit("with-pushed", trial=trial(template=ref))
    text = served.client.get(f"/v1/jobs/{job}/template").json()
    assert text["text"] == ROOT_TEMPLATE and text["name"] == "mine"


def test_what_is_there_is_not_sent_again(served: Served, template: Path):
    push(Plain(served.client), "template", template, "twice")
    again = Plain(served.client)
    push(again, "template", template, "twice")
    assert [method for method, _, _ in again.sent] == ["POST"]


@pytest.mark.parametrize("fault", ["fails", "unheard"])
def test_an_interrupted_push_goes_on_where_it_was(served: Served, template: Path, fault: str):
    client = Plain(served.client)
    setattr(client, fault, {1, 2})
    push(client, "template", template, f"interrupted-{fault}")
    sent = sum(size for method, _, size in client.sent if method == "PATCH")
    assert sent == len(ROOT_TEMPLATE.encode())


def test_another_process_goes_on_with_what_was_begun(served: Served):
    data = ROOT_TEMPLATE.encode()
    first = begin(served.client, data, name="begun").json()
    headers = {**OCTETS, "Upload-Offset": "0"}
    served.client.patch(f"/v1/uploads/{first['id']}", content=data[:700], headers=headers)
    again = begin(served.client, data, name="begun")
    assert again.status_code == 201 and again.json()["id"] == first["id"]
    assert again.json()["received"] == 700


def test_two_senders_of_the_same_push_it_once(served: Served, template: Path):
    clients = [Plain(served.as_("code:push", "bundles:read")) for _ in range(3)]
    refs: list[str] = []
    threads = [
        threading.Thread(target=lambda c=c: refs.append(push(c, "template", template, "together")))
        for c in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 3 and len(set(refs)) == 1
    ids = {path.split("/")[3] for c in clients for verb, path, _ in c.sent if verb == "PATCH"}
    assert len(ids) == 1
    assert served.world.service.store.keys(f"uploads/{ids.pop()}") == []


def test_a_server_that_stays_away_is_said_and_the_next_push_goes_on(served: Served, template: Path):
    client = Plain(served.client)
    client.fails = set(range(2, 100))
    with pytest.raises(Unavailable, match="cut"):
        push(client, "template", template, "away")
    assert client.patches < 20
    client.fails = set()
    push(client, "template", template, "away")


def test_a_chunk_at_the_wrong_byte_is_refused_with_the_right_one(served: Served):
    data = ROOT_TEMPLATE.encode()
    id = begin(served.client, data, name="wrong-byte").json()["id"]
    answer = served.client.patch(
        f"/v1/uploads/{id}", content=b"x", headers={**OCTETS, "Upload-Offset": "5"}
    )
    assert answer.status_code == 409 and "goes on at byte 0" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "text/plain", "Upload-Offset": "0"}, b"x", 415),
        (OCTETS, b"x", 422),
        ({**OCTETS, "Upload-Offset": "-1"}, b"x", 422),
        ({**OCTETS, "Upload-Offset": "0"}, b"", 422),
        ({**OCTETS, "Upload-Offset": "0"}, b"x" * 200_000, 413),
        ({**OCTETS, "Upload-Offset": "0"}, b"x" * (16 * 2**20 + 1), 413),
    ],
)
def test_a_chunk_that_is_none_is_refused(served: Served, headers: Any, content: bytes, status: int):
    id = begin(served.client, ROOT_TEMPLATE.encode(), name="chunks").json()["id"]
    answer = served.client.patch(f"/v1/uploads/{id}", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert served.client.get(f"/v1/uploads/{id}").json()["received"] == 0


def test_bytes_that_are_not_those_announced_are_thrown_away(served: Served):
    data = ROOT_TEMPLATE.encode()
    id = begin(served.client, data, name="other-bytes").json()["id"]
    headers = {**OCTETS, "Upload-Offset": "0"}
    served.client.patch(f"/v1/uploads/{id}", content=b"#" + data[1:], headers=headers)
    answer = served.client.post(f"/v1/uploads/{id}:finish")
    assert answer.status_code == 422 and "announced was" in answer.json()["detail"]
    assert served.client.get(f"/v1/uploads/{id}").status_code == 404
    assert served.world.service.store.keys(f"uploads/{id}") == []


def test_finishing_too_early_says_how_much_is_missing(served: Served):
    id = begin(served.client, ROOT_TEMPLATE.encode(), name="early").json()["id"]
    answer = served.client.post(f"/v1/uploads/{id}:finish")
    assert answer.status_code == 409 and "0 of" in answer.json()["detail"]


def test_a_template_with_mistakes_is_refused_with_all_of_them(served: Served):
    data = b"class Params: pass\n"
    answer = whole(served.client, data, "template", "broken")
    assert answer.status_code == 422 and len(answer.json()["errors"]) >= 3
    listed = served.client.get("/v1/templates", params={"page_size": 500}).json()["items"]
    assert "broken" not in {one["name"] for one in listed}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "virus"},
        {"name": "../../etc/passwd"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a b"},
        {"sha256": "abc"},
        {"sha256": "G" * 64},
        {"size": 0},
        {"size": 2**40},
        {"size": 1_048_577},
        {"size": "7"},
        {"more": 1},
    ],
)
def test_an_announcement_that_cannot_be_meant_is_refused(served: Served, body: dict[str, Any]):
    right = {"kind": "template", "name": "mine", "sha256": "a" * 64, "size": 7}
    answer = served.client.post("/v1/uploads", json={**right, **body})
    assert answer.status_code == 422, answer.text


def test_half_a_push_is_collected_after_a_day_and_no_live_one(served: Served):
    service = served.world.service
    now = 0.0
    uploads = Uploads(service.bundles, lambda: now)
    data = b"x" * 100
    digest = hashlib.sha256(data).hexdigest()
    now = service.store.now() - 200_000
    old = uploads.begin(OPERATOR, "gc", "code", "old", digest, 100).upload
    assert old is not None
    uploads.receive(OPERATOR, old.id, 0, data[:50])
    now = service.store.now()
    young = uploads.begin(OPERATOR, "gc", "code", "young", digest, 100).upload
    assert young is not None
    uploads.receive(OPERATOR, young.id, 0, data[:50])
    assert [id for id, _, _ in uploads.collect(dry_run=True)] == [old.id]
    assert [(id, n, size) for id, n, size in uploads.collect()] == [(old.id, 1, 50)]
    assert service.store.keys(f"uploads/{old.id}") == []
    assert len(service.store.keys(f"uploads/{young.id}")) == 1
    uploads.give_up(OPERATOR, young.id)


# ---- code and datasets --------------------------------------------------------------------------


def tar(*entries: tuple[str, bytes, dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data, fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tar(("../out.py", b"x", {})), "leads out"),
        (tar(("/etc/x.py", b"x", {})), "leads out"),
        (tar(("a/../../x.py", b"x", {})), "leads out"),
        (tar(("a.py", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})), "a link"),
        (tar(("a.py", b"", {"type": tarfile.LNKTYPE, "linkname": "b.py"})), "a link"),
        (tar(("a.py", b"", {"type": tarfile.CHRTYPE})), "a device"),
        (tar(("a.py", b"", {"type": tarfile.FIFOTYPE})), "a device"),
        (tar(("a.py", b"1", {}), ("a.py", b"2", {})), "twice"),
        (tar(("torch.py", b"1", {})), "hides 'torch'"),
        (tar(("json/__init__.py", b"1", {})), "hides 'json'"),
        (tar(), "no file"),
        (b"not an archive at all", "no tar.gz"),
        (tar(("bomb.bin", b"\0" * 300_000_000, {})), "more than"),
    ],
)
def test_an_archive_that_none_of_ours_is_is_refused(served: Served, data: bytes, said: str):
    answer = whole(served.client, data, "code", "evil")
    assert answer.status_code == 422 and said in answer.text
    assert served.world.service.store.keys("bundles/" + hashlib.sha256(data).hexdigest()) == []


def test_a_pushed_dataset_gives_the_rows_of_its_files(served: Served, tmp_path: Path):
    for name, rows in (("mine", 120), ("held_out", 40)):
        (tmp_path / f"{name}.csv").write_text(csv(rows, shift=len(name)))
    ref = push(
        Plain(served.client), "dataset", tmp_path / "mine.csv",
        target="label", test=tmp_path / "held_out.csv",
    )  # fmt: skip
    shape = served.client.get(f"/v1/datasets/{ref}").json()
    assert (shape["name"], shape["n_test"], shape["n_classes"]) == ("mine.csv", 40, 2)
    listed = served.client.get("/v1/datasets").json()["items"]
    mine = next(one for one in listed if one["ref"] == ref)
    assert mine["files"] == ["mine.csv", "mine.test.csv"] and mine["target"] == "label"

    from automata_svc.datasets import describe

    local = describe(
        {"path": str(tmp_path / "mine.csv"), "target": "label",
         "test": str(tmp_path / "held_out.csv")},
        served.world.service.settings,
    )  # fmt: skip
    assert local.digest == shape["digest"]


def test_what_a_job_names_by_path_is_pushed_and_the_job_runs(served: Served, tmp_path: Path):
    (tmp_path / "mine.csv").write_text(csv())
    (tmp_path / "mine.py").write_text(
        ROOT_TEMPLATE.replace("import torch", "import helpers_of_mine\nimport torch", 1)
    )
    code = tmp_path / "lib"
    code.mkdir()
    (code / "helpers_of_mine.py").write_text("HERE = __file__\n")
    (code / "__pycache__").mkdir()
    spec = TrialSpec.model_validate(
        {
            "template": str(tmp_path / "mine.py"),
            "dataset": {"path": str(tmp_path / "mine.csv"), "target": "label"},
            "code": str(code),
        }
    )
    sets = push_paths(Plain(served.client), spec)
    assert [one.partition("=")[0] for one in sets] == [
        "spec.trial.template", "spec.trial.dataset", "spec.trial.code",
    ]  # fmt: skip
    text = job_text(
        "by-path", budget={"trials": 1}, space={"lr": [0.1]}, scheduler={"type": "fifo"}
    )
    refused = served.client.post(
        "/v1/jobs",
        content=text,
        headers=JSON,
        params={"set": [f"spec.trial.code={json.dumps(str(code))}"]},
    )
    assert refused.status_code == 422 and "push it" in refused.text
    answer = served.client.post("/v1/jobs", content=text, headers=JSON, params={"set": sets})
    assert answer.status_code == 201, answer.text
    state = served.run(answer.json()["id"])
    assert state.state == "SUCCEEDED", state.move.reason
    best = served.client.get(f"/v1/jobs/{answer.json()['id']}/best")
    assert best.status_code == 200 and b"code/helpers_of_mine.py" in best.content


def test_a_dataset_archive_must_hold_what_its_manifest_says(served: Served):
    def archive(manifest: Any, *names: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            for name, data in (("manifest.json", json.dumps(manifest).encode()),
                               *((name, b"a,b\n1,2\n") for name in names)):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
        return out.getvalue()

    right = {"format": 1, "path": "d.csv", "target": "b", "test": None, "val": None}
    for data in (
        archive({**right, "path": "../d.csv"}, "d.csv"),
        archive({**right, "path": "/etc/passwd"}, "d.csv"),
        archive({**right, "test": "t.csv"}, "d.csv"),
        archive({**right, "more": 1}, "d.csv"),
        archive(right, "d.csv", "e.csv"),
        archive([right], "d.csv"),
        archive(right),
        b"plain text",
    ):
        answer = whole(served.client, data, "dataset")
        assert answer.status_code == 422, answer.text
    assert whole(served.client, archive(right, "d.csv"), "dataset").status_code == 200


# ---- projects and scopes ------------------------------------------------------------------------


def test_another_projects_bundle_is_as_if_it_were_not_there(served: Served, template: Path):
    scopes = ("code:push", "bundles:read", "jobs:write", "jobs:read")
    owner = served.as_(*scopes, project="owner")
    stranger = served.as_(*scopes, project="stranger")
    ref = push(Plain(owner), "template", template, "private")
    assert stranger.get(f"/v1/templates/{ref}").status_code == 404
    listed = stranger.get("/v1/templates").json()["items"]
    assert "private" not in {one["name"] for one in listed}
    text = job_text(trial=trial(template=ref))
    answer = stranger.post("/v1/jobs", content=text, headers=JSON)
    assert answer.status_code == 422 and "no template private@" in answer.text
    assert owner.post("/v1/jobs", content=text, headers=JSON).status_code == 201
    # Whoever knows the digest has not got the bytes: they must be sent again.
    data = template.read_bytes()
    assert begin(stranger, data, name="private").json()["done"] is False
    assert owner.get("/v1/templates", params={"project": "stranger"}).status_code == 404


def test_another_projects_upload_is_as_if_it_were_not_there(served: Served):
    owner, stranger = (served.as_("code:push", project=one) for one in ("owner", "stranger"))
    id = begin(owner, b"x" * 10, "code", "secret-code").json()["id"]
    headers = {**OCTETS, "Upload-Offset": "0"}
    assert stranger.get(f"/v1/uploads/{id}").status_code == 404
    assert stranger.patch(f"/v1/uploads/{id}", content=b"y", headers=headers).status_code == 404
    assert stranger.post(f"/v1/uploads/{id}:finish").status_code == 404
    assert stranger.delete(f"/v1/uploads/{id}").status_code == 404
    assert owner.delete(f"/v1/uploads/{id}").status_code == 204


def test_pushing_needs_its_own_scope(served: Served):
    client = served.as_("jobs:write", "jobs:read", "bundles:read")
    assert begin(client, b"x").status_code == 403


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "mine.py", "a%2fb"])
@pytest.mark.parametrize("noun", ["templates", "datasets"])
def test_no_path_can_be_asked_for(served: Served, noun: str, name: str):
    answer = served.client.get(f"/v1/{noun}/{name}")
    assert answer.status_code in (404, 422)


def test_a_reference_with_half_a_digest_says_what_is_right(served: Served):
    text = job_text(trial=trial(template="mine@abc123"))
    answer = served.client.post("/v1/jobs", content=text, headers=JSON)
    assert answer.status_code == 422 and "64 hex digits" in answer.text


def test_pages_of_what_was_pushed_follow_each_other(served: Served, template: Path):
    client = served.as_("code:push", "bundles:read", project="pages")
    refs = [push(Plain(client), "template", template, f"page-{n}") for n in range(5)]
    seen, token = [], None
    while True:
        params = {"page_size": 2, **({"page_token": token} if token else {})}
        page = client.get("/v1/templates", params=params).json()
        seen += [one["ref"] for one in page["items"] if one["source"] == "pushed"]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == refs[::-1]
    assert client.get("/v1/datasets", params={"page_token": "x"}).status_code == 422


# ---- subsets ------------------------------------------------------------------------------------


def test_stored_subsets_are_those_of_the_project_and_shared_ones(served: Served):
    def made(project: str, scope: str) -> str:
        client = served.as_("admin", project=project)
        text = job_text(
            f"milo-{scope}", subset={"strategy": "milo", "scope": scope}, budget={"trials": 1},
            space={"lr": [0.1]}, scheduler={"type": "fifo"}, confirm={"enabled": False},
        )  # fmt: skip
        job = client.post("/v1/jobs", content=text, headers=JSON).json()["id"]
        state = served.run(job)
        assert state.state == "SUCCEEDED", state.move.reason
        assert state.subset is not None and state.subset.artefact is not None
        return str(state.subset.artefact)

    here, there = (served.as_("jobs:read", project=one) for one in ("here", "there"))
    keys = {scope: made("here", scope) for scope in ("job", "project", "shared")}
    theirs = made("there", "project")
    assert len({*keys.values(), theirs}) == 4
    assert made("there", "shared") == keys["shared"]

    listed = here.get("/v1/subsets").json()["items"]
    assert {one["scope"]: one["key"] for one in listed} == keys
    assert {one["key"] for one in there.get("/v1/subsets").json()["items"]} == {
        theirs, keys["shared"],
    }  # fmt: skip
    assert there.get(f"/v1/subsets/{keys['project']}").status_code == 404
    assert there.get(f"/v1/subsets/{keys['job']}").status_code == 404
    assert here.get(f"/v1/subsets/{keys['job'][:12]}").json()["strategy"] == "milo"
    first = here.get("/v1/subsets", params={"page_size": 2}).json()
    rest = here.get(
        "/v1/subsets", params={"page_size": 2, "page_token": first["next_page_token"]}
    ).json()
    assert [one["key"] for one in (*first["items"], *rest["items"])] == [
        one["key"] for one in listed
    ]


def test_a_name_is_made_of_a_files_name(tmp_path: Path):
    path = tmp_path / "my data (1).csv.gz"
    path.write_bytes(b"")
    assert prepare("dataset", path, target="x").name == "my-data-1"
