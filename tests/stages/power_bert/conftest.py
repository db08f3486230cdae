"""Tiny models of every family."""

from tests.models.conftest import model_type

__all__ = ["model_type"]
