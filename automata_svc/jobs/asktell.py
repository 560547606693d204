"""The two verbs of whoever trains the trials of a job itself: a small protocol beside `Service`.

`connect()` gives both, on this machine and over HTTP.
"""

from __future__ import annotations

from typing import Any, Protocol

from automata_svc.spec.wire.asks import AskAnswer, TellAnswer


class AskTell(Protocol):
    """Raises automata_svc.errors; both may be said again after a failure of the network."""

    def ask(self, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
        """Trials for this client to train: those it has already, else new ones.

        A client that crashed asks with the same `client_id` and gets its own trials back.

        Args:
            count: trials to hold at a time.
            wait_s: how long to be held until there is something to train, at most 30.

        Returns:
            `trials`; or `wait`, the seconds after which to ask again; or `done`, the job's end.

        Raises:
            Conflict: the job trains its trials itself.
        """
        ...

    def tell(self, job: str, trial: int, **said: Any) -> TellAnswer:
        """Reports on a trial's open segment, and is told what to do.

        Args:
            said: the fields of `TellRequest`: client_id, segment, and share with values (loss,
                grad_norm, checkpoint, done), or failed (retry).

        Returns:
            `decision`: "continue" to `until_share`; "wait": put the trial down, keep its
            checkpoint, and ask; "stop": the trial is over, ask for another.

        Raises:
            SpecError: a field is wrong, the share is beyond what was ordered, or the objective's
                value is missing where it is due.
            Conflict: another client's segment, out of order, or other values than were told before.
        """
        ...
