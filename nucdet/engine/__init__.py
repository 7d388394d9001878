"""Training and evaluation runs."""

from nucdet.engine.run import run
from nucdet.engine.trainer import NucleusTrainer

__all__ = ["NucleusTrainer", "run"]
