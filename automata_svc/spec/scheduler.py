"""Who goes on at a rung, and where the rungs are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from automata_svc.spec.base import Float, Int, Mistakes, Model, said

Share = Annotated[Float, Field(gt=0, le=1)]

# What each type reads besides `type`, `rank_by` and `average`.
_READS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "fifo": frozenset({"max_share"}),
        "successive_halving": frozenset({"shares", "keep", "eval_rows", "reduction_factor"}),
        "asha": frozenset({"shares", "eval_rows", "reduction_factor", "grace_share", "max_share"}),
        "asha_promote": frozenset(
            {"shares", "eval_rows", "reduction_factor", "grace_share", "max_share"}
        ),
    }
)
_INSTEAD: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("successive_halving", "max_share"): "; the last of shares is where a run ends",
        ("successive_halving", "grace_share"): "; the first of shares is the first rung",
        ("fifo", "shares"): "; max_share is where a run ends",
    }
)
_NEED_SHARES = ("keep", "eval_rows")


class SchedulerSpec(Model):
    """`shares` and `keep` come from the price where they are not given."""

    type: Literal["fifo", "successive_halving", "asha", "asha_promote"] = "successive_halving"
    # a trial's rank is the better of these two; where no loss is reported, the metric's
    rank_by: tuple[Literal["metric", "loss"], ...] = ("metric", "loss")
    # values in the search are those of averaged weights, which show what the finish will make of a
    # trial; false: of the weights as they are
    average: bool = True
    shares: tuple[Share, ...] | None = None  # the rungs, in full trainings
    keep: tuple[Annotated[Int, Field(ge=1)], ...] | None = None  # how many go on from each
    # validation rows a value at each rung is taken on at most (the loss alone ranks there, if it
    # is in rank_by); null: all
    eval_rows: tuple[Annotated[Int, Field(ge=1)] | None, ...] | None = None
    reduction_factor: Annotated[Float, Field(gt=1)] | None = None  # η: one in η goes on
    grace_share: Share | None = None  # the first rung
    max_share: Share | None = None  # where a search run ends

    @field_validator("rank_by")
    @classmethod
    def _some_each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise said("takes metric, loss or both, each once")
        return value

    @field_validator("shares")
    @classmethod
    def _increasing(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and not value:
            raise said("is empty; leave it out, or give at least one share")
        for before, after in zip(value or (), (value or ())[1:], strict=False):
            if not before < after:
                raise said(f"must increase from rung to rung, but {after:g} follows {before:g}")
        return value

    @field_validator("keep")
    @classmethod
    def _not_increasing(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        for before, after in zip(value or (), (value or ())[1:], strict=False):
            if after > before:
                raise said(f"must not increase from rung to rung, but {after} follows {before}")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> SchedulerSpec:
        mistakes = Mistakes()
        reads = _READS[self.type]
        everything = frozenset[str]().union(*_READS.values())
        given = [name for name in sorted(everything) if getattr(self, name) is not None]
        for name in given:
            if name not in reads:
                instead = _INSTEAD.get((self.type, name), "")
                takes = ", ".join(sorted(reads))
                mistakes.add(name, f"{self.type} does not use it{instead}; it takes {takes}")
        if self.shares is None:
            alone = [name for name in _NEED_SHARES if name in given and name in reads]
            if self.type == "successive_halving" and "reduction_factor" in given:
                alone.append("reduction_factor")
            for name in alone:
                mistakes.add(name, "goes with shares; without them the price chooses the rungs")
        else:
            for name in _NEED_SHARES:
                value = getattr(self, name)
                if value is not None and name in reads and len(value) != len(self.shares):
                    message = f"has {len(value)} entries for {len(self.shares)} shares"
                    mistakes.add(name, message)
            for name in ("grace_share", "max_share"):
                if name in given and name in reads:
                    mistakes.add(name, "shares say it already; keep one of the two")
            if "keep" in given and "reduction_factor" in given:
                mistakes.add("reduction_factor", "keep says it already; keep one of the two")
        if self.grace_share is not None and self.max_share is not None:
            if self.grace_share > self.max_share:
                message = f"{self.grace_share:g} is above max_share {self.max_share:g}"
                mistakes.add("grace_share", message)
        mistakes.raise_any()
        return self
