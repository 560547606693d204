"""The verbs on this machine: a database in AUTOMATA_HOME, jobs driven by the calling process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from automata_svc.errors import Replayed
from automata_svc.jobs.protocol import JobRow, PlanView, Watcher
from automata_svc.jobs.verbs import Verb, is_done
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from automata_svc.spec.wire.asks import AskAnswer, AskRequest, TellAnswer, TellRequest, read
from automata_svc.spec.wire.logs import MAX_LINES
from automata_svc.tuning.events import decode
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JOB_ENDS, JobState

if TYPE_CHECKING:
    import pandas

    from automata_svc.blobs import BlobStore
    from automata_svc.database import JobHead, StoredJob
    from automata_svc.database.store import Database
    from automata_svc.jobs.bundles import Bundles
    from automata_svc.jobs.external import External
    from automata_svc.jobs.following import Decoded
    from automata_svc.jobs.planner import Planned
    from automata_svc.results.why import Why
    from automata_svc.spec.job import TuneJob

LIVE = frozenset({"QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING"})


class LocalService:
    """Implements `jobs.protocol.Service`; opens database and blob store when first needed."""

    runs_here = True

    def __init__(
        self, settings: Settings | None = None, store_patience_s: float | None = None
    ) -> None:
        """
        Args:
            store_patience_s: how long a store that is away or busy is asked again; None: as long
                as a job can wait.
        """
        self.settings = settings or Settings.from_env()
        self._patience_s = store_patience_s
        self._database: Database | None = None
        self._store: BlobStore | None = None
        self._external: External | None = None
        self._opening = threading.RLock()  # several threads may be the first

    def __repr__(self) -> str:
        return f"<jobs in {self.settings.home}>"

    @property
    def place(self) -> str:
        """Where its jobs are."""
        return str(self.settings.home)

    @property
    def database(self) -> Database:
        with self._opening:
            if self._database is None:
                from automata_svc.database import open_database

                self._database = open_database(self.settings.database_url)
            return self._database

    @property
    def store(self) -> BlobStore:
        if self._store is None:
            from automata_svc.blobs import PATIENCE_S, open_store

            patience_s = PATIENCE_S if self._patience_s is None else self._patience_s
            if self.settings.is_embedded:  # else the store's folder would make it, open to all
                with suppress(OSError):  # it says so itself
                    self.settings.make_home()
            self._store = open_store(self.settings.store_url, patience_s)
        return self._store

    @property
    def bundles(self) -> Bundles:
        """Templates, datasets and code that were pushed; and the code of this machine's jobs."""
        from automata_svc.jobs.bundles import Bundles

        return Bundles(self.database, self.store, self.settings)

    @property
    def external(self) -> External:
        """What serves clients that train trials elsewhere; keeps their jobs' states."""
        with self._opening:
            if self._external is None:
                from automata_svc.jobs.external import External

                self._external = External(self.database)
            return self._external

    def close(self) -> None:
        """Closes the database, if it was opened."""
        with self._opening:
            if self._database is not None:
                self._database.close()
                self._database = None

    # ---- before it runs
    # ---------------------------------------------------------------------------

    def plan(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> PlanView:
        """What a job file would do, and cost. Starts nothing.

        Raises:
            SpecError: with every mistake.
        """
        from automata_svc.jobs.view import plan_view

        return plan_view(self._planned(parse_job(text, source, overrides), source), self.store)

    def submit(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> str:
        """Stores a checked job, QUEUED, with its plan and its template's text.

        Raises:
            SpecError: with every mistake; nothing is stored then.
        """
        return self._submit(parse_job(text, source, overrides), source)

    def _submit(self, job: TuneJob, source: str, idempotency: tuple[str, str] | None = None) -> str:
        """The same of a job that is read; `idempotency` is for good, as in `create_job`."""
        from automata_svc.database import new_job_id
        from automata_svc.jobs.bundles import keep_code
        from automata_svc.jobs.submitting import row_of

        now = time.time()
        job_id = new_job_id(now)
        planned = keep_code(self.bundles, self._planned(job, source, job_id))
        self.database.create_job(
            job_id=job_id,
            created_at=now,
            driver="external" if planned.plan.is_external else "cli",
            **row_of(job, planned, planned.template.path),
            idempotency=idempotency,
            key_ttl_s=None,
        )
        return job_id

    def _planned(self, job: TuneJob, source: str, job_id: str = "job_plan") -> Planned:
        from automata_svc.jobs.planner import make_plan

        bundles = self.bundles.of(job.metadata.project)
        planned = make_plan(job, self.settings, job_id, source, bundles)
        if job.spec.trial.runtime_env.pip:
            said = "runtime_env.pip is for a service: run here, trials use what is installed here"
            planned = replace(planned, warnings=(*planned.warnings, said))
        return planned

    # ---- running
    # ----------------------------------------------------------------------------------

    def drive(self, job: str, watch: Watcher | None = None, runner: str = "ray") -> JobState:
        """Runs a job to its end in this process; see `Service.drive`."""
        from automata_svc.jobs.drive import drive

        record = self._record(job)
        if _is_external(record):
            is_done("resume", record.id, record.state)
            self.external.resume(record.id)
            return self.follow(record.id, watch)
        return drive(self, record.id, watch, runner)

    def follow(self, job: str, watch: Watcher | None = None) -> JobState:
        """Looks on while another process drives the job; see `Service.follow`."""
        from automata_svc.jobs.following import follow

        record = self._record(job)
        plan = SearchPlan.from_json(json.loads(record.plan))
        return follow(plan, lambda seq: self._decoded(record.id, seq), record.seq, watch)

    def _decoded(self, job: str, after: int) -> list[Decoded]:
        stored = self.database.events(job, after=after)
        return [(one.seq, one.at, decode(one.kind, one.body)) for one in stored]

    def ask(self, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
        """Trials for a client to train; see `jobs.asktell.AskTell`."""
        request = read(AskRequest, {"client_id": client_id, "count": count, "wait_s": wait_s})
        return self.external.ask_patiently(job, request)

    def tell(self, job: str, trial: int, **said: Any) -> TellAnswer:
        """Takes a client's report, and says what to do now; see `jobs.asktell.AskTell`."""
        return self.external.tell(job, trial, read(TellRequest, said))

    def stop(self, job: str, reason: str = "") -> None:
        """Ends a job for good; its driver, if it has one, sees it within a second."""
        self._command(job, "stop", reason)

    def pause(self, job: str, reason: str = "") -> None:
        """Lets go of a job's slots; `drive` goes on with it later."""
        self._command(job, "pause", reason)

    def change(self, job: str, values: Mapping[str, Any]) -> None:
        """Changes what may be changed of a submitted job, all of it or nothing."""
        from automata_svc.jobs.changing import changes
        from automata_svc.jobs.webhooks import policy_for
        from automata_svc.spec.patch import read_patch

        record = self._record(job)
        new = changes(record, read_patch(values), policy_for(self.settings))
        self.database.update_job(record.id, new, record.revision)

    def clone(self, job: str, overrides: Sequence[str] = (), name: str | None = None) -> str:
        """Submits the same job file again, with changes."""
        record = self._record(job)
        named = () if name is None else (f"metadata.name={json.dumps(name)}",)
        return self.submit(_file_of(record), _source_of(record), (*overrides, *named))

    def retry(self, job: str) -> str:
        """A job that failed or was cancelled again, as a new one: the same, however often asked.

        One that waits after a failed driver is its own answer; it can start now.
        """
        from automata_svc.jobs.submitting import fingerprint, retry_key

        record = self._record(job)
        is_done("retry", record.id, record.state)
        if record.state == "QUEUED":
            self.database.set_controller_fields(record.id, not_before=None)
            return record.id
        text = _file_of(record)
        idempotency = (retry_key(record.id), fingerprint(text, (), record.project))
        found = self.database.find_submission(record.project, *idempotency)
        if found is not None:
            return found
        try:
            again = parse_job(text, _source_of(record))
            return self._submit(again, _source_of(record), idempotency)
        except Replayed as meanwhile:
            return meanwhile.job_id

    def carry_out(self, record: StoredJob, verb: Verb, reason: str) -> None:
        """What a verb asks for: at once where nobody drives the job, else its driver is told."""
        from automata_svc.jobs.drive import carry_out_waiting, command_without_driver

        if _is_external(record):
            self.external.command(record.id, verb, reason)
        elif not command_without_driver(self, record.id, verb, reason):
            body = json.dumps({"reason": reason})
            self.database.add_command(record.id, verb, body, time.time())
            carry_out_waiting(self, record.id)  # it may have been held for a moment only

    def _command(self, job: str, verb: Verb, reason: str) -> None:
        record = self._record(job)
        if not is_done(verb, record.id, record.state):
            self.carry_out(record, verb, reason)

    # ---- looking
    # ----------------------------------------------------------------------------------

    def jobs(
        self,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Jobs, the newest first."""
        found = self.database.list_jobs(project=project, state=state, name=name, limit=limit)
        return [_row(record) for record in found]

    def find(self, job: str) -> JobRow:
        return _row(self._record(job))

    def state(self, job: str) -> JobState:
        """Rebuilt from the log, and from nothing else."""
        record = self._record(job)
        state = JobState(SearchPlan.from_json(json.loads(record.plan)))
        for stored in self.database.events(record.id):
            evolve(state, stored.seq, stored.at, decode(stored.kind, stored.body))
        return state

    def result(self, job: str) -> dict[str, Any]:
        """The report, so far or final."""
        from automata_svc.results.result import result

        return result(self.state(job), self.spec(job))

    def trials(self, job: str, top: int | None = None) -> list[dict[str, Any]]:
        """Rows of trials, the furthest first, then the best."""
        from automata_svc.results.result import by_rung, plain, trial_row

        state = self.state(job)
        rows = by_rung([trial_row(state, trial) for trial in state.trials], state.plan.mode)
        return [plain(row) for row in rows[:top]]

    def why(self, job: str, trial: int) -> Why:
        """Why a trial stands where it stands."""
        from automata_svc.results.why import why

        return why(self.state(job), trial)

    def logs(self, job: str, trial: int | None = None, after: int = 0) -> Sequence[tuple[int, str]]:
        """What the job's drivers, or a trial, printed."""
        from automata_svc.jobs.logs import check_trial, read

        record = self._record(job)
        check_trial(record, trial)
        return read(self, record.id, trial, after, MAX_LINES, record.state in JOB_ENDS).lines

    def follow_logs(
        self, job: str, trial: int | None = None, after: int = 0
    ) -> Iterator[Sequence[tuple[int, str]]]:
        """The same as it is printed."""
        from automata_svc.jobs.following import follow_lines

        name = self._record(job).id
        return follow_lines(
            lambda seen: self.logs(name, trial, seen),
            lambda: self._record(name).state in JOB_ENDS,
            after,
        )

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, str, Mapping[str, Any]]]:
        record = self._record(job)
        return [
            (stored.seq, stored.at, stored.kind, json.loads(stored.body))
            for stored in self.database.events(record.id, after=after)
        ]

    def spec(self, job: str) -> Mapping[str, Any]:
        body: Mapping[str, Any] = json.loads(self._record(job).spec)
        return body

    def template(self, job: str) -> Mapping[str, Any]:
        """The text that the job's trials ran, with its name, path and sha256."""
        body: Mapping[str, Any] = json.loads(self._record(job).template)
        return body

    def trials_frame(self, job: str) -> pandas.DataFrame:
        """One row per trial, parameters as columns: for notebooks."""
        from automata_svc.jobs.frames import trials_frame

        return trials_frame(self.state(job))

    # ---- afterwards
    # -------------------------------------------------------------------------------

    def save_best(self, job: str, folder: Path) -> list[Path]:
        """Writes the winner's model, parameters, template and an example that loads it."""
        from automata_svc.jobs.winner import save_winner

        return save_winner(self, self._record(job).id, folder)

    def replay(self, job: str) -> list[str]:
        """Derives every recorded decision again; what differs, in words."""
        from automata_svc.jobs.replay import divergences

        record = self._record(job)
        rows = [(s.seq, s.at, s.kind, s.body) for s in self.database.events(record.id)]
        plan = SearchPlan.from_json(json.loads(record.plan))
        return [
            f"event {d.seq}: recorded {d.expected}; derived {d.derived}"
            for d in divergences(plan, rows)
        ]

    def _record(self, job: str) -> StoredJob:
        return self.database.get_job(job)


def _is_external(record: StoredJob) -> bool:
    """Whether clients train the job's trials, so that it has no driver."""
    return SearchPlan.from_json(json.loads(record.plan)).is_external


def _file_of(record: StoredJob) -> str:
    """The job file as it was submitted; with every default written out where that is not kept."""
    return json.loads(record.template).get("job") or record.spec


def _source_of(record: StoredJob) -> str:
    return f"the file of {record.id}"


def _row(record: JobHead) -> JobRow:
    summary = json.loads(record.summary)
    summary.pop("counts", None)  # for totals over all jobs
    if record.driver == "cli" and record.state in _WITHOUT_DRIVER and not _has_driver(record):
        why = _WITHOUT_DRIVER[record.state]
        summary["waiting"] = f"{why}; go on with: automata resume {record.id}"
    return JobRow(
        id=record.id,
        name=record.name,
        project=record.project,
        state=record.state,
        reason=summary.get("reason", ""),
        created_at=record.created_at,
        updated_at=record.updated_at,
        trials=summary.get("trials", 0),
        summary=summary,
    )


# What a command line's job lacks in a state that it does not leave by itself.
_WITHOUT_DRIVER: Mapping[str, str] = MappingProxyType(
    {
        "QUEUED": "nobody has started it",
        "STARTING": "its driver has ended",
        "RUNNING": "its driver has ended",
        "STOPPING": "its driver has ended",
    }
)


def _has_driver(record: JobHead) -> bool:
    from automata_svc.database import is_gone

    owner = record.lease_owner
    return record.is_leased and owner is not None and not is_gone(owner)
