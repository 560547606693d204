"""The worked examples that every help text ends in."""

from __future__ import annotations


def examples(*lines: tuple[str, str], note: str = "") -> str:
    """An epilog for click: commands to type, each with what it does."""
    longest = max(len(command) for command, _ in lines)
    shown = "\n".join(f"  {command.ljust(longest)}  # {does}" for command, does in lines)
    tail = f"\n\n{note}" if note else ""
    return f"\b\nExamples:\n{shown}{tail}"
