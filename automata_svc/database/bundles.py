"""What was pushed: templates, datasets and code, by project, kind, name and digest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Update,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.rows import BundleRow
from automata_svc.errors import NotFound, Problem, SpecError

bundles, uses = schema.bundles, schema.bundle_uses


class Bundles(Access):
    """Rows of the table bundles; their bytes lie in the store."""

    @repeated
    def add_bundle(self, row: BundleRow) -> None:
        """Stores a bundle; the same again says that it is wanted, see `want_bundle`."""
        with self._writing() as connection:
            new = self._backend.insert(bundles).values(**asdict(row), used_at=self._now)
            again = new.on_conflict_do_update(
                index_elements=list(bundles.primary_key), set_={"used_at": self._now}
            )
            connection.execute(again)

    def get_bundle(self, project: str, kind: str, name: str, sha256: str) -> BundleRow:
        """One bundle.

        Raises:
            NotFound: the project has none such.
        """
        with self._read() as connection:
            found = connection.execute(
                select(*_COLUMNS).where(_one(project, kind, name, sha256))
            ).first()
        return _found(found, project, kind, name, sha256)

    @repeated
    def want_bundle(self, project: str, kind: str, name: str, sha256: str) -> BundleRow:
        """As `get_bundle`, for one who is about to name it: it is unused for no time from now on.

        Raises:
            NotFound: the project has none such.
        """
        with self._writing() as connection:
            want = _want(self._now, project, kind, name, sha256)
            found = connection.execute(want.returning(*_COLUMNS)).first()
        return _found(found, project, kind, name, sha256)

    def unused_bundles(self, unused_s: float) -> list[BundleRow]:
        """Those that no stored job names, and that nobody has wanted for so long."""
        query = select(*_COLUMNS).where(self._is_unused(unused_s)).order_by(bundles.c.used_at)
        with self._read() as connection:
            return [BundleRow(**row._mapping) for row in connection.execute(query)]

    @repeated
    def drop_unused_bundle(self, row: BundleRow, unused_s: float) -> bool:
        """Forgets one of `unused_bundles`; False: somebody wants it after all.

        Its row is locked first: whoever wants it writes that row, so that one of the two waits for
        the other, and then sees what the other did.
        """
        which = _one(row.project, row.kind, row.name, row.sha256)
        with self._writing() as connection:
            connection.execute(select(bundles.c.sha256).where(which).with_for_update())
            gone = delete(bundles).where(which, self._is_unused(unused_s))
            return connection.execute(gone.returning(bundles.c.sha256)).first() is not None

    def _is_unused(self, unused_s: float) -> ColumnElement[bool]:
        names = and_(*(uses.c[key.name] == key for key in bundles.primary_key))
        return and_(
            bundles.c.used_at <= self._now - unused_s, ~select(uses.c.job_id).where(names).exists()
        )

    def list_bundles(
        self,
        project: str | None,
        kind: str | None = None,
        limit: int | None = None,
        before: tuple[float, str, str] | None = None,
        name: str | None = None,
    ) -> list[BundleRow]:
        """Bundles, the newest first.

        Args:
            project, kind, name: only those of it; None: all.
            before: (created_at, name, sha256) of the last one of the page before.
        """
        query: Select[tuple[object, ...]] = select(*_COLUMNS)
        for column, value in (
            (bundles.c.project, project),
            (bundles.c.kind, kind),
            (bundles.c.name, name),
        ):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            at, last, digest = before
            query = query.where(
                or_(
                    bundles.c.created_at < at,
                    and_(
                        bundles.c.created_at == at,
                        or_(
                            bundles.c.name > last,
                            and_(bundles.c.name == last, bundles.c.sha256 > digest),
                        ),
                    ),
                )
            )
        query = query.order_by(
            bundles.c.created_at.desc(),
            bundles.c.name,
            bundles.c.sha256,
            bundles.c.project,
            bundles.c.kind,
        ).limit(limit)
        with self._read() as connection:
            return [BundleRow(**row._mapping) for row in connection.execute(query)]

    @repeated
    def delete_bundle(self, project: str, kind: str, name: str, sha256: str) -> bool:
        """Forgets a bundle; returns whether anybody else still has one of the same bytes.

        Raises:
            NotFound: the project has none such.
        """
        with self._writing() as connection:
            gone = delete(bundles).where(_one(project, kind, name, sha256))
            if connection.execute(gone.returning(bundles.c.sha256)).first() is None:
                raise NotFound(f"no {kind} {name}@{sha256[:12]} is stored for project '{project}'")
            left = select(bundles.c.sha256).where(bundles.c.sha256 == sha256).limit(1)
            return connection.execute(left).first() is not None


def use_bundles(
    connection: Connection,
    now: ColumnElement[float],
    job_id: str,
    project: str,
    named: Collection[tuple[str, str, str]],
) -> None:
    """Writes down, in the transaction that stores a job, which bundles (kind, name, sha256) it has.

    Raises:
        SpecError: one of them is not there any more.
    """
    for kind, name, sha256 in sorted(named):  # in order: two jobs never wait for each other
        want = _want(now, project, kind, name, sha256).returning(bundles.c.sha256)
        if connection.execute(want).first() is None:
            said = f"{name}@{sha256[:12]} was just taken away, as no job named it; push it again"
            raise SpecError(Problem(f"spec.trial.{kind}", said))
        row = {"job_id": job_id, "project": project, "kind": kind, "name": name, "sha256": sha256}
        connection.execute(insert(uses).values(row))


def _want(now: ColumnElement[float], project: str, kind: str, name: str, sha256: str) -> Update:
    return update(bundles).where(_one(project, kind, name, sha256)).values(used_at=now)


def _found(row: Row[Any] | None, project: str, kind: str, name: str, sha256: str) -> BundleRow:
    if row is None:
        raise NotFound(f"no {kind} {name}@{sha256[:12]} is stored for project '{project}'")
    return BundleRow(**row._mapping)


def _one(project: str, kind: str, name: str, sha256: str) -> ColumnElement[bool]:
    return and_(
        bundles.c.project == project,
        bundles.c.kind == kind,
        bundles.c.name == name,
        bundles.c.sha256 == sha256,
    )


_COLUMNS = tuple(bundles.c[field.name] for field in fields(BundleRow))
