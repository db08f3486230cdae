"""The deployable directory: manifest, atomic write, verification, model card, report, sample and Predictor."""
