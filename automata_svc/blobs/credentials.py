"""What opens an S3 store: the usual AWS_* variables, or a file with them that only its owner reads.

A driver is started with the file's name in its environment, not with what is in it: environments
are shown by `ps`, by Ray's dashboard and in crash reports.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from automata_svc.errors import SpecError

FILE_VARIABLE = "AUTOMATA_STORE_CREDENTIALS_FILE"
SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# All that obstore takes of the environment by itself, and a file may say.
VARIABLES = (
    *SECRET, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT", "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_S3_EXPRESS",
    "AWS_IMDSV1_FALLBACK", "AWS_METADATA_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS", "AWS_SKIP_SIGNATURE", "AWS_REQUEST_PAYER",
)  # fmt: skip
_LINE = re.compile(r"(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=\s*(.*)")


def aws_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What the credentials file says; {}: there is none, and the environment itself holds it.

    Raises:
        SpecError: the file cannot be read, or is none.
    """
    file = env.get(FILE_VARIABLE)
    if not file:
        return {}
    return read_credentials(Path(file).expanduser())


def read_credentials(path: Path) -> dict[str, str]:
    """The AWS_* variables in a file of lines such as AWS_REGION=eu-central-1.

    Raises:
        SpecError: it cannot be read, or a line is of another form; no value is ever quoted.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(f"cannot read {path}: {reason}", source=FILE_VARIABLE) from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] not in VARIABLES:
            said = f"{path}, line {number}: right is NAME=value with one of: {', '.join(VARIABLES)}"
            raise SpecError(said, source=FILE_VARIABLE)
        value = match[2].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[match[1]] = value
    return found


def write_credentials(path: Path, env: Mapping[str, str] | None = None) -> bool:
    """Writes what this process opens its S3 store with into a file for its owner alone (0600).

    Returns:
        Whether there was anything to write; False: nothing was, and no file is left there.
    """
    env = os.environ if env is None else env
    known = {**{name: env[name] for name in VARIABLES if env.get(name)}, **aws_variables(env)}
    if not known:
        path.unlink(missing_ok=True)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".store-", dir=path.parent)  # made with 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{key}={value}\n" for key, value in sorted(known.items()))
    os.replace(name, path)
    return True


def secret_values(variables: Mapping[str, str]) -> Sequence[str]:
    """What must never be said: of the file, and of the environment."""
    return [
        value
        for name in SECRET
        for value in (variables.get(name), os.environ.get(name))
        if value and len(value) >= 4
    ]
