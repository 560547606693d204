"""Another benchmark on a PostgreSQL of its own: `python -m benchmarks.on_postgres service …`.

The server of `tests/real/postgres.py` (`make setup-real` brings the binaries), but one that writes
to the disk as it would for somebody who cares for the data: fsync and full_page_writes on.
"""

from __future__ import annotations

import importlib
import sys

from tests.real.postgres import shared_cluster


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.{name}")
    with shared_cluster() as cluster:
        cluster.keeps = True
        cluster.restart()
        print(*cluster.sql("SELECT version()")[0], f"fsync {cluster.sql('SHOW fsync')[0][0]}")
        database = cluster.create()
        sys.argv = [f"benchmarks.{name}", *arguments, "--database", cluster.url(database)]
        module.main()


if __name__ == "__main__":
    main()
