"""Ask and tell over HTTP; both may be sent again after a failure of the network."""

from __future__ import annotations

from typing import Any, Protocol

from automata_svc.client.events import path_of
from automata_svc.spec.wire.asks import AskAnswer, AskRequest, TellAnswer, TellRequest, read

PATIENCE_S = 30.0  # guess: for the answer itself, beyond what an ask is held


class Posts(Protocol):
    """What these two need of an HTTP client."""

    def post_json(self, path: str, body: str, *, timeout_s: float) -> str | bytes:
        """Sends JSON, again where the network fails or the server says later; gives the answer's.

        Raises:
            AutomataError: what a problem of the server stands for.
        """
        ...


def ask(http: Posts, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
    """Trials for a client to train; see `jobs.asktell.AskTell`.

    Raises:
        SpecError: a field is wrong; nothing was sent.
    """
    request = read(AskRequest, {"client_id": client_id, "count": count, "wait_s": wait_s})
    found = http.post_json(
        f"{path_of(job)}/trials:ask",
        request.model_dump_json(),
        timeout_s=wait_s + PATIENCE_S,
    )
    return AskAnswer.model_validate_json(found)


def tell(http: Posts, job: str, trial: int, **said: Any) -> TellAnswer:
    """Takes a client's report; the fields of `TellRequest`; see `jobs.asktell.AskTell`.

    Raises:
        SpecError: a field is wrong; nothing was sent.
    """
    request = read(TellRequest, said)
    found = http.post_json(
        f"{path_of(job)}/trials/{trial:d}:tell",
        request.model_dump_json(exclude_defaults=True),
        timeout_s=PATIENCE_S,
    )
    return TellAnswer.model_validate_json(found)
