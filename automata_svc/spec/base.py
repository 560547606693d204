"""What every part of a job file is built of: a frozen model, and the kinds of value it holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Scalar = bool | int | float | str


class Model(BaseModel):
    """A mapping of a job file: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mistakes:
    """Collects what is wrong inside one validator, so that all of it comes back at once."""

    def __init__(self) -> None:
        self._found: list[InitErrorDetails] = []

    def add(self, at: tuple[str | int, ...] | str, message: str, value: Any = None) -> None:
        """`at` is relative to the value that is validated; () is the value itself."""
        loc = (at,) if isinstance(at, str) else at
        error = PydanticCustomError("said", "{said}", {"said": message})
        self._found.append(InitErrorDetails(type=error, loc=loc, input=value))

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self) -> None:
        """Raises what was collected; pydantic puts the outer location in front."""
        if self._found:
            raise ValidationError.from_exception_data("job", self._found)


def said(message: str) -> PydanticCustomError:
    """A mistake about the whole of the value that is validated."""
    return PydanticCustomError("said", "{said}", {"said": message})


def show(value: Any) -> str:
    """A value as a message quotes it: short, in the file's words, and with its type visible."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# ---- numbers ------------------------------------------------------------------------------------
# PyYAML and JSON may hand a number over as text ("1e-4"), and YAML's booleans are Python integers.


def as_float(value: Any) -> float:
    """A finite number, or numeric text.

    Raises:
        PydanticCustomError: anything else, booleans included.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise said(f"{show(value)} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise said(f"{show(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise said(f"{show(value)} is too large") from None
    if not math.isfinite(number):
        raise said(f"{show(value)} is not a finite number")
    return number


def as_int(value: Any) -> int:
    """A whole number (64.0 too), or such text; within 64 bits.

    Raises:
        PydanticCustomError: anything else, booleans included.
    """
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            return _whole(as_float(value), value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise said(f"{show(value)} is not a whole number")
    elif isinstance(value, float):
        return _whole(as_float(value), value)
    else:
        number = value
    if not -(2**63) <= number < 2**63:
        raise said(f"{show(value)} does not fit into 64 bits")
    return number


def _whole(number: float, value: Any) -> int:
    if not number.is_integer() or abs(number) > 2**53:
        raise said(f"{show(value)} is not a whole number")
    return int(number)


def as_scalar(value: Any) -> Scalar:
    """True, false, a finite number or text: what a parameter can be.

    Raises:
        PydanticCustomError: anything else.
    """
    if isinstance(value, float):
        return as_float(value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return as_int(value)
    raise said(f"{show(value)} is not a number, a text or true/false")


_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_UNIT_S = (86400.0, 3600.0, 60.0, 1.0)


def as_seconds(value: Any) -> float:
    """Seconds, or text with units: 90, "90s", "30m", "6h", "1h30m", "2d".

    Raises:
        PydanticCustomError: anything else.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match and any(match.groups()):
            parts = zip(match.groups(), _UNIT_S, strict=True)
            return sum(float(part) * unit for part, unit in parts if part)
    try:
        return as_float(value)
    except PydanticCustomError:
        raise said(f"{show(value)} is not a time; write seconds, or text like 30m or 6h") from None


def as_labels(value: Any) -> Any:
    """Label values are texts; a bare number is one too."""
    if isinstance(value, Mapping):
        return {
            key: str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item
            for key, item in value.items()
        }
    return value


Float = Annotated[float, BeforeValidator(as_float)]
Int = Annotated[int, BeforeValidator(as_int)]
Seconds = Annotated[float, BeforeValidator(as_seconds)]
AnyScalar = Annotated[Any, BeforeValidator(as_scalar)]
Bool = StrictBool
