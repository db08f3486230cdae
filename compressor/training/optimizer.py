"""AdamW with linear warm-up and decay; biases and LayerNorm are not decayed.

A module can have a `learning_rate` of its own, a number: the peak for its own parameters, which are not decayed.
"""

from __future__ import annotations

from typing import cast

import torch

from compressor.config.training import TrainingSettings


def warmup_then_linear(step: int, total: int, warmup: float) -> float:
    """Factor of the peak learning rate at update `step`: up over the fraction `warmup` of all, then down to 0."""
    rise = int(total * warmup)
    if step < rise:
        return (step + 1) / (rise + 1)
    return max(0.0, (total - step) / max(1, total - rise))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in groups: with weight decay, without (every bias and LayerNorm), with their own rates."""
    rates: dict[int, float] = {
        id(parameter): cast(float, module.learning_rate)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if isinstance(getattr(module, "learning_rate", None), float)
    }
    plain = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name == "bias" or isinstance(module, torch.nn.LayerNorm)
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in rates]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trained if id(p) not in plain], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in plain], "weight_decay": 0.0},
    ]
    for rate in sorted(set(rates.values())):
        own = [parameter for parameter in model.parameters() if rates.get(id(parameter)) == rate]
        groups.append({"params": own, "weight_decay": 0.0, "lr": rate})
    return [group for group in groups if group["params"]]


def make_optimizer(model: torch.nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in one kernel a group."""
    return torch.optim.AdamW(parameter_groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, total: int, warmup: float) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning-rate schedule for `total` updates."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_then_linear(step, total, warmup))
