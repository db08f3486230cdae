"""A BiLSTM in the place of the transformer layers (Tang et al. 2019)."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from compressor.errors import CheckpointError
from compressor.models.kinds.other_encoder import dropout_of, encoder_width, replace_encoder, with_summary
from compressor.models.structure import Recurrent

Model = TypeVar("Model", bound=nn.Module)


class RecurrentEncoder(nn.Module):
    """Layers of an LSTM that reads each row's real tokens from both ends, half of the width each.

    The summary is what either direction knows at its end: the forward one at the row's last real token, the backward
    one at its first.
    """

    def __init__(self, width: int, hidden: int, layers: int, *, dropout: float, summary: bool) -> None:
        super().__init__()
        self.summary = summary
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, hidden // 2, layers, batch_first=True, bidirectional=True, dropout=between)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [batch, length, hidden] of states [batch, length, width] and a mask [batch, length]; always float32.

        Positions of padding get zeros.
        """
        lengths = mask.sum(dim=1).clamp(min=1)
        with torch.autocast(states.device.type, enabled=False):
            rows = pack_padded_sequence(states.float(), lengths.cpu(), batch_first=True, enforce_sorted=False)
            found, _ = pad_packed_sequence(self.lstm(rows)[0], batch_first=True, total_length=states.shape[1])
        if not self.summary:
            return found
        half = found.shape[-1] // 2
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, half)
        forward = found[..., :half].gather(1, last).squeeze(1)
        return with_summary(found, torch.cat([forward, found[:, 0, half:]], dim=-1))


def make_recurrent(model: Model, settings: Recurrent) -> Model:
    """Give a stock model a BiLSTM with new random weights instead of its layers; in place.

    Raises:
        CheckpointError: The hidden size is odd.
    """
    config = cast(Any, model).config
    width, hidden = encoder_width(model, settings.embedding_size)
    if hidden % 2:
        raise CheckpointError(f"a recurrent model of hidden size {hidden} cannot be halved between two directions.")
    encoder = RecurrentEncoder(width, hidden, settings.layers, dropout=dropout_of(config), summary=settings.summary)
    replace_encoder(model, encoder, settings.embedding_size)
    cast(Any, model).recurrent = settings
    return model
