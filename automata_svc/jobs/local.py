"""The verbs on this machine: a database in AUTOMATA_HOME, jobs driven by the calling process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automata_svc.errors import Conflict
from automata_svc.jobs.protocol import JobRow, PlanView, Watcher
from automata_svc.settings import Settings
from automata_svc.spec.load import dump_job, parse_job
from automata_svc.tuning.events import decode
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JOB_ENDS, JobState, evolve

if TYPE_CHECKING:
    import pandas

    from automata_svc.blobs import BlobStore
    from automata_svc.database import JobHead, StoredJob
    from automata_svc.database.store import Database

LIVE = frozenset({"QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING"})


class LocalService:
    """Implements `jobs.protocol.Service`; opens database and blob store when first needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.from_env()
        self._database: Database | None = None
        self._store: BlobStore | None = None

    @property
    def database(self) -> Database:
        if self._database is None:
            from automata_svc.database import open_database

            self._database = open_database(self.settings.database_url)
        return self._database

    @property
    def store(self) -> BlobStore:
        if self._store is None:
            from automata_svc.blobs import open_store

            self._store = open_store(self.settings.store_url)
        return self._store

    # ---- before it runs
    # ---------------------------------------------------------------------------

    def plan(self, text: str, source: str, overrides: Sequence[str] = ()) -> PlanView:
        """What a job file would do, and cost. Starts nothing.

        Raises:
            SpecError: with every mistake.
        """
        from automata_svc.jobs.planner import make_plan
        from automata_svc.jobs.view import plan_view

        job = parse_job(text, source, overrides)
        return plan_view(make_plan(job, self.settings, source=source), self.store)

    def submit(self, text: str, source: str, overrides: Sequence[str] = ()) -> str:
        """Stores a checked job, QUEUED, with its plan and its template's text.

        Raises:
            SpecError: with every mistake; nothing is stored then.
        """
        from automata_svc.database import new_job_id
        from automata_svc.jobs.planner import make_plan
        from automata_svc.jobs.view import resolved

        job = parse_job(text, source, overrides)
        now = time.time()
        job_id = new_job_id(now)
        planned = make_plan(job, self.settings, job_id, source=source)
        self.database.create_job(
            job_id=job_id,
            name=job.metadata.name,
            project=job.metadata.project,
            spec=json.dumps(resolved(planned), ensure_ascii=False),
            plan=json.dumps(planned.plan.to_json(), ensure_ascii=False),
            template=json.dumps(
                {
                    "name": planned.template.name,
                    "path": planned.template.path,
                    "sha256": planned.template.sha256,
                    "text": planned.template.text,
                    "job": dump_job(job, defaults=False),
                },
                ensure_ascii=False,
            ),
            created_at=now,
            summary=json.dumps({"reason": "submitted", "trials": planned.plan.trials}),
        )
        return job_id

    # ---- running
    # ----------------------------------------------------------------------------------

    def drive(self, job: str, watch: Watcher | None = None, runner: str = "ray") -> JobState:
        """Runs a job to its end in this process; see `Service.drive`."""
        from automata_svc.jobs.drive import drive

        return drive(self, self._record(job).id, watch, runner)

    def stop(self, job: str, reason: str = "") -> None:
        """Ends a job for good; its driver, if it has one, sees it within a second."""
        self._command(job, "stop", reason)

    def pause(self, job: str, reason: str = "") -> None:
        """Lets go of a job's slots; `drive` goes on with it later."""
        self._command(job, "pause", reason)

    def _command(self, job: str, verb: str, reason: str) -> None:
        from automata_svc.jobs.drive import command_without_driver

        record = self._record(job)
        if record.state in JOB_ENDS:
            raise Conflict(f"{record.id} is already finished: {record.state}")
        if not command_without_driver(self, record.id, verb, reason):
            body = json.dumps({"reason": reason})
            self.database.add_command(record.id, verb, body, time.time())

    # ---- looking
    # ----------------------------------------------------------------------------------

    def jobs(self, project: str | None = None, state: str | None = None) -> list[JobRow]:
        """All jobs, the newest first."""
        return [_row(record) for record in self.database.list_jobs(project=project, state=state)]

    def find(self, job: str) -> JobRow:
        return _row(self._record(job))

    def state(self, job: str) -> JobState:
        """Rebuilt from the log, and from nothing else."""
        record = self._record(job)
        state = JobState(SearchPlan.from_json(json.loads(record.plan)))
        for stored in self.database.events(record.id):
            evolve(state, stored.seq, stored.at, decode(stored.kind, stored.body))
        return state

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
        import pandas

        state = self.state(job)
        rows = []
        for trial in state.trials:
            value = trial.last_value
            rows.append(
                {
                    "trial": trial.number,
                    "state": trial.state,
                    "reason": trial.move.reason,
                    "rung": trial.rung,
                    state.plan.metric: None if value is None else value.metric,
                    state.plan.loss_metric: None if value is None else value.loss,
                    "price": state.plan.price(trial.cost.train_rows, trial.cost.forward_rows),
                    **trial.params,
                }
            )
        return pandas.DataFrame(rows)

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


def _row(record: JobHead) -> JobRow:
    summary = json.loads(record.summary)
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
