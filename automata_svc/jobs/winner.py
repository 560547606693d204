"""The winner as files somebody can use without us: weights, parameters, template, an example."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from automata_svc.errors import Conflict, SpecError
from automata_svc.jobs.bundles import Code

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
        Conflict: the job has no confirmed winner (yet), or its weights are gone.
        SpecError: the folder is not empty.
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
    module = re.sub(r"\W", "_", template["name"], flags=re.ASCII)
    if module[0].isdigit():
        module = f"template_{module}"
    record = service.database.get_job(job)
    bundles = service.bundles.of(record.project)
    spec = json.loads(record.spec)
    source = bundles.source(Source.of(spec["spec"]["trial"]["dataset"]))
    shape = describe(source, service.settings)
    params = {**state.plan.fixed, **state.trials[result.trial].params}
    folder.mkdir(parents=True, exist_ok=True)
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
            preparation="; ".join(shape.notes) or "as they are",
        ).encode(),
    }
    buffer = io.BytesIO()
    torch.save(body["states"][0], buffer)
    files["model.pt"] = buffer.getvalue()
    code = Code.from_json(template.get("code"))
    if code is not None:
        files |= {f"code/{name}": raw for name, raw in bundles.files_of(code).items()}
    written = []
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        written.append(folder / name)
    return written
