"""Training: a pure update, a loop that yields events, checkpoints and listeners."""

from __future__ import annotations

from seq2seq.training.checkpoint import Checkpoints, Fingerprint, machine
from seq2seq.training.config import TrainingConfig
from seq2seq.training.events import Evaluated, Event, Judged, Sample, Saved, Started, Stopped, Updated, Warned
from seq2seq.training.listeners import JsonLog, Listener, ProgressBar, follow, tensorboard
from seq2seq.training.lock import FolderLock, check_lock
from seq2seq.training.loop import train
from seq2seq.training.optimizer import OptimizerConfig
from seq2seq.training.progress import Progress
from seq2seq.training.run import Run
from seq2seq.training.state import begin, make_update

__all__ = [
    "Checkpoints",
    "Evaluated",
    "Event",
    "Fingerprint",
    "FolderLock",
    "JsonLog",
    "Judged",
    "Listener",
    "OptimizerConfig",
    "Progress",
    "ProgressBar",
    "Run",
    "Sample",
    "Saved",
    "Started",
    "Stopped",
    "TrainingConfig",
    "Updated",
    "Warned",
    "begin",
    "check_lock",
    "follow",
    "machine",
    "make_update",
    "tensorboard",
    "train",
]
