"""Which recipe fits a task, a device and its limits: grids, prices without training, successive halving, an answer."""
