"""Names and paths → rows and splits, with a digest of what they are made of."""

from automata_svc.datasets.load import describe, load_dataset
from automata_svc.datasets.source import Source
from automata_svc.datasets.sources import SOURCES, Listed, list_datasets
from automata_svc.datasets.types import Dataset, Shape, Split

__all__ = [
    "SOURCES",
    "Dataset",
    "Listed",
    "Shape",
    "Source",
    "Split",
    "describe",
    "list_datasets",
    "load_dataset",
]
