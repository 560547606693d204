"""One random subset for the whole job: the straw man of the subset-selection tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from automata_svc.selection.checks import check_size, read_options
from automata_svc.selection.types import Arrays, Draw, GradientSource, Rows, Subset, keyed_rng


class RandomFixed:
    """Uniform rows without replacement, drawn once by the job's seed.

    The same rows for every trial and every selection, as "RANDOM" is in the tables of GRAD-MATCH
    (arXiv:2103.00123): a smaller dataset, so that trials differ by their parameters alone.
    `adaptive_random` is the random baseline that is hard to beat.
    """

    version = 1
    needs: frozenset[str] = frozenset()
    options: Mapping[str, Any] = MappingProxyType({})
    allowed: Mapping[str, Any] = MappingProxyType({})

    def prepare(self, rows: Rows, size: int, seed: int, options: Mapping[str, Any]) -> Arrays:
        return {}

    def select(
        self,
        rows: Rows,
        artefact: Arrays,
        draw: Draw,
        options: Mapping[str, Any],
        gradients: GradientSource | None = None,
    ) -> Subset:
        read_options("random", self.options, options, self.allowed)
        check_size(draw.size, rows.n)
        job_seed, _ = draw.seed
        chosen = keyed_rng(job_seed, "random").choice(rows.n, draw.size, replace=False)
        return Subset(
            indices=chosen.astype(np.int64, copy=False),
            weights=np.ones(draw.size, dtype=np.float32),
        )
