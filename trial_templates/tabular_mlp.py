"""A multi-layer perceptron on rows of numbers.

Copy it and make it yours: `automata templates cp tabular_mlp ./mine.py`, then say
`template: ./mine.py` in the job. Four things are asked of a template: this docstring (its first
line is what `automata templates ls` prints), `Params`, `build` and `train`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from automata_svc.trials import Trial, TrialParams, weighted_mean

KIND = "tabular"  # of data; a job with another kind is refused before it runs


class Params(TrialParams):
    """What a job can search or set; types and defaults are read without running the file."""

    lr: float = 0.03
    hidden: int = 128  # units of each hidden layer
    layers: int = 2  # hidden layers
    batch_size: int = 32  # read by the loader
    weight_decay: float = 0.0
    dropout: float = 0.0
    optimizer: str = "sgd"  # sgd (Nesterov momentum .9), adam or adamw
    epochs: int = 50  # a full training: epochs × training rows


def build(params, dataset):
    """The model, untrained; its last layer gives one number (a logit) per class."""
    if dataset.kind != "tabular":
        raise ValueError(
            f"tabular_mlp needs rows of numbers; dataset '{dataset.name}' is {dataset.kind}"
        )
    blocks = []
    width = dataset.n_features
    for _ in range(params.layers):
        blocks += [nn.Linear(width, params.hidden), nn.ReLU()]
        if params.dropout > 0:
            blocks.append(nn.Dropout(params.dropout))
        width = params.hidden
    return nn.Sequential(*blocks, nn.Linear(width, dataset.n_classes))


def make_optimizer(params, model):
    # fused=True: one pass over the weights for each step, on a CPU too.
    common = {"lr": params.lr, "weight_decay": params.weight_decay, "fused": True}
    if params.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **common)
    if params.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **common)
    if params.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), **common)
    raise ValueError(f"optimizer '{params.optimizer}' is none of sgd, adam, adamw")


def evaluate(model, split):
    """Metrics by name. Called only where the job needs a value, on validation or test rows."""
    model.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for rows, labels in split.batches(1024):
            logits = model(rows)
            right += (logits.argmax(dim=1) == labels).sum().item()
            loss += cross_entropy(logits, labels, reduction="sum").item()
    return {"accuracy": right / len(split), "loss": loss / len(split)}


def train(trial: Trial[Params]) -> None:
    model = build(trial.params, trial.dataset).to(trial.device)
    optimizer = make_optimizer(trial.params, model)

    # Whatever must survive a restart goes into passes(): anything with a state_dict.
    for _ in trial.passes(model, optimizer):
        # The rows of this pass: the subset the job asked for, chosen again when it is due.
        for rows, labels, weights in trial.batches(model):
            losses = cross_entropy(model(rows), labels, reduction="none")
            # Backward and step; the loss and the gradient norm are recorded on the way.
            trial.step(weighted_mean(losses, weights), model, optimizer)
        trial.report(lambda split: evaluate(model, split))
