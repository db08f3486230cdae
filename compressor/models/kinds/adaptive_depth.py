"""A model of whole texts that can answer after many a layer, and does not compute the layers that it does not need.

Every layer but the last gets an exit, a small head, or only some layers do; the last one keeps the stock head. Exits
read the mean of the real tokens, or the first one as the stock head does. In the lower layers of a pre-trained encoder
the first token has seen next to nothing: in MiniLM (6 layers) it differs between texts by a five-hundredth of what
other tokens do, and exits on it stayed at chance. The methods differ in when they stop (`models.kinds.halting`) and in
what they answer then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from compressor.errors import CheckpointError
from compressor.models.families import Family, family_of_model
from compressor.models.kinds import halting
from compressor.models.kinds.length_adaptive import Dial, LengthAdaptiveModel, make_whole
from compressor.models.structure import AdaptiveDepth

Model = TypeVar("Model", bound=nn.Module)

SMALLEST = 1e-8
"""Probabilities are clamped to it before a logarithm."""


@dataclass
class AdaptiveDepthOutput(ModelOutput):
    """What the model answers, and how many layers each input needed."""

    # [batch, classes]: log-probabilities; logits of probabilities for several labels; the number itself in regression
    logits: Tensor | None = None
    blocks_run: Tensor | None = None  # int64 [batch]


@dataclass(frozen=True)
class Answer:
    """What one layer says: logits [batch, classes], and DACT's halting unit [batch, 1] where there is one."""

    logits: Tensor
    unit: Tensor | None


class Exit(nn.Module):
    """The head after one layer: one product, with dense and tanh before it if asked for; with DACT a halting unit."""

    def __init__(self, hidden: int, classes: int, *, dense: bool, halting_unit: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden) if dense else None
        self.out = nn.Linear(hidden, classes)
        self.halt = nn.Linear(hidden, 1) if halting_unit else None

    def forward(self, summary: Tensor) -> Answer:
        """From what is read of a layer's states, [batch, hidden]."""
        if self.dense is not None:
            summary = torch.tanh(self.dense(summary))
        return Answer(self.out(summary), None if self.halt is None else torch.sigmoid(self.halt(summary)))


def make_adaptive_depth(model: Model, settings: AdaptiveDepth) -> Model:
    """Give a model of whole texts exits with random weights and a forward that stops early, in place.

    A model that already has exits gets the new settings. The forward then takes `setting` (see `AdaptiveDepth`).

    Raises:
        CheckpointError: The model does not classify whole texts (or give them a number, with PABEE), or has exits of
            another kind.
    """
    family = family_of_model(model)
    if not type(model).__name__.endswith("ForSequenceClassification"):
        raise CheckpointError("adaptive depth needs a model that classifies whole texts by their first token.")
    if gives_number(model) and settings.method != "pabee":
        raise CheckpointError(f"the model gives a number, and exits of {settings.method} need classes: use pabee.")
    known = getattr(model, "adaptive_depth", None)
    if isinstance(known, AdaptiveDepth):
        refusal = known.refusal(settings)
        if refusal:
            raise CheckpointError(refusal)
        cast(Any, model).adaptive_depth = settings
        return model
    layers = len(family.layers_of(model))
    if not isinstance(model, LengthAdaptiveModel):
        make_whole(model, restore=False)
    config = cast(Any, model).config
    width = family.hidden_size(config.to_dict())
    cast(Any, model).exits = nn.ModuleDict(
        {
            str(layer): Exit(
                width, config.num_labels, dense=settings.head == "dense", halting_unit=settings.method == "dact"
            )
            for layer in settings.exits_of(layers)
        }
    )
    cast(Any, model).__class__ = _subclass(cast(Any, type(model)))
    cast(Any, model).adaptive_depth = settings
    return model


def gives_number(model: nn.Module) -> bool:
    """Whether the model's answer is one number (regression), not classes or labels."""
    return bool(cast(Any, model).config.problem_type == "regression")


def start_from_head(model: nn.Module) -> None:
    """Let every exit begin as the model's own head, and every halting unit as rather open (sigmoid of 1).

    A linear exit begins as the head would be without its tanh.
    """
    family = family_of_model(model)
    dense = cast(nn.Linear, model.get_submodule(family.classifier_dense))
    name = "classifier.out_proj" if family.classifier_dense == "classifier.dense" else "classifier"
    out = cast(nn.Linear, model.get_submodule(name))
    for exit_ in cast(Any, model).exits.values():
        exit_.out.load_state_dict(out.state_dict())
        if exit_.dense is None:
            with torch.no_grad():
                exit_.out.weight.copy_(out.weight @ dense.weight)
                exit_.out.bias.copy_(out.weight @ dense.bias + out.bias)
        else:
            exit_.dense.load_state_dict(dense.state_dict())
        if exit_.halt is not None:
            nn.init.zeros_(exit_.halt.weight)
            nn.init.ones_(exit_.halt.bias)


@cache
def _subclass(base: Any) -> Any:
    name = f"AdaptiveDepth{base.stock_class.__name__}"
    return type(name, (AdaptiveDepthModel, base), {"stock_class": base.stock_class})


class AdaptiveDepthModel(LengthAdaptiveModel):
    """Mixed into a length-adaptive classifier: asks behind each exit whether all inputs are answered."""

    adaptive_depth: AdaptiveDepth
    exits: nn.ModuleDict  # by the layer's index

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        keep: Tensor | None = None,
        *,
        setting: Tensor | float | None = None,
        **options: Any,
    ) -> Any:
        """Answer, each input after as few layers as the method allows.

        Args:
            input_ids: [batch, length]; `attention_mask` and `token_type_ids` alike.
            attention_mask: Nonzero for real tokens; None: all are real.
            token_type_ids: Segment numbers, for families that have them.
            keep: As in `LengthAdaptiveModel`.
            setting: Margin, entropy or patience, a number or [1]; None: the structure's default.
            options: `counts` and `skip_layers` of `LengthAdaptiveModel`.
        """
        run = Run(self, self.adaptive_depth.setting if setting is None else setting)
        self._encode(
            lambda layer, summary: not bool(run.watch(layer, summary)),
            input_ids,
            attention_mask,
            token_type_ids,
            keep,
            options,
        )
        return AdaptiveDepthOutput(logits=run.logits(), blocks_run=run.blocks_run.squeeze(-1))

    def answers(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        keep: Tensor | None = None,
        **options: Any,
    ) -> list[Answer]:
        """What every exit and the last layer say; all are run. Arguments as `forward` takes them."""
        said: list[Answer] = []

        def watch(layer: int, summary: Tensor) -> bool:
            said.append(self.answer(layer, summary))
            return False

        self._encode(watch, input_ids, attention_mask, token_type_ids, keep, options)
        return said

    def answer(self, layer: int, summary: Tensor) -> Answer:
        """What one layer says of its summary [batch, hidden]: its exit, or the stock head at the end."""
        if str(layer) in self.exits:
            return cast(Answer, self.exits[str(layer)](summary))
        return Answer(_stock_head(self, family_of_model(self), summary), None)

    def answering(self) -> list[int]:
        """Indices of the layers that give an answer: those with an exit, and the last."""
        return [*map(int, self.exits), len(family_of_model(self).layers_of(self)) - 1]

    def reads_mean(self, layer: int) -> bool:
        """Whether a layer's answer reads the mean of its real tokens, or the first one, as the stock head does."""
        return self.adaptive_depth.summary == "mean" and str(layer) in self.exits

    def _encode(
        self,
        watch: Callable[[int, Tensor], bool],
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        keep: Tensor | None,
        options: Mapping[str, Any],
    ) -> None:
        family = family_of_model(self)
        extra = {"token_type_ids": token_type_ids} if family.has_token_types else {}
        answering = self.answering()

        def hear(layer: int, hidden: Tensor, mask: Tensor | None) -> bool:
            if layer not in answering:
                return False
            return watch(layer, mean_of(hidden, mask) if self.reads_mean(layer) else hidden[:, 0])

        with self.dialled(Dial(keep, watch=hear, **options)):
            family.backbone_of(self)(input_ids=input_ids, attention_mask=attention_mask, **extra)


def mean_of(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean [batch, hidden] of the real tokens of [batch, length, hidden]; mask [batch, length], None: all are."""
    if mask is None:
        return hidden.mean(dim=1)
    real = (mask != 0).to(hidden.dtype)
    return (real / real.sum(dim=1, keepdim=True).clamp(min=1)).unsqueeze(1).matmul(hidden).squeeze(1)


def _stock_head(model: Any, family: Family, first: Tensor) -> Tensor:
    """Logits of the model's own head, from the first token's states [batch, hidden]."""
    states = first.unsqueeze(1)
    if family.pooler:
        pooled = getattr(family.backbone_of(model), family.pooler)(states)
        return cast(Tensor, model.classifier(model.dropout(pooled)))
    if hasattr(model, "pre_classifier"):
        return cast(Tensor, model.classifier(model.dropout(torch.relu(model.pre_classifier(first)))))
    return cast(Tensor, model.classifier(states))


class Run:
    """One batch on its way through the layers: each row's answer, and whether it is final.

    Nothing in it depends on values in Python, so that it can be traced for export. Every operator in it is run once an
    exit, and costs a short input about as much as a part of the layer's own work: there are as few as can be.
    """

    def __init__(self, model: AdaptiveDepthModel, setting: Tensor | float) -> None:
        self.model = model
        self.rule = model.adaptive_depth
        self.setting = setting
        self.share = 1 - setting  # DACT: of the weight that later layers have
        self.answering = model.answering()
        self.several = cast(Any, model).config.problem_type == "multi_label_classification"
        self.number = gives_number(model)
        self.blocks_run = torch.zeros(0, 1, dtype=torch.long)
        self.answer = torch.zeros(0)  # probabilities with DACT, logits otherwise
        self.weight: Tensor | None = None  # DACT's p, 0 where halted; None: nothing was heard
        self.streak = torch.zeros(0, 1, dtype=torch.long)  # PABEE's
        self.going = torch.zeros(0, 1, dtype=torch.bool)

    def watch(self, layer: int, summary: Tensor) -> Tensor:
        """Hear an answering layer by its summary [batch, hidden]; gives a bool scalar: whether any row goes on."""
        place, said = self.answering.index(layer), self.model.answer(layer, summary)
        going = self._hear_dact(said, place) if self.rule.method == "dact" else self._hear(said, place)
        if place == 0:
            self.blocks_run = torch.full_like(said.logits[:, :1], layer + 1, dtype=torch.long)
        if going is None:  # the last layer
            return torch.tensor(False)
        self.going = going
        more, distance = going.long(), self.answering[place + 1] - layer
        self.blocks_run = self.blocks_run + (more if distance == 1 else more * distance)
        return more.amax().bool()

    def logits(self) -> Tensor:
        """What `pipeline` may apply a softmax or a sigmoid to; a number as it is."""
        if self.rule.method == "dact":
            chance = self.answer.clamp(SMALLEST, 1.0)
            return chance.log() - (1 - self.answer).clamp(SMALLEST, 1.0).log() if self.several else chance.log()
        return self.answer if self.several or self.number else torch.log_softmax(self.answer, dim=-1)

    def _hear(self, said: Answer, place: int) -> Tensor | None:
        """DeeBERT and PABEE: the latest answer counts for the rows that went on; which of them go on."""
        before = self.answer
        self.answer = said.logits if place == 0 else torch.where(self.going, said.logits, before)
        if place == len(self.answering) - 1:
            return None
        if self.rule.method == "deebert":
            measure = halting.label_entropy if self.several else halting.entropy
            going = measure(said.logits) >= self.setting
        elif place == 0:
            self.streak = torch.zeros_like(said.logits[:, :1], dtype=torch.long)
            return torch.ones_like(self.streak, dtype=torch.bool)
        else:
            self.streak = halting.agreeing(self._same(said.logits, before), self.streak)
            going = self.streak < self.setting
        return going if place == 0 else self.going & going

    def _same(self, now: Tensor, before: Tensor) -> Tensor:
        """Whether two answers' logits [batch, classes] say the same; bool [batch, 1]."""
        if self.number:
            return (now - before).abs() <= self.rule.tolerance
        decided = (_decided(logits, self.several, self.rule.threshold) for logits in (now, before))
        return torch.eq(*decided).all(dim=-1, keepdim=True)

    def _hear_dact(self, said: Answer, place: int) -> Tensor | None:
        """Every answer counts by its weight, which is 0 for rows that have halted; which rows go on.

        For those the bound says the same ever after, as nothing of the answer can leave any more.
        """
        chance = torch.sigmoid(said.logits) if self.several else torch.softmax(said.logits, dim=-1)
        self.answer = chance if self.weight is None else halting.accumulate(chance, self.answer, self.weight)
        if said.unit is None:
            return None
        weight = said.unit if self.weight is None else self.weight * said.unit
        left, weighed = len(self.answering) - 1 - place, weight * self.share
        if self.several:
            going = halting.unsettled_labels(self.answer, weighed, left, self.rule.threshold)
        else:
            going = halting.unsettled(self.answer, weighed, left, self.rule.bound)
        self.weight = torch.where(going, weight, torch.zeros(()))
        return going


def _decided(logits: Tensor, several: bool, threshold: float) -> Tensor:
    """The prediction: the class [batch, 1], or which labels [batch, labels]."""
    if several:
        return torch.sigmoid(logits) >= threshold
    return logits.argmax(dim=-1, keepdim=True)
