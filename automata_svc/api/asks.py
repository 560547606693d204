"""Ask and tell: trials for clients that train them themselves."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from automata_svc.api.needs import Tells, World
from automata_svc.api.params import JobRef, TrialNumber
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.api.world import ServiceWorld
from automata_svc.jobs.external import waits
from automata_svc.jobs.tenancy import Caller
from automata_svc.spec.wire.asks import AskAnswer, AskRequest, TellAnswer, TellRequest

routes = router("trials trained elsewhere", 404, 409)


@routes.post("/v1/jobs/{job}/trials:ask", operation_id="ask", response_model=AskAnswer)
async def ask(
    request: Request, job: JobRef, body: AskRequest, caller: Tells, world: World
) -> Response:
    """Trials for a client to train: those it has already, else new ones.

    A client that crashed asks with the same `client_id` and gets its own trials back. One that says
    nothing for longer than the job's `trial.external.timeout` loses them to the next that asks.
    """
    job_id = await run_in_threadpool(_job, world, caller, job)
    pauses = waits(body.wait_s)
    while True:
        found = await run_in_threadpool(
            world.service.external.ask, job_id, body.client_id, body.count
        )
        pause = next(pauses, None)
        if found.wait is None or pause is None or world.draining:
            return answer(found)
        await asyncio.sleep(pause)
        if await request.is_disconnected():  # what it would get would be lost for a while
            return answer(found)


@routes.post("/v1/jobs/{job}/trials/{number}:tell", operation_id="tell", response_model=TellAnswer)
def tell(
    job: JobRef, number: TrialNumber, body: TellRequest, caller: Tells, world: World
) -> Response:
    """A report on a trial's open segment; the answer says what to do now.

    The same report may be sent again after a failure of the network: it is stored once and answered
    the same. Other values for a share that was told already are a conflict.
    """
    return answer(world.service.external.tell(_job(world, caller, job), number, body))


def _job(world: ServiceWorld, caller: Caller, job: str) -> str:
    return world.hosted.record(caller, job).id
