"""What a caller's jobs can name: templates, datasets, stored subsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automata_svc.datasets import Listed, Shape, Source, describe, list_datasets
from automata_svc.errors import NotFound, SpecError
from automata_svc.jobs.tenancy import Caller
from automata_svc.selection.artefacts import PROJECT, Manifest, list_artefacts, show
from automata_svc.spec.bundle import Kind, looks_like_ref
from automata_svc.trials.templates import Template, find_template, list_templates

if TYPE_CHECKING:
    from automata_svc.database import BundleRow
    from automata_svc.jobs.local import LocalService

Place = tuple[float, str, str]  # of a bundle in a list: created_at, name, sha256


@dataclass(frozen=True)
class Catalogue:
    """Every method is for a caller, and of one project."""

    service: LocalService

    def pushed(
        self,
        caller: Caller,
        project: str | None,
        kind: Kind,
        limit: int,
        before: Place | None = None,
    ) -> list[BundleRow]:
        """What was pushed to the caller's project, the newest first."""
        home = _home(caller, project)
        return self.service.database.list_bundles(home, kind, limit=limit, before=before)

    # ---- templates --------------------------------------------------------------------------

    def templates(self) -> tuple[Template, ...]:
        """Those that come with the service."""
        return list_templates(self.service.settings)

    def template(self, caller: Caller, project: str | None, name: str) -> Template:
        """One by its name or name@sha256.

        Raises:
            NotFound: none of that name is here, or is the caller's.
        """
        if looks_like_ref(name):
            return self.service.bundles.of(_home(caller, project)).template(name)
        try:
            return find_template(_plain(name), self.service.settings)
        except SpecError as error:
            raise NotFound(str(error)) from None

    # ---- datasets ---------------------------------------------------------------------------

    def datasets(self) -> list[Listed]:
        """Those that have a name of their own."""
        return list_datasets(self.service.settings)

    def shape(self, caller: Caller, project: str | None, name: str) -> Shape:
        """How a dataset is split and prepared, by its name or name@sha256; its files are read.

        Raises:
            NotFound: none of that name is here, or is the caller's.
            SpecError: its files are not usable.
        """
        source = Source(name=name if looks_like_ref(name) else _plain(name))
        if looks_like_ref(name):
            source = self.service.bundles.of(_home(caller, project)).source(source)
        elif name not in {one.name for one in self.datasets()}:
            known = ", ".join(one.name for one in self.datasets())
            raise NotFound(f"no dataset '{name}' is here; known: {known}")
        return describe(source, self.service.settings)

    # ---- subsets ----------------------------------------------------------------------------

    def subsets(self, caller: Caller, project: str | None) -> list[Manifest]:
        """Stored subsets that the project's jobs can read, the newest first."""
        home = _home(caller, project)
        owners = _Owners(self.service, home)
        return [one for one in list_artefacts(self.service.store) if owners.may(one)]

    def subset(self, caller: Caller, project: str | None, key: str) -> Manifest:
        """One by its key, or enough of its beginning.

        Raises:
            NotFound: the project has none.
            SpecError: several begin so.
        """
        owners = _Owners(self.service, _home(caller, project))
        absent = NotFound(f"no stored subset '{key}' is here for you")
        try:
            found = show(self.service.store, key)
        except SpecError:  # several: perhaps only one of them is the caller's
            mine = [one for one in self.subsets(caller, project) if one.key.startswith(key)]
            if len(mine) != 1:
                keys = ", ".join(one.key[:16] for one in mine[:5])
                raise (
                    SpecError(f"subset '{key}' can be any of: {keys}") if mine else absent
                ) from None
            return mine[0]
        except NotFound:
            raise absent from None
        if not owners.may(found):
            raise absent
        return found


class _Owners:
    """Whose artefacts a project's jobs can read."""

    def __init__(self, service: LocalService, project: str) -> None:
        self._service, self._project = service, project
        self._jobs: dict[str, bool] = {}

    def may(self, one: Manifest) -> bool:
        owner = one.request.owner
        if owner == "":
            return True
        if owner.startswith(PROJECT):
            return owner == PROJECT + self._project
        if owner not in self._jobs:
            try:
                head = self._service.database.get_job(owner, project=self._project)
                self._jobs[owner] = head.id == owner
            except (NotFound, SpecError):
                self._jobs[owner] = False
        return self._jobs[owner]


def scope_of(one: Manifest) -> str:
    """job, project or shared."""
    owner = one.request.owner
    if owner == "":
        return "shared"
    return "project" if owner.startswith(PROJECT) else "job"


def as_subset(one: Manifest) -> Mapping[str, Any]:
    """What is shown of a stored subset."""
    asked = one.request
    return {
        "key": one.key,
        "scope": scope_of(one),
        "strategy": asked.strategy,
        "version": asked.version,
        "dataset": one.dataset,
        "dataset_digest": asked.dataset_digest,
        "encoder": asked.encoder,
        "size": asked.size,
        "n": one.n,
        "options": dict(asked.options),
        "seed": asked.seed,
        "bytes": one.bytes,
        "arrays": dict(one.arrays),
        "created": one.created,
        "seconds": one.seconds,
        "forward_rows": one.forward_rows,
        "libraries": dict(one.libraries),
    }


def _home(caller: Caller, project: str | None) -> str:
    """The project to look into; another's is as if it were not there."""
    return caller.shown(project) or "default"


def _plain(name: str) -> str:
    """A name that is no path.

    Raises:
        NotFound: it is one; nothing of the server's disk can be asked for.
    """
    if "/" in name or "\\" in name or name.endswith(".py"):
        raise NotFound(f"'{name}' is no name of a template or dataset")
    return name
