"""Numbers as people read them."""

from __future__ import annotations

import pytest

from automata_svc.results import figures as fig


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (fig.counted(0, "trial"), "0 trials"),
        (fig.counted(1, "trial"), "1 trial"),
        (fig.counted(1234, "trial"), "1,234 trials"),
        (fig.percent(0.0), "0 %"),
        (fig.percent(0.003), "<1 %"),
        (fig.percent(0.07), "7 %"),
        (fig.price(0.0431), "0.043"),
        (fig.price(27.31), "27.3"),
        (fig.price(10012.3), "10,012"),
    ],
)
def test_a_number_is_said_as_people_say_it(shown: str, said: str) -> None:
    assert shown == said
