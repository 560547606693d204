"""The final report in words: sections of plain lines, which whoever prints them may colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automata_svc.results import figures as fig
from automata_svc.results.funnel import funnel
from automata_svc.results.stops import NO_VALUE
from automata_svc.results.why import Competitor, Why

Found = Mapping[str, Any]  # what results.result.result gives

STOPPED_SHOWN = 8  # reasons listed before the rest is summed up
ERROR_SHOWN = 200  # characters of an error: what Ray says of a lost worker is a page
RUNG_SHOWN = 40  # lines of a rung's table before its middle is left out


@dataclass(frozen=True)
class Section:
    """A heading and the lines under it."""

    title: str
    lines: tuple[str, ...]


def report(found: Found, home: str = "", width: int = 80) -> list[Section]:
    """What `automata tune` ends with, and `automata show` prints."""
    sections = [
        _head(found, width),
        _best(found, width),
        _cost(found, width),
        Section("Rungs", tuple(_rungs(found, width))),
        _stopped(found, width),
        _evidence(found, width),
        _next(found, home, width),
    ]
    return [section for section in sections if section.lines]


def plain_text(sections: Sequence[Section]) -> str:
    """Sections as text, a blank line between them."""
    return "\n\n".join("\n".join((s.title, *s.lines)) for s in sections)


def _head(found: Found, width: int) -> Section:
    name = found["name"] or found["job_id"]
    lines = [f"  {found['job_id']}  {found['state']}"]
    lines += fig.wrapped(found["reason"], width) if found["reason"] else []
    return Section(name, tuple(lines))


def _best(found: Found, width: int) -> Section:
    best = found["best"]
    if best is None:
        return Section("Best", ("  no trial has a usable value",))
    title = f"Best: trial {best['trial']} of {len(found['trials'])}"
    rows = [(name, fig.parameter(value)) for name, value in sorted(best["params"].items())]
    metric, confirmed = found["metric"], best["confirmed"]
    lines = fig.table(rows)
    values: list[tuple[str, str, str]] = []
    if confirmed is not None:
        shown = [metric, *(k for k in sorted(confirmed["val"]) if k != metric)]
        for name in shown:
            if name in confirmed["val"]:
                note = "confirmed, validation" if name == metric else ""
                values.append((name, fig.metric(confirmed["val"][name]), note))
        tested = metric.replace("val_", "test_", 1)
        for name in [tested, *(k for k in sorted(confirmed["test"]) if k != tested)]:
            if name in confirmed["test"]:
                note = "confirmed, test: read once, for this model" if name == tested else ""
                values.append((name, fig.metric(confirmed["test"][name]), note))
    at = _share_of_rung(found, best["rung"])
    early = f"in the search, rung {best['rung']} (share {at})" if best["rung"] else "in the search"
    values.append((metric, fig.metric(best["search_metric"]), early))
    lines += ["", *fig.fitted(values, width, right=(1,))]
    if confirmed is None and at == "1":
        lines.append("  not confirmed: the value is the search's, of a whole training")
    elif confirmed is None:
        lines += fig.wrapped("not confirmed: values of a search are on a part of a training", width)
    else:
        taken = f"{best['how']}; its best model stood at share {fig.share(best['share'])}"
        lines += fig.wrapped(taken, width)
    lines += _finalists(found, width)
    ahead = (found["confirmation"] or {}).get("ahead") or []
    if ahead:
        names = ", ".join(map(str, ahead[:5])) + (" …" if len(ahead) > 5 else "")
        lines += fig.wrapped(
            f"ahead of it at a lower rung, so not chosen: trial {names}", width, hanging="  "
        )
    return Section(title, tuple(lines))


def _finalists(found: Found, width: int) -> list[str]:
    """Whom the winner was chosen from, where there was a choice."""
    values = [one for one in (found["confirmation"] or {}).get("values", ()) if one is not None]
    if len(values) < 2:
        return []
    each = ", ".join(f"trial {one['trial']} ({fig.metric(one['metric'])})" for one in values)
    return fig.wrapped(f"finalists by {found['metric']}: {each}", width, hanging="  ")


def _cost(found: Found, width: int) -> Section:
    cost, chosen = found["cost"], found["selection"]
    rows = [
        (
            "price",
            f"{fig.price(cost['price'])} full trainings",
            f"{fig.count(cost['train_rows'])} rows trained, "
            f"{fig.count(cost['forward_rows'])} run forward",
        ),
        ("training", fig.seconds(cost["train_seconds"]), ""),
        ("evaluation", fig.seconds(cost["eval_seconds"]), ""),
        ("selection", fig.seconds(cost["select_seconds"]), _chosen(chosen)),
    ]
    if chosen["strategy"] == "external":  # the rest is known to whoever trained
        rows = [("price", f"{fig.price(cost['price'])} full trainings", "trained elsewhere")]
    elif cost["wall_seconds"] is not None:
        rows.append(("wall clock", fig.seconds(cost["wall_seconds"]), "with a driver at work"))
    if cost["retries"] or cost["redone_price"]:
        rows.append(
            (
                "retries",
                str(cost["retries"]),
                f"done twice: price {fig.price(cost['redone_price'])}",
            )
        )
    lines = fig.fitted(rows, width)
    if found["state"] == "SUCCEEDED":  # before its end a job seems to save whatever it has not done
        lines += ["", *_savings(found, width)]
    return Section("Cost", tuple(lines))


def _savings(found: Found, width: int) -> list[str]:
    rows = []
    for name, label in _COUNTERFACTUALS:
        other = found["savings"][name]
        times = f"{other['times']:.1f}×" if other["times"] is not None else ""
        took = f"≈ {fig.seconds(other['seconds'])}" if other["seconds"] is not None else ""
        rows.append((label, f"price {fig.price(other['price'])}", times, took))
    return ["  the same job otherwise (estimated)", *fig.table(rows, right=(2,), indent="    ")]


_COUNTERFACTUALS = (
    ("no_early_stopping", "no early stopping"),
    ("whole_epoch_rungs", "rungs of whole epochs"),
)


def _chosen(chosen: Mapping[str, Any]) -> str:
    rows = f"{chosen['strategy']}, subsets of {fig.count(chosen['subset_rows'])} rows"
    if chosen["artefact"] is None:
        return rows
    return rows + (", stored before" if chosen["hit"] else ", computed and stored")


def _rungs(found: Found, width: int) -> list[str]:
    confirmation = found["confirmation"]
    confirmed = len(confirmation["trials"]) if confirmation else 0
    return funnel(found["rungs"], len(found["trials"]), confirmed, width)


def _stopped(found: Found, width: int) -> Section:
    groups = [
        one
        for one in found["stopped"]
        if one["kind"] != "going" and (one["kind"], one["what"]) != ("completed", "finalist")
    ]
    rows = []
    for group in groups[:STOPPED_SHOWN]:
        trials = ", ".join(map(str, group["trials"][:4]))
        more = " …" if len(group["trials"]) > 4 else ""
        label, said = _KINDS[group["kind"]], group["what"]
        if group["kind"] == "rung":
            where, said = said.split(": ", 1)
            label = f"at {where}"
        said = f"{said} (trial{'s' if len(group['trials']) > 1 else ''} {trials}{more})"
        if _is_mistake(group) and (error := _error_of(found, group)):
            said += f": {error}"
        rows.append((str(group["count"]), label, said))
    lines = fig.fitted(rows, width, right=(0,))
    rest = sum(group["count"] for group in groups[STOPPED_SHOWN:])
    if rest:
        lines.append(f"  and {rest} for other reasons")
    return Section("Why trials were stopped", tuple(lines))


def _is_mistake(group: Mapping[str, Any]) -> bool:
    """Whether these trials ended for what a template did, rather than for how good they were."""
    return group["kind"] == "failed" or str(group["what"]).endswith(NO_VALUE)


def _error_of(found: Found, group: Mapping[str, Any]) -> str:
    """What the first of these trials failed with, where the group's name does not say it."""
    reason: str = found["trials"][group["trials"][0]]["reason"]
    error = "" if reason == group["what"] else reason.split(": ", 1)[-1]
    return error if len(error) <= ERROR_SHOWN else error[: ERROR_SHOWN - 1] + "…"


_KINDS: Mapping[str, str] = {
    "rung": "at a rung",
    "guard": "by a guard",
    "failed": "failed",
    "budget": "by the budget",
    "user": "by the user",
    "job": "with the job",
    "completed": "at the end",
}


def _evidence(found: Found, width: int) -> Section:
    rows = []
    for line in found["evidence"]:
        where = f"rung {line['lower']} → {line['upper']}"
        if line["tau"] is None:
            rows.append((where, "", line["note"]))
            continue
        tau = f"τ {line['tau']:.2f}"
        span = f"95 % interval {line['low']:.2f} to {line['high']:.2f}"
        rows.append((where, tau, f"{span}, {line['pairs']} pairs, {line['note']}"))
    lines = fig.fitted(rows, width)
    ranks = found["best"]["ranks"] if found["best"] is not None and rows else []
    if ranks:
        way = ", ".join(f"{one['rank']} of {one['of']}" for one in ranks)
        lines += fig.wrapped(f"the best trial's rank at each rung: {way}", width, hanging="  ")
    return Section("How well early values ranked (Kendall's τ)", tuple(lines))


def _next(found: Found, home: str, width: int) -> Section:
    job, best = found["job_id"], found["best"]
    rows = [("server" if "://" in home else "files", home)] if home else []
    if found["state"] in ("PAUSED", "RUNNING", "STARTING", "QUEUED"):
        rows.append(("go on", f"automata resume {job}"))
    pruned = [
        row["number"] for row in found["trials"] if row["kind"] in ("rung", "guard", "failed")
    ]
    if pruned:
        rows.append(("why", f"automata why {job} {pruned[0]}"))
    if found["trials"]:
        rows.append(("trials", f"automata trials {job}"))
    if best is not None and best["confirmed"] is not None:
        rows.append(("model", f"automata best {job} --save ./best"))
    return Section("Next", tuple(fig.table(rows)))


def _share_of_rung(found: Found, rung: int) -> str:
    return fig.share(found["rungs"][rung - 1]["share"]) if rung else "0"


# ---- why -----------------------------------------------------------------------------------------


def explain(answer: Why, width: int = 80, whole: bool = True) -> list[Section]:
    """What `automata why` prints."""
    sections = [
        Section(
            f"Trial {answer.trial} of {answer.job}: {answer.state}", tuple(_verdict(answer, width))
        ),
        Section("Its way here", tuple(_path(answer, width))),
        Section(_rung_title(answer), tuple(_rung_table(answer, whole))),
        Section("What was lost", tuple(_losses(answer, width))),
        Section(
            "Since then",
            tuple(line for said in answer.since for line in fig.wrapped(said, width)),
        ),
    ]
    return [section for section in sections if section.lines]


def _verdict(answer: Why, width: int) -> list[str]:
    lines = fig.wrapped(answer.verdict, width)
    if answer.rule and answer.rule not in answer.verdict:
        lines += fig.wrapped(f"rule: {answer.rule}", width, hanging="      ")
    if answer.guard is not None:
        limits = f"value {answer.guard['value']:.4g}, limit {answer.guard['limit']:.4g}"
        lines += fig.wrapped(f"guard {answer.guard['rule']}: {limits}", width, hanging="      ")
    if answer.agrees is False:
        lines += fig.wrapped(
            "the table rebuilt from the log gives it another rank: `automata doctor --replay` "
            "says where they part",
            width,
        )
    lines += fig.wrapped(
        f"{answer.origin}: {fig.parameters(answer.params)}", width, hanging="      "
    )
    return lines


def _path(answer: Why, width: int) -> list[str]:
    rows = [
        (
            f"rung {step.rung}",
            f"share {fig.share(step.share)}",
            fig.metric(step.metric),
            f"loss {fig.metric(step.loss)}",
            f"rank {step.rank} of {step.size}" if step.rank is not None else f"of {step.size}",
            f"{step.verdict}: {step.rule}",
        )
        for step in answer.path
    ]
    return fig.fitted(rows, width)


def _rung_title(answer: Why) -> str:
    share = fig.share(answer.rung_share) if answer.rung_share is not None else ""
    then = "when that was decided" if answer.cutoff is not None else "as it stands"
    return f"Rung {answer.rung} (share {share}), {fig.counted(answer.size, 'trial')}, {then}"


def _rung_table(answer: Why, whole: bool) -> list[str]:
    if not answer.table:
        return []
    shown: Sequence[Competitor | None] = answer.table
    if not whole or len(answer.table) > RUNG_SHOWN:
        shown = _around(answer)
    rows: list[tuple[str, ...]] = [("", "rank", "trial", answer.metric, answer.loss_metric, "now")]
    for one in shown:
        if one is None:
            rows.append(("", "…", "", "", "", ""))
            continue
        if answer.cutoff is not None and one.rank == answer.cutoff + 1:
            rows.append(("", "---", "-----", "--- cut", "------", ""))
        mark = "→" if one.trial == answer.trial else ""
        values = (fig.metric(one.metric), fig.metric(one.loss))
        rows.append((mark, str(one.rank), str(one.trial), *values, one.now))
    return fig.table(rows, right=(1, 2, 3, 4), indent=" ")


def _around(answer: Why) -> list[Competitor | None]:
    """The leader, the cut's neighbours and the trial itself, with gaps marked."""
    wanted = {1, *(one.rank for one in answer.nearest)}
    if answer.rank is not None:
        wanted |= {answer.rank - 1, answer.rank, answer.rank + 1}
    found: list[Competitor | None] = []
    last = 0
    for one in answer.table:
        if one.rank in wanted:
            if one.rank > last + 1:
                found.append(None)
            found.append(one)
            last = one.rank
    if last < len(answer.table):
        found.append(None)
    return found


def _losses(answer: Why, width: int) -> list[str]:
    lines: list[str] = []
    for lost in answer.losses:
        again = "tried again" if lost["retry"] else "not tried again"
        lines.append(f"  segment {lost['segment']}: {lost['reason']}, {again}")
        lines += [f"    {line}" for line in str(lost["detail"]).rstrip().splitlines()]
    return lines
