"""Which commands there are, and how every one of them may end.

Exit codes: 0 ok, 1 job failed, 2 bad usage or job file, 3 not found, 4 conflict, 5 unreachable,
6 denied, 130 interrupted. Answers go to stdout; progress, notes and errors to stderr.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click

from automata_svc import __version__
from automata_svc.cli.ending import ends_well
from automata_svc.cli.examples import examples
from automata_svc.cli.group import Group
from automata_svc.cli.world import world_of

# Section → command → (module with `command`, what the overview says of it). Nothing is imported
# before a command is asked for, so that looking around is quick.
COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "Run a search": {
            "tune": ("tune", "Run a job file to its end and show the report."),
            "plan": ("plan", "Say what a job would do and cost; start nothing."),
            "submit": ("submit", "Hand a job file over to be run, and say its id."),
            "watch": ("watch", "Look on while a job runs; then its report."),
            "resume": ("resume", "Go on with a paused or interrupted job."),
            "pause": ("pause", "Let a running job go to sleep, to be resumed."),
            "stop": ("stop", "End a job for good."),
            "set": ("set", "Change a submitted job's priority, slots, labels and more."),
            "clone": ("clone", "Submit a job's file again, with changes."),
            "retry": ("retry", "Try a failed job again."),
        },
        "Look at one": {
            "ls": ("ls", "List jobs, the newest first."),
            "show": ("show", "Show a job's report."),
            "trials": ("trials", "List a job's trials, by rung, then metric."),
            "best": ("best", "Show the best configuration; save its model."),
            "logs": ("logs", "Show what a job's driver, or a trial, printed."),
            "why": ("why", "Say why a trial was stopped, with its rung's whole table."),
        },
        "Bring your own": {
            "templates": ("templates", "List, copy and check training programs."),
            "datasets": ("datasets", "List datasets, and look at one."),
            "subsets": ("subsets", "List stored subsets, and look at one."),
        },
        "This machine": {
            "serve": ("serve", "Serve jobs to others, and to yourself, over HTTP."),
            "doctor": ("doctor", "Check the installation, or replay a job's decisions."),
            "db": ("db", "Make, upgrade and check the tables of the database."),
            "token": ("token", "Make, list and revoke a service's tokens."),
        },
    }
)
_MODULE_OF = {name: row[0] for group in COMMANDS.values() for name, row in group.items()}


class Lazy(Group):
    """A group whose commands are imported one by one, when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULE_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULE_OF:
            return None
        found = import_module(f"automata_svc.cli.{_MODULE_OF[cmd_name]}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, _MODULE_OF))
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(longest), about) for name, (_, about) in commands.items()]
                )

    def invoke(self, ctx: click.Context) -> Any:
        with ends_well(ctx):
            try:
                return super().invoke(ctx)
            finally:
                world_of(ctx).close()


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        ("automata tune job.yaml", "run a search, show the report"),
        ("automata plan job.yaml --price 1.5,2.5,5", "what each price would buy"),
        ("automata templates cp tabular_mlp ./mine.py", "start from a template"),
        ("automata why JOB 7", "why trial 7 was stopped"),
        note="A JOB is an id, the beginning of one, or a job's name. State lives in AUTOMATA_HOME.",
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="automata")
def cli() -> None:
    """Tune hyper-parameters on informative subsets, for a few trainings instead of dozens."""
