"""MILO: subsets chosen before any model exists, shared by all trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.budgets import BUDGET_RULES, class_budgets
from automata_svc.selection.checks import check_finite, check_size, read_options
from automata_svc.selection.disparity import farthest_first
from automata_svc.selection.errors import SelectionError
from automata_svc.selection.graph_cut import inverse_norms, stochastic_greedy
from automata_svc.selection.sampling import (
    effective_sample_size,
    gumbel_top_k,
    log_softmax,
    log_taylor_softmax,
    temperature_for_ess,
)
from automata_svc.selection.types import Arrays, Draw, GradientSource, Rows, Subset, keyed_rng

COMPLETE_ORDER = 2_000  # guess: classes up to this size are ordered to the end, it costs < 1 s each


class Milo:
    """Representative subsets first, then random ones that favour diverse rows.

    Killamsetty et al. 2023, MILO (arXiv:2301.13287). Per class of labels: SGE, `subsets` subsets by
    stochastic greedy on graph cut (their λ and ε); WRE, a draw without replacement by p, which
    grows with how far a row was from those before it in farthest-first order. The first ⌈κT⌉ of T
    selections go round the SGE subsets, the rest are WRE draws. Weights are all 1.

    Options:
        mode: "shaped" (default): p ∝ exp(distance / T), T such that the effective sample size of
            each class is `target_ess`. "faithful": as published, p from the Taylor softmax at
            temperature 1 of the gain of disparity-min, which is nearly uniform (ESS ≈ .99).
        class_budget: "proportional" (default), "balanced" (as published; changes the class prior,
            which weights of 1 do not repair) or "sqrt"; at least a row of each class, where the
            subset has as many rows as there are classes.
        lambda: of graph cut; monotone up to .5.
        epsilon: of stochastic greedy; .5 gives four times less overlap for 1 % of the value.
        subsets, kappa, target_ess: as above.
    """

    version = 2
    needs: frozenset[str] = frozenset({"embeddings"})
    options: Mapping[str, Any] = MappingProxyType(
        {
            "mode": "shaped",
            "subsets": 8,  # guess: enough for κT of most searches; the paper keeps 300
            "kappa": 1 / 6,  # MILO's gc_ratio
            "lambda": 0.4,  # MILO
            "epsilon": 0.1,  # MILO
            "target_ess": 0.5,  # guess: half of the rows carry the draw
            "class_budget": "proportional",
        }
    )
    allowed: Mapping[str, Any] = MappingProxyType(
        {
            "mode": ("shaped", "faithful"),
            "subsets": (1, 1000),
            "kappa": (0.0, 1.0),
            "lambda": (0.0, 1.0),
            "epsilon": (1e-300, 1.0),
            "target_ess": (1e-6, 1.0),
            "class_budget": tuple(BUDGET_RULES),
        }
    )

    def prepare(self, rows: Rows, size: int, seed: int, options: Mapping[str, Any]) -> Arrays:
        """The artefact.

        Returns:
            sge: int32 [R, k] rows of each SGE subset.
            sge_value: float64 [R] their graph-cut values, summed over classes.
            order: int32 [N] rows, class after class, each in farthest-first order.
            class_offsets: int64 [C+1] where each class lies in `order`.
            insertion_distance: float32 [N] by row number.
            log_p: float32 [N] by row number; p sums to 1 in each class.
            budgets: int64 [C] rows of each class in a subset.
            ess: float64 [1] effective sample size of p, mean over rows of their class's.
        """
        opts = read_options("milo", self.options, options, self.allowed)
        check_size(size, rows.n)
        if rows.embeddings is None:
            raise SelectionError("strategy 'milo' needs embeddings of the training rows; none came")
        check_finite("embedding", rows.embeddings)
        inverse = inverse_norms(rows.embeddings)
        counts = np.bincount(rows.labels, minlength=rows.n_classes)
        budgets = class_budgets(counts, size, opts["class_budget"])
        by_class = np.argsort(rows.labels, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(counts)])
        sge: list[NDArray[np.int32]] = []
        sge_value = np.zeros(opts["subsets"])
        order = np.zeros(rows.n, dtype=np.int32)
        distance = np.zeros(rows.n, dtype=np.float32)
        log_p = np.zeros(rows.n, dtype=np.float32)
        ess = 0.0
        for c, k_c in enumerate(budgets):
            members = by_class[offsets[c] : offsets[c + 1]]
            if not len(members):
                continue
            rngs = [keyed_rng(seed, "milo/sge", r, c) for r in range(opts["subsets"])]
            subsets, gains = stochastic_greedy(
                rows.embeddings,
                inverse,
                members,
                int(k_c),
                lam=opts["lambda"],
                epsilon=opts["epsilon"],
                rngs=rngs,
            )
            sge.append(subsets)
            sge_value += gains.sum(axis=1)
            picks = max(int(k_c), min(len(members), COMPLETE_ORDER))
            folds = keyed_rng(seed, "milo/folds", c)
            ordered, distances = farthest_first(rows.embeddings, inverse, members, picks, folds)
            order[offsets[c] : offsets[c + 1]] = ordered
            distance[ordered] = distances
            logs = wre_log_p(distances, opts["mode"], opts["target_ess"])
            log_p[ordered] = logs
            ess += effective_sample_size(logs) * len(members) / rows.n
        return {
            "sge": np.concatenate(sge, axis=1),
            "sge_value": sge_value,
            "order": order,
            "class_offsets": offsets.astype(np.int64),
            "insertion_distance": distance,
            "log_p": log_p,
            "budgets": budgets,
            "ess": np.array([ess]),
        }

    def select(
        self,
        rows: Rows,
        artefact: Arrays,
        draw: Draw,
        options: Mapping[str, Any],
        gradients: GradientSource | None = None,
    ) -> Subset:
        """An SGE subset or a WRE draw; looks at the artefact alone, never at embeddings."""
        opts = read_options("milo", self.options, options, self.allowed)
        check_size(draw.size, rows.n)
        if "sge" not in artefact:
            raise SelectionError("strategy 'milo' needs its artefact; prepare it first")
        prepared = artefact["sge"].shape[1], len(artefact["log_p"])
        if prepared != (draw.size, rows.n):
            raise SelectionError(
                f"a subset of {draw.size} of {rows.n} rows was asked for; the artefact of 'milo' "
                f"was prepared for {prepared[0]} of {prepared[1]}"
            )
        if draw.index < sge_selections(opts["kappa"], draw.total):
            chosen = artefact["sge"][draw.index % len(artefact["sge"])]
            facts = {"representative": 1.0}
        else:
            chosen = _weighted_random(artefact, draw.rng("milo/wre"))
            facts = {"representative": 0.0, "ess": float(artefact["ess"][0])}
        return Subset(
            indices=chosen.astype(np.int64),
            weights=np.ones(draw.size, dtype=np.float32),
            facts=facts,
        )


def sge_selections(kappa: float, total: int) -> int:
    """⌈κT⌉, with κT a whole number where it is meant to be one (.07 × 100 is 7.000000000000001)."""
    return math.ceil(kappa * total - 1e-9)


def wre_log_p(distances: NDArray[np.float64], mode: str, target_ess: float) -> NDArray[np.float64]:
    """[n] log p of the rows of one class, from their insertion distances in farthest-first order.

    f(A) of disparity-min is the last insertion distance, so that the gain of the t-th row is
    distance[t] − distance[t−1]: 0 at best, and hardly less after the first few.
    """
    if mode == "faithful":
        gains = np.diff(distances, prepend=0.0)
        gains[0] = 0.0  # f of one row is 0, and the second row's gain is its distance
        gains[1:2] = distances[1:2]
        return log_taylor_softmax(gains - gains.min())
    low, high = float(distances.min()), float(distances.max())
    scores = (distances - low) / (high - low) if high > low else np.zeros(len(distances))
    return log_softmax(scores / temperature_for_ess(scores, target_ess))


def _weighted_random(artefact: Arrays, rng: np.random.Generator) -> NDArray[np.int64]:
    """k_c rows of each class, one after the other without replacement by p."""
    offsets, order, log_p = artefact["class_offsets"], artefact["order"], artefact["log_p"]
    drawn = []
    for c, k_c in enumerate(artefact["budgets"]):
        members = np.sort(order[offsets[c] : offsets[c + 1]])
        drawn.append(members[gumbel_top_k(log_p[members], int(k_c), rng)])
    return np.concatenate(drawn)
