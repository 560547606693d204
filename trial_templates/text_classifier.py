"""An LSTM on texts: embedding, LSTM, one linear layer.

AUTOMATA's text model (arXiv 2203.08212), with embeddings learned from scratch. Copy it and make it
yours: `automata templates cp text_classifier ./mine.py`, then say `template: ./mine.py` in the job.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from automata_svc.trials import Trial, TrialParams, weighted_mean

KIND = "text"  # of data; a job with another kind is refused before it runs


class Params(TrialParams):
    """What a job can search or set; types and defaults are read without running the file."""

    lr: float = 0.003
    hidden: int = 128  # units of the LSTM
    layers: int = 1  # LSTM layers
    batch_size: int = 16  # read by the loader
    embedding: int = 100  # numbers per word
    dropout: float = 0.2
    weight_decay: float = 0.0
    epochs: int = 20  # a full training: epochs × training rows


class Classifier(nn.Module):
    """Texts as token ids [b, L] (0 pads at the end) → logits [b, classes]."""

    def __init__(self, params, dataset):
        super().__init__()
        self.embedding = nn.Embedding(dataset.vocabulary, params.embedding, padding_idx=0)
        self.lstm = nn.LSTM(params.embedding, params.hidden, params.layers, batch_first=True)
        self.dropout = nn.Dropout(params.dropout)
        self.head = nn.Linear(params.hidden, dataset.n_classes)

    def forward(self, tokens):
        lengths = (tokens != 0).sum(dim=1).clamp(min=1)
        tokens = tokens[:, : int(lengths.max())]  # nobody reads the padding of the longest text
        outputs, _ = self.lstm(self.dropout(self.embedding(tokens)))
        last = outputs[torch.arange(len(tokens), device=tokens.device), lengths - 1]
        return self.head(self.dropout(last))


def build(params, dataset):
    """The model, untrained."""
    if dataset.kind != "text":
        raise ValueError(f"text_classifier needs texts; dataset '{dataset.name}' is {dataset.kind}")
    return Classifier(params, dataset)


def evaluate(model, split):
    """Metrics by name. Called only where the job needs a value, on validation or test rows."""
    model.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for rows, labels in split.batches(256):
            logits = model(rows)
            right += (logits.argmax(dim=1) == labels).sum().item()
            loss += cross_entropy(logits, labels, reduction="sum").item()
    return {"accuracy": right / len(split), "loss": loss / len(split)}


def train(trial: Trial[Params]) -> None:
    params = trial.params
    model = build(params, trial.dataset).to(trial.device)
    # fused=True: one pass over the weights for each step, on a CPU too.
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
    )

    # Whatever must survive a restart goes into passes(): anything with a state_dict.
    for _ in trial.passes(model, optimizer):
        # The rows of this pass: the subset the job asked for, chosen again when it is due.
        for rows, labels, weights in trial.batches(model):
            losses = cross_entropy(model(rows), labels, reduction="none")
            # Recurrent networks have rare huge gradients; the norm on record is the one before.
            trial.step(weighted_mean(losses, weights), model, optimizer, clip_norm=5.0)
        trial.report(lambda split: evaluate(model, split))
