"""The contract of a searcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and what it came from."""

    params: Mapping[str, Any]
    origin: str


class Searcher(Protocol):
    """Proposes for one plan.

    Duties, which tests/contracts/test_searcher.py holds each row of SEARCHERS to: every proposal
    lies in the space, with exactly its active parameters; it depends on (seed, number, history)
    alone, so a searcher started anew proposes the same; nothing global is drawn from or seeded;
    start points come first.
    """

    def propose(self, state: JobState, number: int) -> Proposal: ...


class SearcherKind(Protocol):
    """A row of SEARCHERS."""

    sequential: bool  # whether finished trials teach it anything (`plan` warns where they cannot)

    def start(self, plan: SearchPlan) -> Searcher: ...
