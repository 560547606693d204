"""The winner as files somebody can use without us: weights, parameters, template, an example."""

from __future__ import annotations

import io
import json
import re
import sys
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

from automata_svc.errors import Conflict, SpecError, Unavailable
from automata_svc.jobs.bundles import Code
from automata_svc.trials.params import coerce
from automata_svc.trials.templates import parse_template

if TYPE_CHECKING:
    from automata_svc.jobs.local import LocalService

EXAMPLE = '''"""Loads the winner of {job} ({name}) and predicts with it.

    python example.py
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

here = Path(__file__).parent
sys.path.insert(0, str(here / "code"))  # what the template imports, if it had a folder of its own

import {module} as template

params = template.Params(**json.loads((here / "params.json").read_text()))
dataset = SimpleNamespace(**json.loads((here / "dataset.json").read_text()))
model = template.build(params, dataset)
model.load_state_dict(torch.load(here / "model.pt", weights_only=True))
model.eval()

# Rows must be prepared as they were for training: {preparation}
print("loaded", sum(p.numel() for p in model.parameters()), "weights;",
      "classes:", ", ".join(dataset.class_names))
'''


def save_winner(service: LocalService, job: str, folder: Path) -> list[Path]:
    """Writes model.pt, params.json, dataset.json, the template and example.py into `folder`.

    What the template imports of the job's code lies in `code`.

    Raises:
        Conflict: the job has no confirmed winner (yet), its weights are gone, or its data changed.
        SpecError: the folder is not empty.
        Unavailable: the folder cannot be written.
    """
    import torch

    from automata_svc.datasets import Source, describe

    state = service.state(job)
    result = state.result
    if result is None:
        raise Conflict(f"{job} has no confirmed winner: it is {state.state} ({state.move.reason})")
    if result.checkpoint is None or not service.store.exists(result.checkpoint):
        raise Conflict(f"{job}: the winner's weights ({result.checkpoint}) are no longer stored")
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"--save {folder}: the folder is not empty; name another one")
    raw = service.store.get(result.checkpoint)
    body = torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
    template = service.template(job)
    module = _module_name(template["name"])
    record = service.database.get_job(job)
    bundles = service.bundles.of(record.project)
    spec = json.loads(record.spec)
    source = bundles.source(Source.of(spec["spec"]["trial"]["dataset"]))
    shape = describe(source, service.settings)
    if state.plan.dataset_digest not in ("", shape.digest):
        raise Conflict(
            f"{job}: the rows of dataset '{shape.name}' changed since the job was submitted; put "
            "the old ones back to save what was trained on them"
        )
    declared = parse_template(template["text"].encode(), template["name"], template["path"]).params
    chosen = {**state.plan.fixed, **state.trials[result.trial].params}
    # As its trial was given them: a space may say 64.0 where the template declares an int.
    params = {one.name: coerce(chosen[one.name], one.type) for one in declared}
    files = {
        "params.json": json.dumps(params, indent=2).encode(),
        "dataset.json": json.dumps(
            {
                "kind": shape.kind,
                "n_features": shape.n_features,
                "n_classes": shape.n_classes,
                "vocabulary": shape.vocabulary,
                "class_names": list(shape.class_names),
                "name": shape.name,
                "digest": shape.digest,
            },
            indent=2,
        ).encode(),
        f"{module}.py": template["text"].encode(),
        "example.py": EXAMPLE.format(
            job=job,
            name=spec["metadata"]["name"],
            module=module,
            # One line: a column's name, which stands in a note, may hold a line's end.
            preparation=" ".join("; ".join(shape.notes).split()) or "as they are",
        ).encode(),
    }
    buffer = io.BytesIO()
    torch.save(body["states"][0], buffer)
    files["model.pt"] = buffer.getvalue()
    code = Code.from_json(template.get("code"))
    if code is not None:
        files |= {f"code/{name}": raw for name, raw in bundles.files_of(code).items()}
    try:
        return [_written(folder / name, data) for name, data in files.items()]
    except OSError as error:
        raise Unavailable(f"--save {folder}: cannot be written: {error.strerror}") from error


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _module_name(template: str) -> str:
    """What example.py imports the template as: a name that hides nothing which it imports."""
    name = re.sub(r"\W", "_", template, flags=re.ASCII)
    taken = name in {"example", "torch"} or name in sys.stdlib_module_names
    return f"template_{name}" if taken or name[0].isdigit() or iskeyword(name) else name
