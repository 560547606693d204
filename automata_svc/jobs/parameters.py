"""A job's space and settings, held against what its template declares."""

from __future__ import annotations

from typing import Any

from automata_svc.errors import Problem, nearest
from automata_svc.spec.domain import Domain, same
from automata_svc.spec.job import TuneJob
from automata_svc.spec.space import Space
from automata_svc.trials.templates import ParamDecl, Template

DEFAULT_BATCH = 32  # what a template without a batch_size parameter is cut into


def check_parameters(
    job: TuneJob, template: Template, space: Space, problems: list[Problem]
) -> dict[str, Any]:
    """The parameters that are not searched: settings, else the template's defaults."""
    declared = {decl.name: decl for decl in template.params}
    for name, domain in space.domains.items():
        pointer = f"spec.space.{name}"
        if name not in declared:
            problems.append(Problem(pointer, _unknown(name, template, declared)))
        elif name == "epochs":
            problems.append(
                Problem(
                    pointer,
                    "epochs is the unit of share and price and cannot be searched; set it in "
                    "spec.trial.settings",
                )
            )
        else:
            problems.extend(_domain_fits(pointer, domain, declared[name]))
    fixed = {decl.name: decl.default for decl in template.params if decl.name not in space.domains}
    for name, value in job.spec.trial.settings.items():
        pointer = f"spec.trial.settings.{name}"
        if name not in declared:
            problems.append(Problem(pointer, _unknown(name, template, declared)))
        elif name in space.domains:
            problems.append(
                Problem(pointer, f"'{name}' is also in spec.space; keep it in one place")
            )
        elif not _fits(value, declared[name]):
            problems.append(Problem(pointer, _misfit(value, declared[name])))
        else:
            fixed[name] = _as_declared(value, declared[name])
    problems.extend(check_start_points(job, space))
    problems.extend(_epochs(template, declared, fixed))
    problems.extend(_batch_size(declared.get("batch_size"), space, fixed))
    return fixed


def check_start_points(job: TuneJob, space: Space) -> list[Problem]:
    """Points that lie outside of the space."""
    points = enumerate(job.spec.search.start_points)
    return [problem for index, point in points for problem in _start_point(index, point, space)]


def largest_batch(space: Space, fixed: dict[str, Any]) -> int:
    """The largest mini-batch any configuration can have."""
    domain = space.domains.get("batch_size")
    return int(fixed.get("batch_size", DEFAULT_BATCH)) if domain is None else int(domain.largest)


def smallest_batch(space: Space, fixed: dict[str, Any]) -> int:
    domain = space.domains.get("batch_size")
    return int(fixed.get("batch_size", DEFAULT_BATCH)) if domain is None else int(domain.smallest)


def _epochs(
    template: Template, declared: dict[str, ParamDecl], fixed: dict[str, Any]
) -> list[Problem]:
    if "epochs" not in declared:
        names = ", ".join(sorted(declared)) or "nothing"
        return [
            Problem(
                "spec.trial.template",
                f"template '{template.name}' declares no parameter `epochs: int`, the length of a "
                f"full training, which shares and prices are measured by; it declares {names}",
            )
        ]
    epochs = fixed.get("epochs")
    if epochs is not None and (not isinstance(epochs, int) or epochs < 1):
        return [
            Problem("spec.trial.settings.epochs", f"{epochs} is not a whole number of at least 1")
        ]
    return []


def _batch_size(decl: ParamDecl | None, space: Space, fixed: dict[str, Any]) -> list[Problem]:
    """The loader cuts a pass by it, whatever else the template does with it."""
    if decl is None:
        return []
    if decl.type != "int":
        said = f"declares batch_size: {decl.type}; the loader reads it, so it must be an int"
        return [Problem("spec.trial.template", said)]
    domain = space.domains.get("batch_size")
    pointer = "spec.trial.settings.batch_size" if domain is None else "spec.space.batch_size"
    if domain is not None and _domain_fits(pointer, domain, decl):
        return []  # said already
    least = smallest_batch(space, fixed)
    return [] if least >= 1 else [Problem(pointer, f"{least} is not at least 1: rows of a batch")]


def _unknown(name: str, template: Template, declared: dict[str, ParamDecl]) -> str:
    hint = nearest(name, declared)
    meant = f" (did you mean '{hint}'?)" if hint else ""
    names = ", ".join(sorted(declared))
    return f"template '{template.name}' has no such parameter{meant}; it has: {names}"


def _domain_fits(pointer: str, domain: Domain, decl: ParamDecl) -> list[Problem]:
    if domain.kind in ("uniform", "loguniform") and decl.type != "float":
        right = "randint or a list" if decl.type == "int" else "a list of values"
        return [Problem(pointer, f"'{decl.name}' is declared {decl.type}; use {right}")]
    if domain.kind == "randint":  # never listed: it may have 10^16 values
        if decl.type in ("int", "float"):
            return []
        return [Problem(pointer, f"'{decl.name}' is declared {decl.type}; use a list of values")]
    return [
        Problem(pointer, _misfit(value, decl))
        for value in (domain.values if domain.is_finite else ())
        if not _fits(value, decl)
    ]


def _fits(value: Any, decl: ParamDecl) -> bool:
    if decl.type == "bool" or isinstance(value, bool):
        return decl.type == "bool" and isinstance(value, bool)
    if decl.type == "int":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if decl.type == "float":
        return isinstance(value, int | float)
    return isinstance(value, str)


def _as_declared(value: Any, decl: ParamDecl) -> Any:
    return {"int": int, "float": float, "str": str, "bool": bool}[decl.type](value)


def _misfit(value: Any, decl: ParamDecl) -> str:
    return (
        f"{value!r} does not fit: '{decl.name}' is declared {decl.type} (default {decl.default!r})"
    )


def _start_point(index: int, point: Any, space: Space) -> list[Problem]:
    pointer = f"spec.search.start_points[{index}]"
    found = []
    for name, value in dict(point).items():
        if name not in space.domains:
            hint = nearest(name, space.domains)
            meant = f" (did you mean '{hint}'?)" if hint else ""
            found.append(Problem(f"{pointer}.{name}", f"not in spec.space{meant}"))
            continue
        domain = space.domains[name]
        if not domain.contains(value):
            found.append(Problem(f"{pointer}.{name}", f"{value!r} is outside of its domain"))
        for parent, values in domain.when.items():
            if parent in point and not any(same(point[parent], one) for one in values):
                said = f"does not exist where {parent} is {point[parent]!r}"
                found.append(Problem(f"{pointer}.{name}", said))
    return found
