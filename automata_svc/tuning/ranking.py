"""Who is ahead of whom at a rung, kept in order as values arrive.

A trial's place is by the better of its ranks (objective, validation loss: near the best of either
on every set we measured), ties to the objective, then to the lower trial number. A trial whose
value the gate refused stands last.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

Key = tuple[float, int]  # (smaller is better, trial number)


@dataclass(frozen=True)
class Value:
    """What a trial reached at a rung: finite numbers, or None where the gate refused."""

    trial: int
    metric: float | None
    loss: float | None


@dataclass
class Order:
    """Trials sorted by one key; equal keys share a rank."""

    keys: list[Key] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)  # the same order, for fast slicing

    def add(self, key: Key) -> None:
        place = bisect.bisect_left(self.keys, key)
        self.keys.insert(place, key)
        self.trials.insert(place, key[1])

    def remove(self, key: Key) -> None:
        place = bisect.bisect_left(self.keys, key)
        del self.keys[place], self.trials[place]

    def rank(self, value: float) -> int:
        """How many are strictly better."""
        return bisect.bisect_left(self.keys, (value, -1))

    def ahead(self, rank: int) -> list[int]:
        """All whose rank is below `rank`."""
        if rank <= 0:
            return []
        end = bisect.bisect_right(self.keys, (self.keys[rank - 1][0], math.inf))
        return self.trials[:end]

    def at(self, rank: int) -> list[int]:
        """All whose rank is exactly `rank`."""
        if rank >= len(self.keys) or self.rank(self.keys[rank][0]) != rank:
            return []
        end = bisect.bisect_right(self.keys, (self.keys[rank][0], math.inf))
        return self.trials[rank:end]


class Ranking:
    """The values of one rung; adding and asking for a place are cheap in rungs of thousands."""

    def __init__(self, mode: str, rank_by: tuple[str, ...]) -> None:
        self._sign = -1.0 if mode == "max" else 1.0
        self._rank_by = rank_by
        self.values: dict[int, Value] = {}  # in order of arrival
        self._metric, self._loss = Order(), Order()
        self._parked_metric, self._parked_loss = Order(), Order()  # those that wait for a verdict
        self._losses = 0

    def __len__(self) -> int:
        return len(self.values)

    def add(self, value: Value) -> None:
        self.values[value.trial] = value
        self._metric.add(self._metric_key(value))
        self._loss.add(self._loss_key(value))
        self._losses += value.loss is not None

    def remove(self, trial: int) -> None:
        value = self.values.pop(trial)
        self._metric.remove(self._metric_key(value))
        self._loss.remove(self._loss_key(value))
        self._losses -= value.loss is not None

    def park(self, trial: int) -> None:
        """The trial waits here for a verdict."""
        self._parked_metric.add(self._metric_key(self.values[trial]))
        self._parked_loss.add(self._loss_key(self.values[trial]))

    def unpark(self, trial: int) -> None:
        self._parked_metric.remove(self._metric_key(self.values[trial]))
        self._parked_loss.remove(self._loss_key(self.values[trial]))

    @property
    def parked(self) -> int:
        """How many wait."""
        return len(self._parked_metric.keys)

    def best_parked(self) -> int | None:
        """The waiting trial that is ahead of all others that wait."""
        heads = {*self._parked_metric.at(0), *self._parked_loss.at(0)}
        return min(heads, key=self._place_key) if heads else None

    def order(self) -> list[int]:
        """All trials, the best first."""
        return sorted(self.values, key=self._place_key)

    def position(self, trial: int) -> int:
        """How many trials are ahead of this one."""
        own = self._place_key(trial)
        orders = self._orders()
        ahead = set().union(*(order.ahead(own[0]) for order in orders))
        level = {t for order in orders for t in order.at(own[0])} - ahead
        return len(ahead) + sum(1 for t in level if t != trial and self._place_key(t) < own)

    def in_top(self, trial: int, k: int) -> bool:
        """Whether fewer than `k` trials are ahead; cheap far from the cut."""
        best = self._place_key(trial)[0]
        if best >= k:  # `best` trials are ahead in either list
            return False
        return self.position(trial) < k

    def near(self, cut: int, count: int) -> list[int]:
        """About `count` trials on either side of place `cut` (from 0), unordered."""
        low, high = max(0, cut - count), cut + count
        return list({t for order in self._orders() for t in order.trials[low:high]})

    def best(self) -> int | None:
        """The trial ahead of all others that has a usable value."""
        heads = {t for order in self._orders() for t in order.at(0)}
        leader = min(heads, key=self._place_key) if heads else None
        return leader if leader is not None and self.values[leader].metric is not None else None

    def _orders(self) -> tuple[Order, ...]:
        if "loss" not in self._rank_by or not self._losses:
            return (self._metric,)
        return (self._metric, self._loss) if "metric" in self._rank_by else (self._loss,)

    def _metric_key(self, value: Value) -> Key:
        return (math.inf if value.metric is None else self._sign * value.metric, value.trial)

    def _loss_key(self, value: Value) -> Key:
        usable = value.loss is not None and value.metric is not None
        return (value.loss if usable and value.loss is not None else math.inf, value.trial)

    def _place_key(self, trial: int) -> tuple[int, float, int]:
        value = self.values[trial]
        metric, loss = self._metric_key(value)[0], self._loss_key(value)[0]
        ranks = [order.rank(metric if order is self._metric else loss) for order in self._orders()]
        return (min(ranks), metric, trial)
