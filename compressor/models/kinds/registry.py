"""How each kind of structural change is made on a stock model with random weights.

Every `make` works in place, keeps the names of parameters that it does not replace, and notes its settings on the
model under the kind's name, where `structure_of` finds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.kinds.convolutional import make_convolutional
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.kinds.low_rank import make_embedding_rank, make_low_rank
from compressor.models.kinds.quantizers import make_quantizers
from compressor.models.kinds.recurrent import make_recurrent
from compressor.models.kinds.shared_layers import make_shared_layers
from compressor.models.kinds.sparse import make_sparse
from compressor.models.kinds.split_layers import make_split_layers
from compressor.models.kinds.widths import make_widths
from compressor.models.structure import Structure

Model = TypeVar("Model", bound=nn.Module)

_MAKE: dict[str, Callable[[Any, Any], Any]] = {
    "widths": make_widths,
    "recurrent": make_recurrent,
    "convolutional": make_convolutional,
    "embedding_rank": make_embedding_rank,
    "low_rank": make_low_rank,
    "shared_layers": make_shared_layers,
    "sparse": make_sparse,
    "quantizers": make_quantizers,
    "split_layers": make_split_layers,
    "length_adaptive": make_length_adaptive,
    "adaptive_depth": make_adaptive_depth,
}


def make(model: Model, structure: Structure) -> Model:
    """Make all structural changes, in their order, in place.

    Raises:
        CheckpointError: A change does not fit the model.
        DialError: The same of a length dial.
    """
    for name, kind in structure.kinds().items():
        model = cast(Model, _MAKE[name](model, kind))
    return model


def structure_of(model: nn.Module) -> Structure:
    """What stages changed in a loaded model's shape."""
    noted: dict[str, Any] = {field.name: getattr(model, field.name, None) for field in dataclasses.fields(Structure)}
    kinds: dict[str, Any] = {name: kind for name, kind in noted.items() if dataclasses.is_dataclass(kind)}
    return Structure(**kinds)
