"""What was pushed: templates, datasets and code, by project, kind, name and digest."""

from __future__ import annotations

from dataclasses import asdict, fields

from sqlalchemy import ColumnElement, Select, and_, delete, or_, select

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.rows import BundleRow
from automata_svc.errors import NotFound

bundles = schema.bundles


class Bundles(Access):
    """Rows of the table bundles; their bytes lie in the store."""

    @repeated
    def add_bundle(self, row: BundleRow) -> None:
        """Stores a bundle; the same again changes nothing."""
        with self._writing() as connection:
            insert = self._backend.insert(bundles).values(asdict(row))
            connection.execute(insert.on_conflict_do_nothing())

    def get_bundle(self, project: str, kind: str, name: str, sha256: str) -> BundleRow:
        """One bundle.

        Raises:
            NotFound: the project has none such.
        """
        with self._read() as connection:
            found = connection.execute(
                select(*_COLUMNS).where(_one(project, kind, name, sha256))
            ).first()
        if found is None:
            raise NotFound(f"no {kind} {name}@{sha256[:12]} is stored for project '{project}'")
        return BundleRow(**found._mapping)

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


def _one(project: str, kind: str, name: str, sha256: str) -> ColumnElement[bool]:
    return and_(
        bundles.c.project == project,
        bundles.c.kind == kind,
        bundles.c.name == name,
        bundles.c.sha256 == sha256,
    )


_COLUMNS = tuple(bundles.c[field.name] for field in fields(BundleRow))
