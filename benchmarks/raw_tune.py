"""The same search in raw Ray Tune, written as its documentation would have it: the yardstick.

    python -m benchmarks.raw_tune [--reuse]

27 configurations by HyperOpt under ASHA, validation after each of 50 epochs, then the best one
trained in full. `--reuse` is the form for people who know: a class Trainable with reset_config and
reuse_actors. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")

import numpy as np
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.hyperopt import HyperOptSearch
from torch import nn
from torch.nn.functional import cross_entropy

from automata_svc.datasets import Source, load_dataset
from automata_svc.settings import Settings

EPOCHS, TRIALS = 50, 27
SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "hidden": tune.choice([64, 128, 256]),
    "batch_size": tune.choice([32, 64, 128, 256]),
}


class Training:
    """One configuration on letter: the MLP and optimizer of trial_templates/tabular_mlp.py."""

    def __init__(self, config: dict, dataset: str) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        data = load_dataset(Source(name=dataset), Settings.from_env())
        self.data = data
        self.x, self.y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
        self.vx, self.vy = torch.from_numpy(data.val.x), torch.from_numpy(data.val.y)
        self.reset(config)

    def reset(self, config: dict) -> None:
        self.config, width = config, config["hidden"]
        self.model = nn.Sequential(
            nn.Linear(self.x.shape[1], width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, self.data.shape.n_classes),
        )  # fmt: skip
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=config["lr"], momentum=0.9, nesterov=True
        )

    def epoch(self) -> float:
        self.model.train()
        for rows in torch.randperm(len(self.x)).split(self.config["batch_size"]):
            self.optimizer.zero_grad()
            cross_entropy(self.model(self.x[rows]), self.y[rows]).backward()
            self.optimizer.step()
        return self.accuracy(self.vx, self.vy)

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.model.eval()
        with torch.no_grad():
            return (self.model(x).argmax(1) == y).float().mean().item()


def function_trainable(config: dict) -> None:
    training = Training(config, config["dataset"])
    for _ in range(EPOCHS):
        tune.report({"val_accuracy": training.epoch()})


class ClassTrainable(tune.Trainable):
    def setup(self, config: dict) -> None:
        self.training = Training(config, config["dataset"])

    def reset_config(self, new_config: dict) -> bool:
        self.training.reset(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict:
        return {}  # Tune asks for one at the end; nobody reads it

    def load_checkpoint(self, checkpoint: dict) -> None:
        """Nothing here is resumed."""

    def step(self) -> dict:
        return {"val_accuracy": self.training.epoch(), "done": self.iteration + 1 >= EPOCHS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--dataset", default="letter")
    args = parser.parse_args()
    begun = time.time()
    trainable = ClassTrainable if args.reuse else function_trainable
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={**SPACE, "dataset": args.dataset},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=TRIALS,
            search_alg=HyperOptSearch(random_state_seed=0),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3),
            reuse_actors=args.reuse,
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    results = tuner.fit()
    best = results.get_best_result(scope="all")
    searched = time.time()
    epochs = sum(len(result.metrics_dataframe) for result in results)
    torch.manual_seed(0)
    final = Training(best.config, args.dataset)
    values = [final.epoch() for _ in range(EPOCHS)]
    test = final.data.open_test()
    accuracy = final.accuracy(torch.from_numpy(test.x), torch.from_numpy(test.y))
    print(
        json.dumps(
            {
                "price": (epochs + EPOCHS) / EPOCHS,
                "search_seconds": searched - begun,
                "final_seconds": time.time() - searched,
                "val_accuracy": float(np.max(values)),
                "test_accuracy": accuracy,
                "config": {k: v for k, v in best.config.items() if k != "dataset"},
            }
        )
    )


if __name__ == "__main__":
    main()
