"""What a service does beside running jobs: webhooks are sent, and what nobody is to have goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from automata_svc.jobs.retention import Collector, RetentionWorker
from automata_svc.jobs.webhooks import Sender, WebhookWorker, webhook_secret

if TYPE_CHECKING:
    from automata_svc.jobs.addresses import AddressPolicy
    from automata_svc.jobs.local import LocalService

# Jobs of a command line are their user's: `automata db gc` obeys their retention.
DRIVERS = frozenset({"service", "external"})


class Housekeeping:
    """Two threads; of many services on one database, one at a time does each of the two works."""

    def __init__(
        self, service: LocalService, receivers: AddressPolicy, env: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            receivers: where webhooks may go, see `webhooks.policy_for`.

        Raises:
            SpecError: AUTOMATA_WEBHOOK_SECRET_FILE is wrong.
            Unavailable: the webhook secret, the database or the store cannot be opened.
        """
        from automata_svc.database import this_process

        owner = this_process()
        sender = Sender(webhook_secret(service.settings, env), receivers)
        self.webhooks = WebhookWorker(service.database, sender, owner)
        collector = Collector(
            service.database, service.store, service.settings, time.time, drivers=DRIVERS
        )
        self.retention = RetentionWorker(collector, owner)

    def start(self) -> None:
        self.webhooks.start()
        self.retention.start()

    def stop(self) -> None:
        """Ends both after what they are at."""
        self.webhooks.stop()
        self.retention.stop()
