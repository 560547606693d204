"""automata_svc: hyper-parameter tuning on informative subsets, priced in full trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automata_svc.jobs.local import LocalService
    from automata_svc.jobs.remote import RemoteService

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(
    url: str | None = None, token: str | None = None, local: bool = False
) -> LocalService | RemoteService:
    """The verbs of the command line, for a notebook: plan, submit, drive, trials_frame, why …

    `automata_svc/jobs/protocol.py` says what each does.

    Args:
        url: of a server; None: AUTOMATA_SERVER, or a live server of AUTOMATA_HOME, else jobs of
            this machine.
        token: for that server; None: AUTOMATA_TOKEN, or the home's own.
        local: jobs of this machine, whatever server there is.

    Raises:
        SpecError: the URL cannot be used.
    """
    import sys

    from automata_svc.jobs.connecting import Where
    from automata_svc.jobs.connecting import connect as to
    from automata_svc.settings import Settings

    where = Where(server=url, token=token, local=local)
    return to(where, Settings.from_env(), say=lambda text: print(text, file=sys.stderr))
