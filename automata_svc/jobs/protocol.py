"""One set of verbs, wherever a job runs. The CLI and a notebook know nothing else.

`jobs.local.LocalService` does it on this machine, `jobs.remote.RemoteService` against a server.
tests/contracts/test_service.py runs over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from automata_svc.results.why import Why
from automata_svc.tuning.events import Event
from automata_svc.tuning.state import JobState


@dataclass(frozen=True)
class JobRow:
    """A line of `automata ls`."""

    id: str
    name: str
    project: str
    state: str
    reason: str
    created_at: float
    updated_at: float
    trials: int  # planned
    summary: Mapping[str, Any]  # as written with the last events: proposed, price, best …


@dataclass(frozen=True)
class Chosen:
    """A value in the plan: what it is, and why."""

    value: Any
    reason: str  # "given", "default: …", "from the price: …"


@dataclass(frozen=True)
class RungLine:
    """A rung as `plan` prints it."""

    asked: float  # share asked for
    share: float  # where it lands
    rows: int
    steps: tuple[int, int]  # optimizer steps by then: with the largest and the smallest batch
    trials: int  # that arrive here
    keep: int | None  # that go on
    price: float  # what the rung adds to the job's price


@dataclass(frozen=True)
class PlanView:
    """What a job will do, and cost, before anything is started."""

    job: Mapping[str, Any]  # the job file with every default written out
    chosen: Mapping[str, Chosen]  # pointer ("spec.subset.fraction") → value and reason
    dataset: Mapping[str, Any]  # Shape as a mapping
    rungs: tuple[RungLine, ...]
    price: float  # of the whole job
    price_search: float
    price_confirm: float
    expected: Mapping[str, Any] | None  # of the recipe: mean regret, misses, where measured
    artefact: Mapping[str, Any] | None  # key, whether it is already stored
    warnings: tuple[str, ...]


# Called after every stored batch of events, from the thread that drives the job or looks on; who
# looks on is called once without events first, where the job is not over.
Watcher = Callable[[JobState, Sequence[Event]], None]


class Service(Protocol):
    """Raises automata_svc.errors; a job is named by its id, a unique prefix of it, or its name."""

    def plan(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> PlanView:
        """Checks a job file's text and says what it would do. SpecError carries all mistakes.

        Args:
            source: what messages call it, as in "job.yaml".
            overrides: as `--set` takes them, as in "budget.price=1.5".
        """
        ...

    def submit(self, text: str, source: str = "", overrides: Sequence[str] = ()) -> str:
        """Stores a job, QUEUED, with its plan and its template's text; returns its id."""
        ...

    @property
    def place(self) -> str:
        """Where jobs and their files are: a folder, or a server's URL."""
        ...

    def close(self) -> None:
        """Lets go of connections and files; the service is not used any more."""
        ...

    runs_here: bool  # whether `drive` runs the job in this process; else a server does

    def drive(self, job: str, watch: Watcher | None = None, runner: str = "ray") -> JobState:
        """Takes a submitted, paused or orphaned job to its end.

        Here, in this process, by `runner`; KeyboardInterrupt: the job is PAUSED (resumable) and the
        exception raised again. At a server: resumes it where it is paused, then looks on as
        `follow` does. Conflict: another live driver has it, or it is already over.
        """
        ...

    def follow(self, job: str, watch: Watcher | None = None) -> JobState:
        """Looks on, whoever drives the job, until it is over or paused.

        Nothing of the job depends on who looks: KeyboardInterrupt leaves it as it is.
        """
        ...

    def jobs(
        self,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Those of a project, in a state, of a name; the newest first, `limit` of them at most."""
        ...

    def find(self, job: str) -> JobRow:
        """NotFound names the nearest."""
        ...

    def state(self, job: str) -> JobState:
        """Rebuilt from the log; results.* turns it into reports, tables and reasons."""
        ...

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, str, Mapping[str, Any]]]:
        """(seq, at, kind, body) as stored."""
        ...

    def result(self, job: str) -> dict[str, Any]:
        """The job's report as results.result documents it."""
        ...

    def trials(self, job: str, top: int | None = None) -> list[dict[str, Any]]:
        """Its trials as rows of that report, the furthest first, then the best."""
        ...

    def why(self, job: str, trial: int) -> Why:
        """Why a trial stands where it stands. NotFound: there is none of that number."""
        ...

    def logs(self, job: str, trial: int | None = None, after: int = 0) -> Sequence[tuple[int, str]]:
        """(number, line) that a trial, or the job's drivers (None), printed; behind `after`."""
        ...

    def follow_logs(
        self, job: str, trial: int | None = None, after: int = 0
    ) -> Iterator[Sequence[tuple[int, str]]]:
        """The same, page by page as it is printed, until the job is over; each line once.

        A server that restarts is waited for, as `follow` does.
        """
        ...

    def spec(self, job: str) -> Mapping[str, Any]:
        """The job file with every default written out, as it was submitted."""
        ...

    def stop(self, job: str, reason: str = "") -> None:
        """Ends a job for good: at once where nobody drives it, else its driver does within 1 s.

        `jobs.verbs` says what this and its neighbours mean in each state.
        """
        ...

    def pause(self, job: str, reason: str = "") -> None:
        """Lets go of a job's slots; `drive` goes on with it later."""
        ...

    def change(self, job: str, values: Mapping[str, Any]) -> None:
        """Changes what may be changed of a submitted job, all of it or nothing.

        Args:
            values: a merge-patch of priority, queue, labels, parallelism, notify and retention.

        SpecError: with every mistake. Conflict: it is over, and more than labels and retention is
        to change; or a command line drives it, and its parallelism is.
        """
        ...

    def clone(self, job: str, overrides: Sequence[str] = (), name: str | None = None) -> str:
        """Submits the same job file again, with changes; returns the new job's id."""
        ...

    def retry(self, job: str) -> str:
        """A job that failed or was cancelled again, as a new one: the same, however often asked.

        One that waits after a failed driver is its own answer; it can start now.
        Conflict: it runs, is paused, or has succeeded.
        """
        ...

    def save_best(self, job: str, folder: Path) -> list[Path]:
        """Writes the winner: its template, params.json, dataset.json, model.pt, example.py.

        Returns the files.
        """
        ...

    def replay(self, job: str) -> list[str]:
        """Re-derives every recorded decision; returns the divergences in words, [] when none."""
        ...
