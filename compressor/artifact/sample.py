# ruff: noqa: UP006, UP007, UP031, UP032, UP035, UP045, B905
"""Run this artifact with onnxruntime, numpy and tokenizers alone (Python 3.6 or newer).

python sample.py --question "Who wrote it?" --context "It was written by Ada."
python sample.py --text "a fine film" [--pair "a second text"]
python sample.py ... --keep 0.9,0.7,0.5       fraction of the tokens that each layer keeps
python sample.py ... --setting NAME           a row of the dial table in manifest.json
python sample.py ... --depth 0.1              the depth dial, where the model can stop early
python sample.py ... --read                   reads the context (or pair) alone first, where manifest.json has halves

In Python, such an artifact reads a text once for many questions:
model = Model("FOLDER"); passage = model.read("It was written by Ada."); model.ask(passage, "Who wrote it?")
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Row = Dict[str, Any]  # one row of model input: ids and masks by name, and what decoding needs
MIN_ROOM = 8  # tokens that are left to the question, and to the context beyond the overlap


class Model:
    """The artifact in `folder`, ready to answer."""

    def __init__(
        self,
        folder: Any = ".",
        threads: Optional[int] = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        batch_size: int = 8,
    ) -> None:
        self.folder = Path(str(folder))
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        self.task = self.manifest["task"]
        self.labels = self.manifest["labels"]
        self.dial = self.manifest.get("dial")
        self.exits = self.manifest.get("depth")
        self.halves = self.manifest.get("halves")
        self.preprocessing = self.manifest["preprocessing"]
        self.decoding = self.manifest["decoding"]
        self.batch_size = batch_size
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.threads, self.providers = threads, list(providers)
        self.opened = {}  # type: Dict[str, Any]
        self.session = self.open("model.onnx")
        self.outputs = [node.name for node in self.session.get_outputs()]
        nodes = list(self.session.get_inputs()) + list(self.session.get_overridable_initializers())
        self.inputs = {node.name: node.type for node in nodes}

    def __call__(
        self, items: Sequence[Dict[str, Any]], keep: Optional[Sequence[float]] = None, depth: Optional[float] = None
    ) -> List[Dict[str, Any]]:
        """One answer an item; items are {question, context}, {text[, pair]} or {text} / {words}."""
        rows = [row for index, item in enumerate(items) for row in self.rows(item, index)]
        for row, values in zip(rows, self.run(rows, keep, depth)):
            row["outputs"] = values
        groups = [[] for _ in items]  # type: List[List[Row]]
        for row in rows:
            groups[row["item"]].append(row)
        decode = {
            "question-answering": self.answer,
            "text-classification": self.classify,
            "text-regression": self.rate,
        }.get(self.task, self.tag)
        return [decode(item, group) for item, group in zip(items, groups)]

    def open(self, name: str) -> Any:
        """The session of one of the artifact's graphs; each is opened once."""
        if name not in self.opened:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads or 0
            options.log_severity_level = 3
            if self.providers[0] not in onnxruntime.get_available_providers():
                raise RuntimeError("%s is not available here" % self.providers[0])
            session = onnxruntime.InferenceSession(str(self.folder / name), options, providers=self.providers)
            if self.providers[0] not in session.get_providers():
                raise RuntimeError("%s was asked for, but the model runs on another provider" % self.providers[0])
            self.opened[name] = session
        return self.opened[name]

    # --- one text read before the other, where the artifact has both halves of its model

    def read(self, text: str) -> Dict[str, Any]:
        """What the lower layers make of a context (or second text), once for all that `ask` brings; it can be kept."""
        if self.halves is None:
            raise ValueError("this artifact reads both texts together, so that it can read none before")
        limit = self.preprocessing["max_length"] - self.halves["first_tokens"]
        stride = self.preprocessing["doc_stride"] if self.task == "question-answering" else 0
        self.tokenizer.enable_truncation(limit, stride=stride, strategy="only_second")
        first = self.tokenizer.encode("", text)
        windows = [first] + (list(first.overflowing) if self.task == "question-answering" else [])
        rows = []
        for encoding in windows:
            start = encoding.ids.index(self.halves["separator"])  # it is read with the separator before it
            rows.append({"encoding": encoding, "states": self.lower(encoding, start, len(encoding.ids))[1:]})
        return {"text": text, "rows": rows}

    def ask(self, passage: Dict[str, Any], text: str) -> Dict[str, Any]:
        """The answer to a question (or first text) about what `read` gave; a first text that is too long is cut."""
        asking = self.task == "question-answering"
        first = self.cut(text.strip() if asking else text, self.halves["first_tokens"])
        self.tokenizer.no_truncation()
        encoding = self.tokenizer.encode(first, "")
        end = encoding.ids.index(self.halves["separator"]) + 1
        states = self.lower(encoding, 0, end)
        session = self.open("upper.onnx")
        names = [node.name for node in session.get_outputs()]
        rows = [dict(row) for row in passage["rows"]]
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            width = end + max(len(row["states"]) for row in batch)
            feed = {
                "states": np.zeros((len(batch), width, states.shape[1]), dtype=np.float32),
                "attention_mask": np.zeros((len(batch), width), dtype=np.int64),
            }
            for line, row in enumerate(batch):
                size = end + len(row["states"])
                feed["states"][line, :size] = np.concatenate([states, row["states"]])
                feed["attention_mask"][line, :size] = 1
            found = session.run(names, feed)
            for line, row in enumerate(batch):
                # the passage's own encoding begins with what stands before the first separator, and that separator
                part = slice(end - row["encoding"].ids.index(self.halves["separator"]) - 1, end + len(row["states"]))
                values = [array[line, part] if asking else array[line] for array in found]
                row["outputs"] = {name: np.asarray(value, dtype=np.float64) for name, value in zip(names, values)}
        decode = {"question-answering": self.answer, "text-regression": self.rate}.get(self.task, self.classify)
        return decode({"context": passage["text"]}, rows)

    def lower(self, encoding: Any, start: int, end: int) -> Any:
        """States [tokens, hidden] of a part of an encoding, from the lower layers."""
        session = self.open("lower.onnx")
        row = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {node.name: np.asarray([row[node.name][start:end]], dtype=np.int64) for node in session.get_inputs()}
        return session.run(["states"], feed)[0][0]

    # --- from texts to rows

    def rows(self, item: Dict[str, Any], index: int) -> Iterator[Row]:
        """The rows of model input of one item; a long context gives several."""
        limit = self.preprocessing["max_length"]
        if self.task == "question-answering":
            question = self.cut(item["question"].strip())
            self.tokenizer.enable_truncation(limit, stride=self.preprocessing["doc_stride"], strategy="only_second")
            first = self.tokenizer.encode(question, item["context"])
            encodings = [first] + list(first.overflowing)
        else:
            text = " ".join(item["words"]) if "words" in item else item["text"]
            self.tokenizer.enable_truncation(limit, strategy="longest_first")
            encodings = [self.tokenizer.encode(text, item.get("pair"))]
        for encoding in encodings:
            yield {
                "item": index,
                "encoding": encoding,
                "input_ids": encoding.ids,
                "attention_mask": encoding.attention_mask,
                "token_type_ids": encoding.type_ids,
            }

    def cut(self, question: str, limit: Optional[int] = None) -> str:
        """Cut a question that has more tokens than the limit, which leaves room for the context where none is given."""
        if limit is None:
            room = self.preprocessing["max_length"] - self.tokenizer.num_special_tokens_to_add(True)
            limit = min(room // 2, room - self.preprocessing["doc_stride"] - MIN_ROOM)
        self.tokenizer.no_truncation()
        offsets = self.tokenizer.encode(question, add_special_tokens=False).offsets
        return question if len(offsets) <= limit else question[: offsets[limit - 1][1]]

    # --- from rows to outputs

    def run(
        self, rows: Sequence[Row], keep: Optional[Sequence[float]] = None, depth: Optional[float] = None
    ) -> List[Dict[str, Any]]:
        """The graph's outputs for every row, without padding; rows of similar length share a batch."""
        chosen, dial = self.keep(keep), self.depth(depth)
        results = [{} for _ in rows]  # type: List[Dict[str, Any]]
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["input_ids"]))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            values = self.session.run(self.outputs, self.feed([rows[place] for place in places], chosen, dial))
            for name, array in zip(self.outputs, values):
                for line, place in enumerate(places):
                    size = len(rows[place]["input_ids"])
                    whole = self.task in ("text-classification", "text-regression")
                    results[place][name] = np.asarray(array[line] if whole else array[line, :size], dtype=np.float64)
        return results

    def feed(self, rows: Sequence[Row], keep: Optional[List[float]], depth: Dict[str, Any]) -> Dict[str, Any]:
        """Input arrays [rows, longest row], filled up on the right."""
        width = max(len(row["input_ids"]) for row in rows)
        feed = dict(depth)
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            if name in self.inputs:
                kind = np.int32 if self.inputs[name] == "tensor(int32)" else np.int64
                pad = self.preprocessing["pad_id"] if name == "input_ids" else 0
                feed[name] = np.full((len(rows), width), pad, dtype=kind)
                for line, row in enumerate(rows):
                    feed[name][line, : len(row[name])] = row[name]
        if keep is not None:
            feed["keep"] = np.asarray(keep, dtype=np.float32)
        return feed

    def keep(self, keep: Optional[Sequence[float]]) -> Optional[List[float]]:
        """The checked length configuration to feed; None where the graph uses its own."""
        if keep is None:
            needed = "keep" in [node.name for node in self.session.get_inputs()]
            return list(self.dial["default"]) if needed else None
        if self.dial is None or "keep" not in self.inputs:
            raise ValueError("this artifact has no length dial, so 'keep' cannot be given")
        return check_keep(keep, self.dial["layers"])

    def depth(self, value: Optional[float]) -> Dict[str, Any]:
        """The depth dial to feed, by the name of its input; {} where the graph uses its own."""
        if value is None:
            return {}
        if self.exits is None or self.exits["input"] not in self.inputs:
            raise ValueError("this artifact has no depth dial, so 'depth' cannot be given")
        return {self.exits["input"]: np.asarray([check_depth(value, self.exits["method"])], dtype=np.float32)}

    def setting(self, name: str) -> List[float]:
        """A length configuration by name: "full", "default" or a row of the dial table."""
        if self.dial is None:
            raise ValueError("this artifact has no length dial, so it has no settings")
        named = {"full": [1.0] * self.dial["layers"], "default": self.dial["default"]}
        named.update({entry["name"]: entry["keep"] for entry in self.dial["settings"]})
        if name not in named:
            raise ValueError("there is no setting '{}': choose from {}".format(name, ", ".join(named)))
        return list(named[name])

    # --- from outputs to answers

    def answer(self, item: Dict[str, Any], rows: Sequence[Row]) -> Dict[str, Any]:
        """The best span over all windows of the context, with its characters."""
        found = []  # type: List[Tuple[float, int, int]]
        for row in rows:
            owners = row["encoding"].sequence_ids
            if 1 not in owners:
                continue
            first, count = owners.index(1), owners.count(1)
            part = slice(first, first + count)
            spans = best_spans(
                row["outputs"]["start_logits"][part],
                row["outputs"]["end_logits"][part],
                self.decoding["n_best"],
                self.decoding["max_answer_length"],
            )
            offsets = row["encoding"].offsets
            found += [(score, offsets[first + a][0], offsets[first + b][1]) for score, a, b in spans]
        if not found:
            return {"answer": "", "start": 0, "end": 0, "score": 0.0}
        found.sort(key=lambda span: -span[0])
        shares = softmax(np.asarray([span[0] for span in found[: self.decoding["n_best"]]]))
        _, start, end = found[0]
        return {"answer": item["context"][start:end], "start": start, "end": end, "score": float(shares[0])}

    def classify(self, item: Dict[str, Any], rows: Sequence[Row]) -> Dict[str, Any]:
        """The most likely label, or with several labels all from the threshold on; and every label's probability.

        A model that can stop early also says how many layers it ran (blocks_run).
        """
        outputs = rows[0]["outputs"]
        logits = outputs["logits"]
        layers = layers_run(outputs)
        if self.manifest["multi_label"]:
            shares = np.exp(-np.logaddexp(0.0, -logits))
            scores = dict(zip(self.labels, shares.tolist()))
            chosen = [name for name in self.labels if scores[name] >= self.decoding["threshold"]]
            return dict(layers, labels=chosen, scores=scores)
        shares = softmax(logits)
        best = int(logits.argmax())
        scores = dict(zip(self.labels, shares.tolist()))
        return dict(layers, label=self.labels[best], score=float(shares[best]), scores=scores)

    def rate(self, item: Dict[str, Any], rows: Sequence[Row]) -> Dict[str, Any]:
        """The number of a text, in the unit of the data; and the layers run, as `classify` says them."""
        outputs = rows[0]["outputs"]
        return dict(layers_run(outputs), score=float(outputs["logits"][0]))

    def tag(self, item: Dict[str, Any], rows: Sequence[Row]) -> Dict[str, Any]:
        """A tag for every word, and the entities that the tags make."""
        encoding, logits = rows[0]["encoding"], rows[0]["outputs"]["logits"]
        text = " ".join(item["words"]) if "words" in item else item["text"]
        spans = blank_separated(item["words"]) if "words" in item else piece_words(encoding)
        words = []  # type: List[Dict[str, Any]]
        for start, end in spans:
            words.append({"word": text[start:end], "start": start, "end": end, "tag": "O", "score": 1.0})
        taken = set()
        place = 0
        for piece, (start, end) in enumerate(encoding.offsets):
            if start == end:
                continue
            while place < len(spans) and spans[place][1] < end:
                place += 1
            if place < len(spans) and place not in taken:
                taken.add(place)
                shares = softmax(logits[piece])
                best = int(logits[piece].argmax())
                words[place].update(tag=self.labels[best], score=float(shares[best]))
        found = []
        for kind, first, last in entities([word["tag"] for word in words]):
            start, end = words[first]["start"], words[last - 1]["end"]
            score = float(np.mean([word["score"] for word in words[first:last]]))
            found.append({"type": kind, "text": text[start:end], "start": start, "end": end, "score": score})
        return {"entities": found, "words": words}


def layers_run(outputs: Dict[str, Any]) -> Dict[str, int]:
    """The layers that a row needed, as `blocks_run`; {} where the model cannot stop early."""
    return {"blocks_run": int(outputs["blocks_run"])} if "blocks_run" in outputs else {}


def check_keep(keep: Sequence[float], layers: int) -> List[float]:
    """The configuration as floats; `ValueError` where it grows, leaves (0, 1] or has the wrong number of entries."""
    try:
        values = [float(value) for value in keep]
    except (TypeError, ValueError):
        raise ValueError("keep = %r is not a list of numbers" % (keep,)) from None
    if len(values) != layers:
        raise ValueError(
            "keep has %d entries, but the model has %d layers: give one fraction each" % (len(values), layers)
        )
    for layer, value in enumerate(values):
        if not 0 < value <= 1:
            raise ValueError(
                "keep[%d] = %g is not in (0, 1]: it is the fraction of tokens that layer keeps" % (layer, value)
            )
        if layer and value > values[layer - 1]:
            raise ValueError(
                "keep grows from %g to %g at entry %d: a dropped token cannot come back"
                % (values[layer - 1], value, layer)
            )
    return values


def check_depth(value: Any, method: str) -> float:
    """A depth dial's value as a float; raises ValueError for one that its method cannot take."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("depth = %r is not a number" % (value,)) from None
    if not 0 <= number < float("inf"):
        raise ValueError("depth = %g is not a number from 0 on" % number)
    if method == "dact" and number > 1:
        raise ValueError("depth = %g is no margin: give a number from 0 (the promise) to 1 (the first exit)" % number)
    if method == "pabee" and (number < 1 or number != int(number)):
        raise ValueError("depth = %g is no patience: give a whole number of exits, 1 or more" % number)
    return number


def best_spans(start: Any, end: Any, n_best: int, max_length: int) -> List[Tuple[float, int, int]]:
    """Up to `n_best` spans (score, first, last token) of the best starts and ends, the best one first."""
    starts, ends = top(start, n_best), top(end, n_best)
    lengths = ends[None, :] - starts[:, None]
    scores = start[starts][:, None] + end[ends][None, :]
    scores = np.where((lengths >= 0) & (lengths < max_length), scores, -np.inf).reshape(-1)
    order = np.argsort(-scores, kind="stable")[:n_best]
    return [
        (float(scores[place]), int(starts[place // len(ends)]), int(ends[place % len(ends)]))
        for place in order
        if np.isfinite(scores[place])
    ]


def top(logits: Any, count: int) -> Any:
    """Places of the highest logits, in order of place."""
    if len(logits) <= count:
        return np.arange(len(logits))
    return np.sort(np.argpartition(logits, -count)[-count:])


def softmax(logits: Any) -> Any:
    """Probabilities [labels]."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def blank_separated(words: Sequence[str]) -> List[Tuple[int, int]]:
    """Characters of words that are joined by blanks."""
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans


def piece_words(encoding: Any) -> List[Tuple[int, int]]:
    """Characters of the words of a text, as the tokenizer splits it before it makes pieces."""
    spans = {}  # type: Dict[int, Tuple[int, int]]
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets):
        if word is not None and end > start:
            first, last = spans.get(word, (start, end))
            spans[word] = (min(first, start), max(last, end))
    return [spans[word] for word in sorted(spans)]


def split_tag(tag: str) -> Tuple[str, str]:
    """Prefix and type of a tag: B-PER gives B and PER; a tag without a prefix is a type."""
    match = re.match(r"([BIES])-(.*)$", tag)
    if match:
        return match.group(1), match.group(2)
    return ("O", "") if tag == "O" else ("", tag)


def entities(tags: Sequence[str]) -> List[Tuple[str, int, int]]:
    """Type, first word and last word + 1 of every entity (IOB1, IOB2, IOBES; a stray I- begins one too)."""
    found = []
    start, before, kind_before = 0, "O", ""
    for place, tag in enumerate(list(tags) + ["O"]):
        prefix, kind = split_tag(tag)
        if kind != kind_before or prefix in ("B", "S") or before in ("E", "S"):
            if kind_before:
                found.append((kind_before, start, place))
            start = place
        before, kind_before = prefix, kind
    return found


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Answer one request from the command line; 2 for a wrong one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("question", "context", "text", "pair", "keep", "setting", "depth"):
        parser.add_argument("--" + name)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--read", action="store_true")
    given = parser.parse_args(arguments)
    model = Model(Path(__file__).resolve().parent, threads=given.threads)
    needed = ("question", "context") if model.task == "question-answering" else ("text",)
    for name in needed:
        if getattr(given, name) is None:
            parser.error("this artifact is for %s: give --%s" % (model.task, " and --".join(needed)))
    item = {name: getattr(given, name) for name in (*needed, "pair") if getattr(given, name) is not None}
    try:
        keep = given.keep.split(",") if given.keep else None
        if given.setting:
            keep = model.setting(given.setting)
        if given.read:
            found = model.ask(model.read(item.get("context", item.get("pair", ""))), item[needed[0]])
        else:
            found = model([item], keep=keep, depth=given.depth)[0]
        print(json.dumps(found, ensure_ascii=False, indent=2))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
