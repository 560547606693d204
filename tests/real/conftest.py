"""Real servers for real tests; other folders' conftest files import these from where they are."""

from __future__ import annotations

from tests.real.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
