"""The verbs against a server: `jobs.protocol.Service` over `client`."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from automata_svc.client import asks
from automata_svc.client.away import Away
from automata_svc.client.bundles import Progress, push_paths
from automata_svc.client.events import follow, path_of, stored
from automata_svc.client.http import Http, new_key, read, read_object
from automata_svc.errors import Conflict, Damaged, SpecError
from automata_svc.jobs.following import Decoded, Follower, follow_lines, together
from automata_svc.jobs.protocol import Chosen, JobRow, PlanView, RungLine, Watcher
from automata_svc.jobs.verbs import is_done
from automata_svc.results.why import Competitor, Step, Why
from automata_svc.spec.job import TuneJob
from automata_svc.spec.load import parse_job
from automata_svc.spec.wire.events import Event
from automata_svc.spec.wire.jobs import Job, JobList, Plan
from automata_svc.spec.wire.logs import MAX_LINES, LogLines
from automata_svc.tuning.events import decode
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JOB_ENDS, JobState

if TYPE_CHECKING:
    import pandas
    from httpx import Response

    from automata_svc.spec.wire.asks import AskAnswer, TellAnswer

PAGE = 500
WAIT_LOOK_S = 1.0  # how often a queued job is asked what it waits for
SAVE_S = 600.0  # guess: a server packs a winner, and sends it over a slow line


class RemoteService:
    """Safe to share between threads.

    Args:
        http: a connection; closed by `close`.
        project: of everything that is asked; None: the token's own, else "default".
        say: told what a user who waits wants to know (what a job waits for, a server that is away).
        progress: told of uploads, and of a winner that is fetched.
    """

    runs_here = False

    def __init__(
        self,
        http: Http,
        project: str | None = None,
        say: Callable[[str], None] = lambda text: None,
        progress: Progress | None = None,
    ) -> None:
        self.http, self._project, self._say, self._progress = http, project, say, progress

    def __repr__(self) -> str:
        return f"<jobs at {self.http.url}>"

    @property
    def place(self) -> str:
        """Where its jobs are."""
        return self.http.url

    def close(self) -> None:
        self.http.close()

    # ---- before it runs -------------------------------------------------------------------------

    def plan(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> PlanView:
        """What the server says that a job would do. What it names by path is pushed first."""
        answer = self._post_job(text, source, overrides, {"validate_only": "true"}, {})
        return _plan_view(read(Plan, answer))

    def submit(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> str:
        """Queues a job; what it names by path is pushed first, and named by its content."""
        answer = self._post_job(text, source, overrides, {}, {"Idempotency-Key": new_key()})
        return read(Job, answer).id

    def _post_job(
        self,
        text: str,
        source: str,
        overrides: Sequence[str],
        params: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Response:
        job = parse_job(text, source, overrides)
        pushed = push_paths(self.http, job.spec.trial, self._progress, self._project_of(job))
        query: list[tuple[str, str]] = [*params.items()]
        query += [("set", one) for one in (*overrides, *pushed)]
        if self._project is not None:
            query.append(("project", self._project))
        try:
            return self.http.request(
                "POST",
                "/v1/jobs",
                params=query,
                content=text.encode(),
                headers={"Content-Type": "application/yaml", **headers},
                again=True,  # by its key, or since it stores nothing
            )
        except SpecError as error:
            raise SpecError(error.problems, source) from None

    def _project_of(self, job: TuneJob) -> str | None:
        if self._project is None and "project" in job.metadata.model_fields_set:
            return job.metadata.project
        return self._project

    # ---- running --------------------------------------------------------------------------------

    def drive(self, job: str, watch: Watcher | None = None, runner: str = "ray") -> JobState:
        """Resumes the job where it is paused, and looks on to its end; the server drives it.

        KeyboardInterrupt leaves the job running.
        """
        record = self._job(job)
        is_asked = not is_done("resume", record.id, record.state)
        if record.driver == "cli":
            raise Conflict(
                f"{record.id} belongs to this machine's command line, not to the server; go on "
                f"with it by: automata resume {record.id} --local"
            )
        if is_asked:
            self._act(record.id, "resume")
        # A driver that is still on its way out lets the job go on only once it has left.
        return self._follow(record, watch, resumed=is_asked)

    def follow(self, job: str, watch: Watcher | None = None) -> JobState:
        """Looks on until the job is over or paused, through restarts of the server."""
        return self._follow(self._job(job), watch)

    def _follow(self, record: Job, watch: Watcher | None, resumed: bool = False) -> JobState:
        follower = Follower(self._search_plan(record.id), record.seq, watch, resumed)
        follower.take(self._decoded(stored(self.http, record.id)))
        if follower.is_done:
            return follower.state
        with _Waits(self, record.id, follower):
            events = follow(self.http, record.id, follower.state.seq, say=self._say)
            for batch in together(self._decoded(events)):
                follower.take(batch)
                if follower.is_done:
                    break
        return follower.state

    def stop(self, job: str, reason: str = "") -> None:
        """Ends a job for good; its driver sees it within a second."""
        self._act(job, "stop", reason)

    def pause(self, job: str, reason: str = "") -> None:
        """Lets go of a job's slots; `drive` resumes it."""
        self._act(job, "pause", reason)

    def change(self, job: str, values: Mapping[str, Any]) -> None:
        """Changes what may be changed of a submitted job, all of it or nothing."""
        headers = {"If-Match": "*"}
        self.http.request("PATCH", path_of(job), json=dict(values), headers=headers, again=True)

    def clone(self, job: str, overrides: Sequence[str] = (), name: str | None = None) -> str:
        """Submits the same job file again, with changes."""
        body = {"set": list(overrides), **({} if name is None else {"name": name})}
        headers = {"Idempotency-Key": new_key()}
        answer = self.http.request("POST", f"{path_of(job)}:clone", json=body, headers=headers)
        return read(Job, answer).id

    def retry(self, job: str) -> str:
        """Starts a job that waits after a failed driver now; makes a new one of a failed one."""
        answer = self.http.request("POST", f"{path_of(job)}:retry", again=True)
        return read(Job, answer).id

    def ask(self, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
        """Trials for a client to train; see `jobs.asktell.AskTell`."""
        return asks.ask(self.http, job, client_id=client_id, count=count, wait_s=wait_s)

    def tell(self, job: str, trial: int, **said: Any) -> TellAnswer:
        """Takes a client's report, and says what to do now; see `jobs.asktell.AskTell`."""
        return asks.tell(self.http, job, trial, **said)

    def _act(self, job: str, verb: str, reason: str = "") -> None:
        body = {"reason": reason}
        self.http.request("POST", f"{path_of(job)}:{verb}", json=body, again=True)

    # ---- looking --------------------------------------------------------------------------------

    def jobs(
        self,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Jobs that the token may see, the newest first."""
        asked = {
            "project": project or self._project, "state": state, "name": name,
            "page_size": PAGE if limit is None else max(1, min(limit, PAGE)),
        }  # fmt: skip
        params = {key: value for key, value in asked.items() if value is not None}
        found: list[JobRow] = []
        while True:
            answer = self.http.request("GET", "/v1/jobs", params=params)
            page = read(JobList, answer)
            found += map(_row, page.items)
            if page.next_page_token is None or (limit is not None and len(found) >= limit):
                return found[:limit]
            params = {**params, "page_token": page.next_page_token}

    def find(self, job: str) -> JobRow:
        """One job at a glance."""
        return _row(self._job(job))

    def state(self, job: str) -> JobState:
        """Rebuilt here from the whole log; the other verbs let the server look."""
        record = self._job(job)
        follower = Follower(self._search_plan(record.id), 0, None)
        follower.take(self._decoded(stored(self.http, record.id)))
        return follower.state

    def result(self, job: str) -> dict[str, Any]:
        """The report, so far or final."""
        return self._object(job, "result")

    def trials(self, job: str, top: int | None = None) -> list[dict[str, Any]]:
        """Rows of trials, the furthest first, then the best."""
        params: dict[str, Any] = {"order": "rank", "page_size": min(top or PAGE, PAGE)}
        found: list[dict[str, Any]] = []
        while True:
            page = read_object(self.http.request("GET", f"{path_of(job)}/trials", params=params))
            found += page["items"]
            params["page_token"] = page["next_page_token"]
            if params["page_token"] is None or (top is not None and len(found) >= top):
                return found[:top]

    def why(self, job: str, trial: int) -> Why:
        """Why a trial stands where it stands."""
        body = self._object(job, f"trials/{trial}/why")
        for key in ("table", "nearest"):
            body[key] = tuple(Competitor(**one) for one in body[key])
        body["path"] = tuple(Step(**one) for one in body["path"])
        return Why(**{**body, "losses": tuple(body["losses"]), "since": tuple(body["since"])})

    def logs(self, job: str, trial: int | None = None, after: int = 0) -> Sequence[tuple[int, str]]:
        """What the job's drivers, or a trial, printed."""
        params = {"after": after, "limit": MAX_LINES, **({} if trial is None else {"trial": trial})}
        answer = self.http.request("GET", f"{path_of(job)}/logs", params=params)
        lines = read(LogLines, answer).lines
        return [(line.number, line.text) for line in lines]

    def follow_logs(
        self, job: str, trial: int | None = None, after: int = 0
    ) -> Iterator[Sequence[tuple[int, str]]]:
        """The same as it is printed, through restarts of the server."""
        away, name = Away(self._say), self._job(job).id
        return follow_lines(
            lambda seen: away.outlasted(lambda: self.logs(name, trial, seen)),
            lambda: away.outlasted(lambda: self._job(name)).state in JOB_ENDS,
            after,
        )

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, str, Mapping[str, Any]]]:
        """(seq, at, kind, body) as stored."""
        return [(e.seq, e.at, e.kind, e.body) for e in stored(self.http, job, after)]

    def spec(self, job: str) -> Mapping[str, Any]:
        """The job file with every default written out."""
        return self._object(job, "spec")

    def template(self, job: str) -> Mapping[str, Any]:
        """The text that the job's trials ran, with its name, path and sha256."""
        return self._object(job, "template")

    def trials_frame(self, job: str) -> pandas.DataFrame:
        """One row per trial, parameters as columns: for notebooks."""
        from automata_svc.jobs.frames import trials_frame

        return trials_frame(self.state(job))

    # ---- afterwards -----------------------------------------------------------------------------

    def save_best(self, job: str, folder: Path) -> list[Path]:
        """Fetches the winner's model, parameters, template and an example that loads it."""
        if folder.exists() and any(folder.iterdir()):
            raise SpecError(f"{folder} is not empty; name a new folder")
        with tempfile.TemporaryFile() as data:  # not in memory: a model may be large
            with self.http.stream(f"{path_of(job)}/best", silence_s=SAVE_S) as answer:
                size = int(answer.headers.get("content-length", 0))
                for piece in answer.iter_bytes():
                    data.write(piece)
                    if self._progress is not None:
                        self._progress("winner", data.tell(), max(size, data.tell()))
            return _unpack(data, folder)

    def replay(self, job: str) -> list[str]:
        """Derives every recorded decision again, here; what differs, in words."""
        from automata_svc.jobs.replay import divergences

        plan = self._search_plan(job)
        rows = [(e.seq, e.at, e.kind, _text(e.body)) for e in stored(self.http, job)]
        return [
            f"event {d.seq}: recorded {d.expected}; derived {d.derived}"
            for d in divergences(plan, rows)
        ]

    # ---- below ----------------------------------------------------------------------------------

    def waiting(self, job: str) -> str:
        """What a job waits for, in words; "" where it does not wait."""
        found = self._job(job).waiting
        return found.for_ if found is not None else ""

    def _job(self, job: str) -> Job:
        return read(Job, self.http.request("GET", path_of(job)))

    def _object(self, job: str, what: str) -> dict[str, Any]:
        return read_object(self.http.request("GET", f"{path_of(job)}/{what}"))

    def _search_plan(self, job: str) -> SearchPlan:
        return SearchPlan.from_json(self._object(job, "plan"))

    def _decoded(self, events: Iterator[Event]) -> Iterator[Decoded]:
        for one in events:
            yield one.seq, one.at, decode(one.kind, _text(one.body))


class _Waits:
    """Says what a job waits for as long as nothing else is to be seen of it."""

    def __init__(self, service: RemoteService, job: str, follower: Follower) -> None:
        self._service, self._job, self._follower = service, job, follower
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="automata-waits", daemon=True)

    def __enter__(self) -> _Waits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        from automata_svc.errors import AutomataError

        said, since = "", time.monotonic()
        while not self._over.wait(WAIT_LOOK_S):
            if self._follower.state.state not in ("QUEUED", "STARTING"):
                continue
            try:
                now = self._service.waiting(self._job)
            except AutomataError:
                continue  # the one who follows says that the server is away
            if now and now != said and time.monotonic() - since > WAIT_LOOK_S:
                self._service._say(f"waits: {now}")
                said = now


def _text(body: Mapping[str, Any]) -> str:
    """A body as `tuning.events.encode` writes it, to the letter."""
    return json.dumps(body, separators=(",", ":"))


def _row(job: Job) -> JobRow:
    best = None if job.best is None else job.best.model_dump()
    return JobRow(
        id=job.id,
        name=job.name,
        project=job.project,
        state=job.state,
        reason=job.reason,
        created_at=job.created_at,
        updated_at=job.updated_at,
        trials=job.trials.planned,
        summary={
            "reason": job.reason,
            "since": job.since,
            "trials": job.trials.planned,
            "proposed": job.trials.proposed,
            "running": job.trials.running,
            "price": job.price,
            "best": best,
            **({} if job.waiting is None else {"waiting": job.waiting.for_}),
        },
    )


def _plan_view(plan: Plan) -> PlanView:
    return PlanView(
        job=plan.job,
        chosen={key: Chosen(one.value, one.reason) for key, one in plan.chosen.items()},
        dataset=plan.dataset,
        rungs=tuple(RungLine(**one.model_dump()) for one in plan.rungs),
        price=plan.price,
        price_search=plan.price_search,
        price_confirm=plan.price_confirm,
        expected=plan.expected,
        artefact=plan.artefact,
        warnings=plan.warnings,
    )


def _unpack(data: IO[bytes], folder: Path) -> list[Path]:
    """Writes a zip's files; one that would lie elsewhere is refused before any is written."""
    try:
        with zipfile.ZipFile(data) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            for name in names:
                parts = PurePosixPath(name)
                if parts.is_absolute() or ".." in parts.parts:
                    raise Damaged(f"the server sent a file that would lie outside: {name}")
            folder.mkdir(parents=True, exist_ok=True)
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise Damaged(f"what the server sent is not the winner's files: {error}") from None
    return [folder / name for name in names]
