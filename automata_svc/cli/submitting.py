"""Handing a job file over: what `tune` and `submit` share."""

from __future__ import annotations

from automata_svc.cli.world import World


def submitted(
    world: World, text: str, source: str, sets: tuple[str, ...], quiet: bool = False
) -> str:
    """Stores the job, after saying what its plan warns of; returns its id."""
    if not quiet:
        for said in world.service.plan(text, source, sets).warnings:
            world.note(f"warning: {said}")
    return world.service.submit(text, source, sets)
