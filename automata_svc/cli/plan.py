"""`automata plan JOB.yaml`: what it would do and cost, before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from automata_svc.cli.annotated import annotated
from automata_svc.cli.examples import examples
from automata_svc.cli.options import file_argument, output_option, read_job, set_option
from automata_svc.cli.world import World, world_of
from automata_svc.errors import SpecError
from automata_svc.jobs.protocol import PlanView
from automata_svc.results import figures as fig
from automata_svc.results.result import plain
from automata_svc.results.text import Section


@click.command(
    name="plan",
    epilog=examples(
        ("automata plan job.yaml", "every default with its reason, rungs, price"),
        ("automata plan job.yaml --price 1.5,2.5,5", "three prices side by side"),
        ("automata plan job.yaml --set subset.fraction=0.05", "with a change"),
        ("automata plan job.yaml -o json", "for a script"),
        note="A mistake in the file ends with exit code 2, and with all the others beside it.",
    ),
)
@file_argument
@set_option
@click.option(
    "--price",
    "prices",
    metavar="P[,P…]",
    help="Lay the rung tables of these prices side by side.",
)
@output_option
@click.pass_context
def command(
    ctx: click.Context, file: str, sets: tuple[str, ...], prices: str | None, form: str
) -> None:
    """Say what JOB.yaml would do and cost. Starts nothing and runs nobody's code."""
    world = world_of(ctx)
    text, source = read_job(file)
    if prices is not None:
        _side_by_side(world, text, source, sets, _prices(prices), form)
        return
    view = world.service.plan(text, source, sets)
    if form != "table":
        world.say_data(plain(asdict(view)), form)
        return
    world.say_sections(sections(view, world.width))


def sections(view: PlanView, width: int) -> list[Section]:
    """The plan as it is printed."""
    found = [
        Section("Job", tuple(annotated(view.job, view.chosen, width))),
        Section("Dataset", tuple(_dataset(view.dataset, width))),
        Section("Rungs", tuple(_rungs(view))),
        Section("Price", tuple(_price(view, width))),
        Section(
            "Warnings", tuple(x for said in view.warnings for x in fig.wrapped(said, width, "  - "))
        ),
    ]
    return [section for section in found if section.lines]


def _dataset(shape: Mapping[str, Any], width: int) -> list[str]:
    rows = ", ".join(
        f"{fig.count(shape[key])} {word}"
        for key, word in (("n_train", "training"), ("n_val", "validation"), ("n_test", "test"))
        if key in shape
    )
    line = f"{shape.get('name', '')}: {rows} rows, {shape.get('n_classes')} classes"
    lines = fig.wrapped(line, width) if shape.get("n_classes") else []  # none: trained elsewhere
    for note in shape.get("notes", ()):
        lines += fig.wrapped(note, width, indent="  ", hanging="  ")
    return lines


def _rungs(view: PlanView) -> list[str]:
    head = ("rung", "asked", "share", "rows", "steps", "trials", "go on", "price")
    rows = [
        (
            str(number),
            fig.share(line.asked),
            fig.share(line.share),
            fig.count(line.rows),
            _span(line.steps),
            fig.count(line.trials),
            str(line.keep) if line.keep is not None else "best share",
            fig.price(line.price),
        )
        for number, line in enumerate(view.rungs, start=1)
    ]
    return fig.table([head, *rows], right=(1, 2, 3, 4, 5, 6, 7))


def _span(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    if high == 0:  # trained elsewhere: not known here
        return "–"
    return fig.count(low) if low == high else f"{fig.count(low)}–{fig.count(high)}"


def _price(view: PlanView, width: int) -> list[str]:
    rows = [
        ("search", fig.price(view.price_search)),
        ("confirmation", fig.price(view.price_confirm)),
        ("in all", f"{fig.price(view.price)} full trainings"),
    ]
    lines = fig.table(rows)
    if view.expected is not None:
        lines += fig.wrapped(f"expected: {_expected(view.expected)}", width, hanging="  ")
    else:
        lines += fig.wrapped("expected quality: not measured for these rungs", width)
    if view.artefact is not None:
        stored = "stored: costs nothing" if view.artefact.get("stored") else "to be computed once"
        lines += fig.wrapped(f"subset artefact {view.artefact.get('key')}: {stored}", width)
    return lines


def _expected(expected: Mapping[str, Any]) -> str:
    where = f", measured on {expected['where']}" if expected.get("where") else ""
    return (
        f"mean regret {expected['mean_regret']:.2f} points of test accuracy, "
        f"{fig.percent(expected['misses'])} of jobs lose more than .5{where}"
    )


# ---- side by side --------------------------------------------------------------------------------


def _prices(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        raise SpecError(f"--price {text}: write prices with commas between, as in 1.5,2.5,5")
    return found


def _side_by_side(
    world: World, text: str, source: str, sets: Sequence[str], prices: Sequence[float], form: str
) -> None:
    views: list[tuple[float, PlanView | SpecError]] = []
    for price in prices:
        try:
            views.append(
                (price, world.service.plan(text, source, (*sets, f"budget.price={price:g}")))
            )
        except SpecError as error:
            views.append((price, error))
    refused = [error for _, error in views if isinstance(error, SpecError)]
    if len(refused) == len(views):
        raise refused[0]
    if form != "table":
        world.say_data([_as_data(price, view) for price, view in views], form)
        return
    head = ["", *(f"price {price:g}" for price, _ in views)]
    rows = [[label, *(_cell(view, show) for _, view in views)] for label, show in _ROWS]
    world.say_table(head, rows)
    for price, view in views:
        if isinstance(view, SpecError):
            world.note(f"price {price:g}: {view}")


def _as_data(price: float, view: PlanView | SpecError) -> dict[str, Any]:
    if isinstance(view, SpecError):
        return {"price": price, "refused": str(view)}
    found: dict[str, Any] = plain(asdict(view))
    return {"asked": price, **found}


def _cell(view: PlanView | SpecError, show: Any) -> str:
    return "refused" if isinstance(view, SpecError) else str(show(view))


_ROWS = (
    ("in all", lambda view: f"{fig.price(view.price)} trainings"),
    ("search", lambda view: fig.price(view.price_search)),
    ("confirmation", lambda view: fig.price(view.price_confirm)),
    ("shares, %", lambda view: " ".join(fig.share(100 * line.share) for line in view.rungs)),
    ("trials", lambda view: " ".join(str(line.trials) for line in view.rungs)),
    ("confirmed", lambda view: view.rungs[-1].keep if view.rungs and view.rungs[-1].keep else "1"),
    ("steps at rung 1", lambda view: _span(view.rungs[0].steps) if view.rungs else ""),
    ("mean regret", lambda view: _measured(view, "mean_regret", "{:.2f} points".format)),
    ("lose > .5", lambda view: _measured(view, "misses", _of_jobs)),
    ("warnings", lambda view: len(view.warnings) or ""),
)


def _of_jobs(part: float) -> str:
    return f"{fig.percent(part)} of jobs"


def _measured(view: PlanView, key: str, shown: Callable[[float], str]) -> str:
    return shown(view.expected[key]) if view.expected is not None else "not measured"
