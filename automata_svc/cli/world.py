"""What a command sees of its surroundings: settings, the service, and where it may write."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import click

from automata_svc.errors import Unavailable
from automata_svc.jobs.connecting import Where
from automata_svc.results.figures import ASCII
from automata_svc.settings import Settings

if TYPE_CHECKING:
    from automata_svc.jobs.protocol import Service
    from automata_svc.results.text import Section


@dataclass
class World:
    """One per call of `automata`; tests hand in their own."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    connect: Callable[[], Service] | None = None  # None: as `where` says
    where: Where = Where()

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_env(self.env)

    @cached_property
    def service(self) -> Service:
        """The one door to jobs, here or at a server."""
        if self.connect is not None:
            return self.connect()
        from automata_svc.cli.progress import Bars
        from automata_svc.jobs.connecting import connect

        return connect(self.where, self.settings, self.env, self.note, Bars(self))

    @cached_property
    def closing(self) -> ExitStack:
        """What is to be closed when the command ends."""
        return ExitStack()

    def close(self) -> None:
        """Lets go of what was opened for the command."""
        if "service" in self.__dict__ and self.connect is None:
            self.service.close()
        self.closing.close()

    @property
    def width(self) -> int:
        """Columns to fill; a pipe gets 100 unless COLUMNS says otherwise."""
        fallback = 80 if sys.stdout.isatty() else 100
        return max(40, shutil.get_terminal_size((fallback, 24)).columns)

    def is_live(self, stream: IO[str]) -> bool:
        """Whether control codes make sense there."""
        return stream.isatty() and self.env.get("TERM", "") not in ("dumb", "")

    def has_colour(self, stream: IO[str]) -> bool:
        return self.is_live(stream) and not self.env.get("NO_COLOR")

    # ---- saying things ---------------------------------------------------------------------------

    def say(self, text: str = "") -> None:
        """An answer, on stdout.

        Raises:
            BrokenPipeError: nobody reads on.
            Unavailable: it cannot be written: a full disk.
        """
        try:
            _write(sys.stdout, text)
        except BrokenPipeError:
            raise
        except OSError as error:
            forget_stdout()
            raise Unavailable(f"the answer could not be written: {error.strerror}") from error

    def note(self, text: str) -> None:
        """Something beside the answer, on stderr; where nobody reads on, nothing ends for it."""
        with suppress(OSError):  # `2>&1 | head`, a terminal that is gone, a full disk
            _write(sys.stderr, text)

    def error(self, text: str) -> None:
        head = "error:"
        if self.has_colour(sys.stderr):
            head = click.style(head, fg="red", bold=True)
        with suppress(OSError):
            _write(sys.stderr, f"{head} {text}")

    def say_sections(self, sections: Sequence[Section]) -> None:
        """A report: headings stand out where the terminal can."""
        colour = self.has_colour(sys.stdout)
        for index, section in enumerate(sections):
            if index:
                self.say()
            self.say(click.style(section.title, bold=True) if colour else section.title)
            for line in section.lines:
                self.say(line)

    def say_table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
    ) -> None:
        """Rows under a heading."""
        from automata_svc.results.figures import table

        lines = table([head, *rows], right, indent="")
        colour = self.has_colour(sys.stdout)
        self.say(click.style(lines[0], bold=True) if colour else lines[0])
        for line in lines[1:]:
            self.say(line)

    def say_data(self, data: Any, form: str) -> None:
        """A value as JSON or YAML."""
        if form == "yaml":
            import yaml

            self.say(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())
        else:
            import json

            self.say(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def world_of(ctx: click.Context) -> World:
    """The surroundings of this call."""
    world = ctx.find_object(World)
    if world is None:
        world = World()
        ctx.find_root().obj = world
    return world


def forget_stdout() -> None:
    """Lets what is still to be written there vanish: Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(stream: IO[str], text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "ascii"
    if "utf" not in encoding.lower():
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    click.echo(text, file=stream)
