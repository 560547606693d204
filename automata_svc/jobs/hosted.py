"""The use cases of a service: everything is done for a caller, and of a caller's projects only.

What belongs to another project answers as if it were not there. Every method is synchronous and may
be called from any thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from automata_svc.database import KEY_TTL_S
from automata_svc.errors import Conflict, NotFound, Problem, Replayed, SpecError, Stale
from automata_svc.jobs.changing import changes
from automata_svc.jobs.logs import LogPage, Logs, check_trial
from automata_svc.jobs.projection import trial_rows
from automata_svc.jobs.protocol import PlanView
from automata_svc.jobs.retention import delete_job
from automata_svc.jobs.runtime_env import packages_of
from automata_svc.jobs.states import States
from automata_svc.jobs.tenancy import Caller
from automata_svc.jobs.verbs import Verb, is_done
from automata_svc.jobs.webhooks import check_notify, policy_for
from automata_svc.results.curves import Curve, curves
from automata_svc.results.result import plain, result
from automata_svc.results.why import Why, why
from automata_svc.spec.job import TuneJob
from automata_svc.spec.load import parse_job
from automata_svc.tuning.events import decode
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.database import DeliveryRow, JobHead, StoredEvent, StoredJob, TrialRow
    from automata_svc.database.store import Database
    from automata_svc.jobs.local import LocalService
    from automata_svc.jobs.planner import Planned

SERVICE, EXTERNAL, CLI = "service", "external", "cli"  # who drives a job
Form = Literal["json", "yaml"]


@dataclass(frozen=True)
class Submitted:
    """A job that was taken, now or by an earlier request of the same key."""

    head: JobHead
    replayed: bool = False


class Hosted:
    """See the module's text; `service` gives the database and the store."""

    def __init__(self, service: LocalService, clock: Callable[[], float] = time.time) -> None:
        self.service = service
        self._clock = clock
        self.webhooks = policy_for(service.settings)  # where the jobs' webhooks may go
        self.states = States(service.database)
        # why a job can never be placed on the cluster; None: it can be, or nobody knows
        self.refuses: Callable[[SearchPlan], str | None] = lambda plan: None

    @cached_property
    def _logs(self) -> Logs:
        return Logs(self.service.store, self.service.settings.home)

    @property
    def database(self) -> Database:
        return self.service.database

    # ---- before it runs -------------------------------------------------------------------------

    def plan(
        self,
        caller: Caller,
        text: str | bytes,
        overrides: Sequence[str] = (),
        project: str | None = None,
        form: Form = "yaml",
    ) -> PlanView:
        """What a job file would do, and cost; nothing is stored.

        Args:
            form: json: it is JSON and nothing else.

        Raises:
            SpecError: with every mistake.
            Denied: it names a project that is not the caller's, or packages without code:push.
        """
        from automata_svc.jobs.view import plan_view

        job = self._read(caller, text, overrides, project, form)
        return plan_view(self._planned(job), self.service.store)

    def submit(
        self,
        caller: Caller,
        text: str | bytes,
        overrides: Sequence[str] = (),
        project: str | None = None,
        key: str | None = None,
        form: Form = "yaml",
        key_ttl_s: float | None = KEY_TTL_S,
        vouched: Collection[str] = (),
    ) -> Submitted:
        """Stores a checked job, QUEUED; once, however often the same is asked with one key.

        Args:
            project: where the file names none and the caller has none of its own.
            key: the caller's own word for this very submission.
            key_ttl_s: how long the key stands for it; None: as long as the job is stored.
            vouched: packages that somebody else, who may push code, has named before.

        Raises:
            SpecError: with every mistake; nothing is stored then.
            Denied: it names a project that is not the caller's, or packages without code:push.
            KeyReused: the key stands for another submission.
        """
        from automata_svc.database import new_job_id
        from automata_svc.jobs.submitting import fingerprint, row_of

        job = self._read(caller, text, overrides, project, form, vouched)
        home = job.metadata.project
        idempotency = None
        if key is not None:
            idempotency = (key, fingerprint(text, overrides, home))
            found = self._replayed(home, idempotency)
            if found is not None:
                return found
        now = self._clock()
        job_id = new_job_id(now)
        planned = self._planned(job, job_id)
        try:
            self.database.create_job(
                job_id=job_id,
                created_at=now,
                driver=EXTERNAL if planned.plan.is_external else SERVICE,
                created_by=caller.token_id or None,
                # The file's name alone: not where it lies here.
                **row_of(job, planned, Path(planned.template.path).name),
                idempotency=idempotency,
                key_ttl_s=key_ttl_s,
            )
        except Replayed as again:
            return Submitted(self.database.get_head(again.job_id), replayed=True)
        return Submitted(self.database.get_head(job_id))

    def clone(
        self,
        caller: Caller,
        job: str,
        overrides: Sequence[str] = (),
        name: str | None = None,
        key: str | None = None,
        key_ttl_s: float | None = KEY_TTL_S,
    ) -> Submitted:
        """The same job file again, with changes, in the same project.

        Raises:
            As `submit`; NotFound: no such job.
        """
        record = self.record(caller, job)
        text = json.loads(record.template).get("job") or record.spec
        named = (f"metadata.name={json.dumps(name)}",) if name is not None else ()
        again = (*overrides, *named)
        vouched = packages_of(record)
        return self.submit(
            caller, text, again, record.project, key, key_ttl_s=key_ttl_s, vouched=vouched
        )

    def _read(
        self,
        caller: Caller,
        text: str | bytes,
        overrides: Sequence[str],
        project: str | None,
        form: Form,
        vouched: Collection[str] = (),
    ) -> TuneJob:
        """A checked job file with its project, naming nothing that lies on the server's disk."""
        try:
            job = parse_job(text, "job.json" if form == "json" else "", overrides)
        except SpecError as error:
            raise SpecError(error.problems) from None  # the file's name is not the caller's
        named = job.metadata.project if "project" in job.metadata.model_fields_set else None
        if named is not None and project is not None and named != project:
            said = f"'{named}', but the request is about project '{project}'; keep one of the two"
            raise SpecError(Problem("metadata.project", said))
        home = caller.home(named if named is not None else project)
        if not set(vouched) >= set(job.spec.trial.runtime_env.pip):
            caller.needs("code:push")  # a package runs as pushed code does
        problems = [*_paths(job), *check_notify(job, self.webhooks)]
        if problems:
            raise SpecError(problems)
        metadata = job.metadata.model_copy(update={"project": home})
        return job.model_copy(update={"metadata": metadata})

    def _planned(self, job: TuneJob, job_id: str = "job_plan") -> Planned:
        from automata_svc.jobs.planner import make_plan

        bundles = self.service.bundles.of(job.metadata.project)
        planned = make_plan(job, self.service.settings, job_id, bundles=bundles)
        refused = self.refuses(planned.plan)
        if refused is not None:
            raise SpecError(Problem("spec.trial.resources", refused))
        return planned

    def _replayed(self, project: str, idempotency: tuple[str, str]) -> Submitted | None:
        """The job that this key made before: also where the same file would not be taken today."""
        found = self.database.find_submission(project, *idempotency)
        return None if found is None else Submitted(self.database.get_head(found), replayed=True)

    # ---- looking --------------------------------------------------------------------------------

    def record(self, caller: Caller, job: str) -> StoredJob:
        """A job by its id, a unique prefix of it, or its name (the newest of them).

        Raises:
            NotFound: the caller has no such job; names the nearest of theirs.
            SpecError: the prefix fits more than one.
        """
        return self.database.get_job(job, project=caller.project)

    def jobs(
        self,
        caller: Caller,
        *,
        project: str | None = None,
        states: Collection[str] = (),
        name: str | None = None,
        label: tuple[str, str] | None = None,
        limit: int,
        before: tuple[float, str] | None = None,
    ) -> list[JobHead]:
        """Jobs, newest first, after the one that `before` names.

        Raises:
            NotFound: the project is not the caller's.
        """
        return self.database.list_jobs(
            project=caller.shown(project),
            state=tuple(states) or None,
            name=name,
            label=label,
            limit=limit,
            before=before,
        )

    def result(self, caller: Caller, job: str) -> Mapping[str, Any]:
        """The report of `results.result`."""
        record = self.record(caller, job)
        with self.states.of(record.id, lambda: record.plan) as state:
            return result(state, json.loads(record.spec))

    def why(self, caller: Caller, job: str, trial: int) -> Why:
        """Why a trial stands where it stands.

        Raises:
            NotFound: no such job, or no such trial.
        """
        record = self.record(caller, job)
        with self.states.of(record.id, lambda: record.plan) as state:
            return why(state, trial)

    def trials(
        self,
        record: StoredJob,
        *,
        state: str | None = None,
        order: str = "number",
        limit: int,
        after: tuple[Any, ...] | None = None,
    ) -> list[TrialRow]:
        """A page of a job's trials, after the one that `after` names in this order."""
        mode = json.loads(record.plan)["mode"] if order == "rank" else "max"

        def page() -> list[TrialRow]:
            return self.database.trials(
                record.id, state=state, order=order, mode=mode, limit=limit, after=after
            )

        rows = page()
        return page() if not rows and after is None and self._project(record) else rows

    def trial(self, caller: Caller, job: str, number: int) -> TrialRow:
        """One trial.

        Raises:
            NotFound: no such job, or no such trial.
        """
        record = self.record(caller, job)
        try:
            return self.database.trial(record.id, number)
        except NotFound:
            if not self._project(record):
                raise
            return self.database.trial(record.id, number)

    def _project(self, record: StoredJob) -> bool:
        """Lists the trials of a log that was written before there was a projection."""
        if not record.seq or self.database.trials(record.id, limit=1):
            return False
        with self.states.of(record.id, lambda: record.plan) as state:
            seq, rows = state.seq, trial_rows(state, range(len(state.trials)))
        return bool(rows) and self.database.fill_trials(record.id, seq, rows)

    def curves(
        self,
        caller: Caller,
        job: str,
        trial: int,
        names: Collection[str] | None,
        max_points: int,
    ) -> dict[str, Curve]:
        """What a trial reported, by metric.

        Raises:
            NotFound: no such job, or no such trial.
        """
        self.trial(caller, job, trial)
        record = self.record(caller, job)
        plan = SearchPlan.from_json(json.loads(record.plan))
        stored = self.database.events(record.id, trial=trial)
        return curves(plan, (decode(one.kind, one.body) for one in stored), names, max_points)

    def events(
        self, caller: Caller, job: str, after: int, limit: int
    ) -> tuple[StoredJob, list[StoredEvent]]:
        """A page of the log, with the job as it was before the page was read."""
        record = self.record(caller, job)
        if after > record.seq:
            said = f"{after} is beyond the log: its last event is {record.seq}"
            raise SpecError(Problem("query.after", said))
        return record, list(self.database.events(record.id, after=after, limit=limit))

    def winner(self, caller: Caller, job: str) -> StoredJob:
        """A job that has one.

        Raises:
            Conflict: it has none (yet).
        """
        record = self.record(caller, job)
        with self.states.of(record.id, lambda: record.plan) as state:
            if state.result is None:
                where = f"it is {state.state} ({state.move.reason})"
                raise Conflict(f"{record.id} has no confirmed winner: {where}")
        return record

    def logs(
        self, caller: Caller, job: str, trial: int | None, after: int, limit: int
    ) -> tuple[StoredJob, LogPage]:
        """Lines of a job's drivers, or of a trial, with the job as it was before they were read.

        Raises:
            NotFound: no such job, or no such trial.
        """
        record = self.record(caller, job)
        check_trial(record, trial)
        is_over = record.state in JOB_ENDS
        return record, self._logs.read(record.id, trial, after, limit, is_over)

    # ---- changing -------------------------------------------------------------------------------

    def change(
        self,
        caller: Caller,
        job: str,
        values: Mapping[str, Any],
        revisions: Collection[int] | None = None,
    ) -> JobHead:
        """Changes what may be changed of a job, and returns it.

        Args:
            values: as `jobs.changing.changes` takes them.
            revisions: those that the change may be based on; None: any.

        Raises:
            SpecError, Conflict: as `changes` does.
            Stale: it was changed since.
        """
        while True:
            record = self.record(caller, job)
            if revisions is not None and record.revision not in revisions:
                said = "and the change is not based on that; look at it again"
                raise Stale(f"{record.id} is at revision {record.revision}, {said}")
            new = changes(record, values, self.webhooks)
            try:
                self.database.update_job(record.id, new, record.revision)
            except Stale:  # somebody else was quicker: the same job again, whatever its name means
                job = record.id
                continue
            return self.database.get_head(record.id)

    def delete(self, caller: Caller, job: str) -> None:
        """Removes a job that is over, with its log and its files.

        Raises:
            Conflict: it is not over.
        """
        record = self.record(caller, job)
        delete_job(self.database, self.service.store, self.service.settings, record.id)
        self.states.forget(record.id)

    def stop(self, caller: Caller, job: str, reason: str = "") -> JobHead:
        """Ends a job for good; one that was cancelled stays so.

        Raises:
            Conflict: it ended otherwise.
        """
        return self._command(caller, job, "stop", reason)

    def redeliver(self, caller: Caller, job: str, delivery: str) -> DeliveryRow:
        """Has a webhook that was given up sent again; one that waits is left alone.

        Raises:
            NotFound: the job has no such delivery.
            Conflict: it has arrived.
        """
        record = self.record(caller, job)
        return self.database.revive_delivery(record.id, delivery, self._clock())

    def pause(self, caller: Caller, job: str, reason: str = "") -> JobHead:
        """Lets go of a job's slots until it is resumed.

        Raises:
            Conflict: it is over, or ending.
        """
        return self._command(caller, job, "pause", reason)

    def resume(self, caller: Caller, job: str, reason: str = "") -> JobHead:
        """Puts a paused job back into its queue; one that was not paused is left alone.

        Raises:
            Conflict: it is over, or ending; or somebody's command line drives it.
        """
        return self._command(caller, job, "resume", reason)

    def retry(self, caller: Caller, job: str) -> Submitted:
        """Tries again: at once what waits after a failed driver, as a new job what has ended badly.

        The same new job, however often it is asked for.

        Raises:
            Conflict: it runs, is paused, or has succeeded.
        """
        from automata_svc.jobs.submitting import retry_key

        record = self.record(caller, job)
        is_done("retry", record.id, record.state)
        if record.state == "QUEUED":
            self.database.set_controller_fields(record.id, not_before=None)
            return Submitted(self.database.get_job(record.id), replayed=True)
        return self.clone(caller, record.id, key=retry_key(record.id), key_ttl_s=None)

    def _command(self, caller: Caller, job: str, verb: Verb, reason: str) -> JobHead:
        record = self.record(caller, job)
        if is_done(verb, record.id, record.state):
            return self._after_pause(record, reason) if verb == "resume" else record
        if record.driver == CLI and verb == "resume":
            raise Conflict(f"{record.id} is run by a command line: `automata resume` there goes on")
        self.service.carry_out(record, verb, reason)
        return self.database.get_job(record.id)

    def _after_pause(self, record: StoredJob, reason: str) -> StoredJob:
        """A resume that comes before the driver has seen the pause: it is to follow it."""
        from automata_svc.jobs.drive import carry_out_waiting

        waiting = [command.verb for command in self.database.waiting_commands(record.id)]
        if waiting[-1:] != ["pause"]:
            return record
        body = json.dumps({"reason": reason})
        self.database.add_command(record.id, "resume", body, self._clock())
        carry_out_waiting(self.service, record.id)  # the driver may be gone meanwhile
        return self.database.get_job(record.id)


def trial_text(row: TrialRow) -> str:
    """A trial as it was projected, as JSON can hold it."""
    if "NaN" not in row.body and "Infinity" not in row.body:
        return row.body
    return json.dumps(plain(json.loads(row.body)), ensure_ascii=False)


def _paths(job: TuneJob) -> list[Problem]:
    """Files that a job file names by path: they would be the server's, not the caller's."""
    trial = job.spec.trial
    found: list[Problem] = []
    push = "is a path on your machine; push it and name it as name@sha256 (`automata tune` does)"
    if trial.template is not None and ("/" in trial.template or trial.template.endswith(".py")):
        found.append(Problem("spec.trial.template", f"'{trial.template}' {push}"))
    if trial.dataset is not None and trial.dataset.path is not None:
        found.append(Problem("spec.trial.dataset", f"'{trial.dataset.path}' {push}"))
    if trial.code is not None and "@" not in trial.code:
        found.append(Problem("spec.trial.code", f"'{trial.code}' {push}"))
    return found
