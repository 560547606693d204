"""All rows: what every subset is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from automata_svc.selection.checks import read_options
from automata_svc.selection.types import Arrays, Draw, GradientSource, Rows, Subset


class Full:
    """Every row of the training split, each of weight 1; `draw.size` is not looked at."""

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
        read_options("full", self.options, options, self.allowed)
        return Subset(
            indices=np.arange(rows.n, dtype=np.int64), weights=np.ones(rows.n, dtype=np.float32)
        )
