"""Which rows the trials of a job will see: the strategy with its options, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automata_svc.datasets import Shape
from automata_svc.errors import Problem, SpecError, unknown
from automata_svc.selection import STRATEGIES
from automata_svc.selection.checks import read_options
from automata_svc.selection.encoders import ENCODERS, default_encoder
from automata_svc.spec.job import TuneJob

# Walks of a subset between selections. A gradient subset costs a forward pass over its pool; at
# every
# fifth walk that is about a quarter of the training it chooses rows for (algorithms, §7.3).
SELECT_EVERY = {"automata": 5}


@dataclass(frozen=True)
class SubsetChoice:
    strategy: str
    fraction: float
    options: Mapping[str, Any]  # all of the strategy's options, defaults included
    encoder: str | None
    select_every: int
    select_reason: str


def choose_subset(
    job: TuneJob, shape: Shape | None, problems: list[Problem]
) -> SubsetChoice | None:
    """Fills the subset section in, or says what is wrong with it."""
    spec = job.spec.subset
    strategy = STRATEGIES.get(spec.strategy)
    if strategy is None:
        message = unknown("strategy", spec.strategy, STRATEGIES)
        problems.append(Problem("spec.subset.strategy", message))
        return None
    before = len(problems)
    try:
        options = read_options(spec.strategy, strategy.options, spec.options, strategy.allowed)
    except SpecError as error:
        for one in error.problems:
            problems.append(Problem(f"spec.subset.options.{one.pointer}", one.message))
    encoder = None
    if "embeddings" in strategy.needs and shape is not None:
        encoder = spec.encoder or default_encoder(shape.kind)
        if encoder not in ENCODERS:
            problems.append(Problem("spec.subset.encoder", unknown("encoder", encoder, ENCODERS)))
        elif ENCODERS[encoder].kind != shape.kind:
            fitting = ", ".join(sorted(n for n, e in ENCODERS.items() if e.kind == shape.kind))
            message = (
                f"'{encoder}' is for {ENCODERS[encoder].kind} data and '{shape.name}' is "
                f"{shape.kind}; right is: {fitting}"
            )
            problems.append(Problem("spec.subset.encoder", message))
    elif spec.encoder is not None and "embeddings" not in strategy.needs:
        message = f"strategy '{spec.strategy}' looks at no embeddings; leave it out"
        problems.append(Problem("spec.subset.encoder", message))
    if len(problems) > before:
        return None
    default = SELECT_EVERY.get(spec.strategy, 1)
    return SubsetChoice(
        strategy=spec.strategy,
        fraction=1.0 if spec.strategy == "full" else spec.fraction,
        options=options,
        encoder=encoder,
        select_every=spec.select_every or default,
        select_reason=f"default: every {'pass' if default == 1 else f'{default} passes'}",
    )
