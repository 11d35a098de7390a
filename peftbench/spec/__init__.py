"""The run specification: everything that determines a run, read from presets, workloads and overrides."""

from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.files import RecipeFile, read_recipe, shipped
from peftbench.spec.model import RunSpec, TrainSpec, flatten
from peftbench.spec.resolve import DEFAULT_WORKLOAD, Resolved, resolve

__all__ = [
    "DEFAULT_WORKLOAD",
    "EncoderSpec",
    "RecipeFile",
    "Resolved",
    "RunSpec",
    "TrainSpec",
    "flatten",
    "read_recipe",
    "resolve",
    "shipped",
]
