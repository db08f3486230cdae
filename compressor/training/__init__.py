"""Training: one loop on transformers' Trainer for every stage, batches by length, evaluation in PyTorch."""

from compressor.training.batches import collate, pad_inputs
from compressor.training.precision import training_device
from compressor.training.predict import predict
from compressor.training.task_loss import task_loss
from compressor.training.train import TrainingSummary, train, updates
from compressor.training.trainer import Objective

__all__ = [
    "Objective",
    "TrainingSummary",
    "collate",
    "pad_inputs",
    "predict",
    "task_loss",
    "train",
    "training_device",
    "updates",
]
