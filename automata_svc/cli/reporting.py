"""Printing a job's report, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automata_svc.cli.world import World
from automata_svc.results.result import result
from automata_svc.results.text import report
from automata_svc.tuning.state import JobState


def say_report(world: World, state: JobState, spec: Mapping[str, Any], form: str) -> None:
    """The report on stdout: sections, JSON or YAML."""
    found = result(state, spec)
    if form == "table":
        world.say_sections(report(found, str(world.settings.home), world.width))
    else:
        world.say_data(found, form)
