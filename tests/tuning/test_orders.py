"""What the engine orders of a worker, beyond which trial and how far."""

from __future__ import annotations

import pytest

from automata_svc.selection.milo import sge_selections
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.runners.simulated import HandClock
from tests.tuning.build import make_plan, start


@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote", "fifo"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_curriculum_ends_where_the_search_does(scheduler: str, every: int) -> None:
    plan = make_plan(scheduler=scheduler, strategy="milo", select_every=every, subset_rows=130)
    engine = start(plan, MemoryLog(), HandClock())
    total = engine.take_orders()[0].strategy.total_selections
    walks = plan.rungs[-1].rows / 130
    made = len(range(0, round(walks), every))  # selections of a trial that reaches the last rung
    assert total == made
    assert 0 < sge_selections(1 / 6, total) < made  # MILO's second phase has its turn
