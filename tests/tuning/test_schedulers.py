"""Who is let through, by the papers' own counts, with the rungs laid by hand."""

from __future__ import annotations

import pytest

from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.schedulers.base import decision
from tests.tuning.build import standing


@pytest.mark.parametrize(("seen", "through"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_asha_lets_the_best_third_of_those_seen_through_rounded_up(seen: int, through: int) -> None:
    state = standing("asha", seen)
    verdicts = [SCHEDULERS["asha"].at_rung(state, trial, 0).verdict for trial in state.trials]
    assert verdicts == ["continue"] * through + ["prune"] * (seen - through)


@pytest.mark.parametrize(("seen", "through"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (8, 2)])
def test_asha_promotes_the_best_third_of_those_seen_rounded_down(seen: int, through: int) -> None:
    state, promoted = standing("asha_promote", seen), []
    while (found := SCHEDULERS["asha_promote"].promotion(state)) is not None:
        assert found.cutoff == through
        promoted.append(found.trial)
        state.rungs[found.rung].unpark(found.trial)
    assert promoted == list(range(through))


def test_asha_promotes_at_the_highest_rung_first() -> None:
    state = standing("asha_promote", 12, 3)
    for number in range(3):  # those that came to the second rung
        state.rungs[0].unpark(number)
    found = SCHEDULERS["asha_promote"].promotion(state)
    assert found is not None and (found.rung, found.trial) == (1, 0)
    state.rungs[1].unpark(0)
    found = SCHEDULERS["asha_promote"].promotion(state)
    assert found is not None and (found.rung, found.trial) == (0, 3)


@pytest.mark.parametrize(("trial", "ranks"), [(8, [3, 4, 5, 6, 7]), (2, [4, 5, 6, 7, 8])])
def test_a_decision_names_the_competitors_next_to_the_cut(trial: int, ranks: list[int]) -> None:
    ranking = standing("asha", 9).rungs[0]
    alone = decision(ranking, trial, 0, "prune", "best 5", 5)
    assert [other.rank for other in alone.neighbours] == ranks
    ranked = decision(ranking, trial, 0, "prune", "best 5", 5, {t: t for t in range(9)})
    assert ranked.neighbours == alone.neighbours
