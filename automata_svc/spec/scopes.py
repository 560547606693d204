"""What a token may allow; the words of the API, the command line and the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ADMIN = "admin"

SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "jobs:read": "look at jobs, trials, results and logs",
        "jobs:write": "submit, change, pause, resume, stop and delete jobs",
        "trials:tell": "ask for trials and tell results of models trained elsewhere",
        "bundles:read": "list and download pushed templates, datasets and code",
        "code:push": "push templates, data and code, name packages: what workers run",
        ADMIN: "everything, and the tokens of others",
    }
)
