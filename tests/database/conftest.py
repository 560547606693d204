from __future__ import annotations

from tests.database.opened import database, job, url
from tests.real.postgres import postgres, postgres_url

__all__ = ["database", "job", "postgres", "postgres_url", "url"]
