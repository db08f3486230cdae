"""Inference with an artifact: onnxruntime, numpy and tokenizers; torch is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.artifact import manifest as manifests
from compressor.artifact.manifest import DialSetting
from compressor.artifact.sample import Model, check_depth, check_keep
from compressor.config.paths import expanded
from compressor.errors import ArtifactError, DeviceError, DialError, RequestError

FULL = "full"
DEFAULT = "default"


@dataclass(frozen=True)
class Passage:
    """A text that `Predictor.read` has read: its windows with their tokens and the lower layers' states."""

    read: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Memory that the states take."""
        return sum(row["states"].nbytes for row in self.read["rows"])


class Predictor:
    """Answers with an artifact; the length dial is turned for all calls here, or for one call there.

    The dial is given as one of: `keep` (a fraction of tokens for each layer), `setting` (a name of the dial table,
    "full" or "default"), `budget` (at most this fraction of the MACs at full length) or `budget_ms` (at most this
    latency in the dial table); a budget takes the best row of the table that it allows. `depth` is the value of the
    depth dial, where the model can stop early. An artifact with both halves of its model can also `read` a context once
    and be asked (`ask`) many questions about it.

    Raises:
        ArtifactError: The folder is not an artifact, or damaged.
        DialError: A length configuration that grows, leaves (0, 1], has the wrong size or does not exist.
        DeviceError: The execution provider is not there.
        RequestError: `providers`, `threads` or `batch_size` is not what it must be.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: Sequence[float] | None = None,
        setting: str | None = None,
        budget: float | None = None,
        budget_ms: float | None = None,
        depth: float | None = None,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        batch_size: int = 8,
    ) -> None:
        _check_options(threads, providers, batch_size)
        self.folder = expanded(folder)
        self.manifest = manifests.read(self.folder)
        try:
            self._model = Model(self.folder, threads=threads, providers=providers, batch_size=batch_size)
        except RuntimeError as error:
            raise DeviceError(f"{self.folder}: {error}") from error
        except Exception as error:  # onnxruntime and tokenizers raise bare exceptions for damaged files
            raise ArtifactError(
                f"{self.folder} does not load: {error}; `verify` says which file is damaged."
            ) from error
        self.keep = self._choose(keep, setting, budget, budget_ms)
        self.depth = self._depth(depth)

    @property
    def task(self) -> str:
        """The artifact's task, by Optimum's name."""
        return self.manifest.task

    @property
    def settings(self) -> dict[str, list[float]]:
        """Length configurations by name; empty without a dial."""
        dial = self.manifest.dial
        if dial is None or dial.kind == "fixed":
            return {}
        named = {setting.name: list(setting.keep) for setting in dial.settings}
        return {FULL: [1.0] * dial.layers, DEFAULT: list(dial.default), **named}

    def __call__(
        self,
        inputs: Any = None,
        *,
        question: str | None = None,
        context: str | None = None,
        pair: str | None = None,
        keep: Sequence[float] | None = None,
        setting: str | None = None,
        budget: float | None = None,
        budget_ms: float | None = None,
        depth: float | None = None,
    ) -> Any:
        """Answer one input, or a list of them with a list of answers.

        Question answering takes `question=` and `context=`, or mappings of both: {answer, start, end, score}.
        Text classification takes a text (with `pair=`), a tuple of two or a mapping {text, pair}: {label, score,
        scores} or, with several labels, {labels, scores}. Text regression takes the same: {score}, a number. Token
        classification takes a text, or a mapping {words} with a list of words: {entities, words}. Long contexts are
        read in windows; long texts are cut.

        Raises:
            RequestError: An input is not what the task needs.
            DialError: As above.
        """
        given = self._choose(keep, setting, budget, budget_ms)
        chosen = self.keep if given is None else given
        level = self.depth if depth is None else self._depth(depth)
        if question is not None or context is not None:
            inputs = {"question": question, "context": context}
        if pair is not None:
            inputs = {"text": inputs, "pair": pair}
        single = not isinstance(inputs, list)
        items = [self._item(entry) for entry in ([inputs] if single else inputs)]
        answers = self._model(items, keep=chosen, depth=level)
        return answers[0] if single else answers

    def read(self, text: str) -> Passage:
        """What the lower layers make of a context (or second text), to be asked any number of questions.

        Raises:
            RequestError: The artifact has no halves (the stage `deformer` trains a model for them), or this is no text.
        """
        if self.manifest.halves is None:
            raise RequestError(
                "this artifact reads both texts together, so that it can read none before: make one with the stage "
                "deformer."
            )
        if not isinstance(text, str):
            raise RequestError(f"read needs a text, not {text!r:.80}.")
        _check_characters([text])
        return Passage(self._model.read(text))

    def ask(self, passage: Passage, text: Any) -> Any:
        """Answer a question (or first text) about a passage that `read` gave, or a list of them with a list of answers.

        Raises:
            RequestError: This is no text.
        """
        texts = text if isinstance(text, list) else [text]
        for entry in texts:
            if not isinstance(entry, str):
                raise RequestError(f"ask needs a text, or a list of texts, not {entry!r:.80}.")
        _check_characters(texts)
        answers = [self._model.ask(passage.read, entry) for entry in texts]
        return answers if isinstance(text, list) else answers[0]

    def _choose(
        self,
        keep: Sequence[float] | None,
        setting: str | None,
        budget: float | None,
        budget_ms: float | None,
    ) -> list[float] | None:
        """The configuration that was asked for; None where nothing was."""
        asked = [value for value in (keep, setting, budget, budget_ms) if value is not None]
        if not asked:
            return None
        if len(asked) > 1:
            raise DialError("give only one of keep, setting, budget and budget_ms.")
        dial = self.manifest.dial
        if dial is None or dial.kind == "fixed":
            raise DialError("this artifact has no length dial: it always reads all tokens that its default keeps.")
        if keep is not None:
            try:
                return check_keep(keep, dial.layers)
            except ValueError as error:
                raise DialError(f"{error}.") from error
        if setting is not None:
            if setting not in self.settings:
                raise DialError(f"there is no dial setting '{setting}': choose from {', '.join(self.settings)}.")
            return self.settings[setting]
        return list(self._within(budget, budget_ms).keep)

    def _depth(self, value: float | None) -> float | None:
        """The value of the depth dial that was asked for; None where none was."""
        depth = self.manifest.depth
        if value is None:
            return None
        if depth is None or depth.kind == "fixed":
            raise DialError("this artifact has no depth dial: it always stops as its default says, or not at all.")
        try:
            return check_depth(value, depth.method)
        except ValueError as error:
            raise DialError(f"{error}.") from error

    def _within(self, budget: float | None, budget_ms: float | None) -> DialSetting:
        for name, value in (("budget", budget), ("budget_ms", budget_ms)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise DialError(f"{name} = {value!r} is not a number.")
        dial = self.manifest.dial
        rows = dial.settings if dial else []
        full = dial.full_macs if dial else None
        if budget is not None:
            if not 0 < budget <= 1:
                raise DialError(f"budget = {budget:g} is not in (0, 1]: it is a fraction of the MACs at full length.")
            costs = [(row.macs / full if row.macs and full else None, row) for row in rows]
            limit, unit = budget, "of the MACs"
        else:
            costs = [(row.p50_ms, row) for row in rows]
            limit, unit = float(budget_ms or 0), "ms"
        known = [(cost, row) for cost, row in costs if cost is not None]
        if not known:
            raise DialError(f"the dial table has no row with a cost in {unit}: give keep or setting instead.")
        fitting = [(cost, row) for cost, row in known if cost <= limit]
        if not fitting:
            least = min(cost for cost, _ in known)
            raise DialError(f"no row of the dial table costs at most {limit:g} {unit}; the least is {least:.3g}.")
        return max(fitting, key=lambda entry: (entry[1].metric or 0.0, -entry[0]))[1]

    def _item(self, entry: Any) -> dict[str, Any]:
        """One input as a mapping with the entries that the task needs; raises `RequestError` for anything else."""
        if isinstance(entry, str):
            item: dict[str, Any] = {"text": entry}
        elif isinstance(entry, tuple) and len(entry) == 2:
            names = ("question", "context") if self.task == "question-answering" else ("text", "pair")
            item = dict(zip(names, entry, strict=True))
        elif isinstance(entry, Mapping):
            item = {str(key): value for key, value in entry.items() if value is not None}
        else:
            item = {}
        words = item.get("words")
        if self.task == "token-classification" and isinstance(words, list | tuple):
            if all(isinstance(word, str) for word in words):
                _check_characters(words)
                return {"words": list(words)}
            item = {}
        needed = ("question", "context") if self.task == "question-answering" else ("text",)
        texts = [*needed, *(["pair"] if "pair" in item else [])]
        if any(not isinstance(item.get(name), str) for name in texts):
            raise RequestError(f"{self.task} needs {' and '.join(texts)} as text, not {entry!r:.80}.")
        _check_characters(item[name] for name in texts)
        return item


def _check_options(threads: int | None, providers: Sequence[str], batch_size: int) -> None:
    if isinstance(providers, str):
        raise RequestError(f"providers = {providers!r} is not possible: give a list of names, [{providers!r}].")
    if not providers or not all(isinstance(name, str) for name in providers):
        raise RequestError(
            f"providers = {providers!r} is not possible: name at least one, such as CPUExecutionProvider."
        )
    for name, value in (("threads", threads), ("batch_size", batch_size)):
        if name == "threads" and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RequestError(f"{name} = {value!r} is not possible: give a whole number above zero.")


def _check_characters(texts: Iterable[str]) -> None:
    """Half of a character (a lone surrogate) has no UTF-8 form, so that no tokenizer takes it."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                f"there is half of a character (a lone surrogate, {text[error.start]!a}) at character {error.start} "
                "of a text: decode it anew or leave it out."
            ) from error
