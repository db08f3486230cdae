"""The study's grid on the machine at hand: `python benchmarks/embedded all --encoder DIR --data DIR` writes its page.

`predict` calibrates the cost model and holds it against unseen shapes, `study` measures the study's own models under
each profile's threads and memory, `repeat` measures the same files again and again: all three need a quiet machine
and no training. `teacher` fine-tunes, `prices` measures the grid, `grid` trains all of it, `advice` asks the advisor,
`table` writes the page. Each result is skipped where it is there; `--work` keeps everything between calls, and a killed
part goes on. `--sets` and `--runs` choose data sets, and folds of the one without a split; `--grid` changes the grid.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what benchmarks share

from bench import Bench
from sets import SETS
from shapes import GRIDS, predict, repeat, study
from table import write_page
from training import advice, grid, prices

HERE = Path(__file__).parent


def teacher(bench: Bench) -> None:
    """The encoder with a head, fine-tuned."""
    bench.fine_tuned()


UNTRAINED: dict[str, Callable[[Bench], None]] = {"predict": predict, "study": study, "repeat": repeat}
"""Parts that know no data but for the length of texts; they are done once, with the first data set."""
TRAINED: dict[str, Callable[[Bench], None]] = {"teacher": teacher, "prices": prices, "grid": grid, "advice": advice}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*UNTRAINED, *TRAINED, "table", "all"])
    parser.add_argument("--encoder", required=True, help="checkpoint of a pre-trained encoder of six layers")
    parser.add_argument("--data", required=True, help="folder with goemotions, huric_2.1_en, wnut17 and uner_en_ewt")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--runs", nargs="+", help="<seed>-<fold> of huric (default: three seeds, three folds)")
    parser.add_argument("--work", default=".work/embedded")
    parser.add_argument("--device", default="host", help="profile that prices and advice are for")
    parser.add_argument("--profiles", nargs="+", help="of `study` (default: the eight boards)")
    parser.add_argument("--grids", nargs="+", choices=list(GRIDS), default=list(GRIDS), help="of `predict`")
    parser.add_argument("--held-out", type=int, default=24, help="shapes that `predict` is held against")
    parser.add_argument("--times", type=int, default=10, help="of `repeat`")
    parser.add_argument("--epochs", type=float, default=None, help="of the teachers (default: by data set)")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring")
    parser.add_argument("--grid", nargs="*", default=[], help="further words for the advisor, such as advise.eta=2")
    parsed = parser.parse_args()
    asked = [*UNTRAINED, *TRAINED] if "all" in parsed.parts else parsed.parts
    for part in (part for part in asked if part in UNTRAINED):
        UNTRAINED[part](Bench("goemotions", "whole", parsed))
    for set_name in parsed.sets:
        runs = SETS[set_name].runs
        for run in [run for run in runs if not parsed.runs or len(runs) == 1 or run in parsed.runs]:
            bench = Bench(set_name, run, parsed)
            for part in (part for part in asked if part in TRAINED):
                TRAINED[part](bench)
    if {"table", "all"} & set(parsed.parts):
        write_page(Path(parsed.work).resolve(), HERE.parent / "embedded.md", vars(parsed), HERE / "remarks.md")
