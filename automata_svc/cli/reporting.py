"""Printing a job's report, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automata_svc.cli.world import World
from automata_svc.results.text import report


def say_report(world: World, found: Mapping[str, Any], form: str) -> None:
    """A job's result on stdout: as sections, JSON or YAML."""
    if form == "table":
        world.say_sections(report(found, world.service.place, world.width))
    else:
        world.say_data(found, form)
