"""automata_svc: hyper-parameter tuning on informative subsets, priced in full trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automata_svc.jobs.local import LocalService

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(url: str | None = None) -> LocalService:
    """The verbs of the command line, for a notebook: plan, submit, drive, trials_frame, why …

    Args:
        url: of a server; None: jobs of this machine, in AUTOMATA_HOME.

    Raises:
        SpecError: a URL was given, and this version has no server to talk to.
    """
    from automata_svc.errors import SpecError
    from automata_svc.jobs.local import LocalService

    if url is not None:
        raise SpecError(
            f"connect({url!r}): this version runs jobs on this machine only; leave url out"
        )
    return LocalService()
