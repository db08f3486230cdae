"""The request: recipe, device, data and teacher composed by Hydra and checked before anything heavy is imported."""

from compressor.request.build import build
from compressor.request.request import PassEntry, Request, StageEntry

__all__ = ["PassEntry", "Request", "StageEntry", "build"]
