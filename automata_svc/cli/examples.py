"""The worked examples that every help text ends in."""

from __future__ import annotations

WIDTH = 78  # of a terminal's 80; click indents by 2


def examples(*lines: tuple[str, str], note: str = "") -> str:
    """An epilog for click: commands to type, each with what it does."""
    longest = max(len(command) for command, _ in lines)
    shown = "\n".join(_line(command, does, longest) for command, does in lines)
    tail = f"\n\n{note}" if note else ""
    return f"\b\nExamples:\n{shown}{tail}"


def _line(command: str, does: str, longest: int) -> str:
    """Its remark under the others'; where that is too wide beside the command, or else below it."""
    forms = (
        f"  {command.ljust(longest)}  # {does}",
        f"  {command}  # {does}",
        f"  {command}\n      # {does}",
    )
    return next((line for line in forms if len(line) <= WIDTH), forms[-1])
