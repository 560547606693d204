"""What was pushed, and pushing; templates, datasets and stored subsets as lists show them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from automata_svc.spec.bundle import MAX_BYTES, NAME, SHA256, Kind
from automata_svc.spec.wire.base import Answer, Asked, NextPage, Time

BundleName = Annotated[str, Field(pattern=NAME, max_length=100)]
Sha256 = Annotated[str, Field(pattern=SHA256, max_length=64)]

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_LIMITS = ", ".join(f"{kind} {most:,}" for kind, most in MAX_BYTES.items())


class UploadRequest(Asked):
    """What will be sent. The same again goes on with what was begun."""

    kind: Kind
    name: BundleName
    sha256: Annotated[Sha256, Field(description="Of all the bytes.")]
    size: Annotated[int, Field(ge=1, le=max(MAX_BYTES.values()), strict=True,
                               description=f"Bytes; at most: {_LIMITS}.")]  # fmt: skip

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "template", "name": "mine", "sha256": _DIGEST, "size": 1742},
            ]
        },
    )


class Bundle(Answer):
    """Something that was pushed; a job means it by `ref`."""

    ref: Annotated[str, Field(description="name@sha256")]
    kind: Kind
    name: str
    sha256: str
    size: int
    project: str
    created_at: Time
    manifest: Annotated[dict[str, Any], Field(description="What is in it, by its kind.")]


class Upload(Answer):
    """A push under way; `done` where nothing is to be sent (any more)."""

    id: Annotated[str | None, Field(description="null where the same was pushed before.")]
    kind: Kind
    name: str
    sha256: str
    size: int
    received: Annotated[int, Field(description="Bytes that are safe here; send from this one on.")]
    done: bool
    bundle: Bundle | None = None

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "upl_5e0c4f0a8f0d4f6f9a50c2f3f0f6a1b2",
                    "kind": "dataset",
                    "name": "mine",
                    "sha256": _DIGEST,
                    "size": 20_971_520,
                    "received": 8_388_608,
                    "done": False,
                    "bundle": None,
                }
            ]
        },
    )


class Param(Answer):
    """A parameter that a template declares."""

    name: str
    type: str
    default: int | float | str | bool


class Template(Answer):
    """A training program that jobs can name."""

    ref: Annotated[str, Field(description="What a job says: a name, or name@sha256.")]
    name: str
    source: Literal["packaged", "pushed"]
    sha256: str
    summary: str
    params: tuple[Param, ...]
    own_schedule: bool
    created_at: Time | None = None


class TemplateBody(Template):
    """With its text."""

    text: str


class TemplateList(Answer):
    """Those that come with the service, on the first page; then those that were pushed."""

    items: tuple[Template, ...]
    next_page_token: NextPage = None


class Dataset(Answer):
    """A dataset that jobs can name."""

    ref: Annotated[str, Field(description="What a job says: a name, or name@sha256.")]
    name: str
    source: Literal["named", "pushed"]
    about: str
    is_here: Annotated[bool, Field(description="Whether its files are on the service's machine.")]
    get: Annotated[str, Field(description="How its operator gets it, where it is not.")] = ""
    target: str | None = None
    files: tuple[str, ...] = ()
    size: int | None = None
    created_at: Time | None = None


class DatasetList(Answer):
    """Those that have a name of their own, on the first page; then those that were pushed."""

    items: tuple[Dataset, ...]
    next_page_token: NextPage = None


class DatasetShape(Answer):
    """A dataset as it is split and prepared."""

    name: str
    kind: Literal["tabular", "text"]
    n_train: int
    n_val: int
    n_test: int
    n_classes: int
    n_features: int
    vocabulary: int
    class_names: tuple[str, ...]
    digest: str
    notes: tuple[str, ...]


class Subset(Answer):
    """A stored model-free subset: paid for once, used by every job that asks for the same."""

    key: str
    scope: Literal["job", "project", "shared"]
    strategy: str
    version: int
    dataset: str
    dataset_digest: str
    encoder: str | None
    size: Annotated[int, Field(description="Rows of it.")]
    n: Annotated[int, Field(description="Training rows of the dataset.")]
    options: dict[str, Any]
    seed: int
    bytes: int
    arrays: dict[str, str]
    created: Annotated[str, Field(description="UTC, ISO 8601.")]
    seconds: Annotated[float, Field(description="To make it.")]
    forward_rows: int
    libraries: dict[str, str]


class SubsetList(Answer):
    """The newest first."""

    items: tuple[Subset, ...]
    next_page_token: NextPage = None
