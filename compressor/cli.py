"""The command line: `python -m compressor recipe=... device=...`, and the verbs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from compressor import __version__
from compressor.arguments import sort_arguments
from compressor.errors import CompressorError, RequestError
from compressor.quiet import quieten

HELP = """\
Turn a fine-tuned BERT-like teacher into a small, fast, checked ONNX artifact for a named device.

  python -m compressor recipe=NAME device=NAME [data=NAME] [teacher.path=DIR] [task=NAME] [KEY=VALUE ...]

Other verbs:
  list [recipes|stages|passes|devices|data]   what there is to choose from
  describe DEVICE                             a device's profile: what it decides, why, and whether this is one
  describe STAGE | PASS | RECIPE              its settings: types, defaults, what they mean
  plan KEY=VALUE ...                          what a run would do, what is cached, expected MACs and size
  advise task=NAME device=NAME LIMITS ...     which recipe fits; LIMITS: min_metric=, max_latency_ms=, max_memory_mb=,
                                              max_size_mb=; advise.train=false for prices alone
  report DIR [DIR ...] [output=FILE]          one page of all runs under some folders, with runs.json and runs.csv
  verify DIR                                  check an artifact: hashes, graph, that it runs
  validate DIR [device=NAME] [output=FOLDER]  measure an artifact anew, on this machine; keep the figures
  validate DIR [device=NAME] device.host=USER@BOARD   the same on the board itself, by ssh
  validate DIR device=NAME device.emulate=true   and compare its answers with those of emulated 64-bit Arm cores
  emulator install | show | remove            what emulation needs, in the user's cache  [onnxruntime=VERSION]
  cache list                                  what is kept between runs  [output=DIR]
  cache clean --max-gb N | --all              remove what was not used for longest, down to N gigabytes; or everything

Settings are KEY=VALUE (Hydra's grammar) and reach into the recipe:
  recipe.stages.length_adaptive.epochs=1      change a setting
  ~recipe.stages.distill                      take a stage out
  recipe.stages.more.stage=finetune recipe.stages.more.after=distill   put one in
  data=files data.train=FILE data.dev=FILE    your own data (SQuAD JSON, CSV, TSV, JSONL, CoNLL, plain or .gz)
  gates.max_metric_drop=0.5 gates.max_size_mb=20   limits that the artifact must meet; null switches one off
  seed=42 output=exports overwrite=true export_each_stage=false

Options:
  --config-dir DIR   your own recipes, devices and data: DIR/recipe/NAME.yaml, DIR/device/NAME.yaml, DIR/data/NAME.yaml
  -m, --multirun     run every combination of values given as KEY=A,B; what is there already is not run again
  --launcher NAME    with -m: hand the runs to one of Hydra's launchers (joblib, submitit_slurm ...)
  --shard I/N        with -m: only this machine's share of the runs
  --debug            show the whole traceback of an error
  -h, --help         this text
  --version

Exit codes: 0 written, 1 something failed, 2 the request is wrong, 3 a gate refused, 4 a device could not be measured.
"""


def entry() -> None:
    """Run the command line of this process and end it with the right exit code."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code. Errors of the user are one line on standard error."""
    from compressor import console

    debug = "--debug" in argv
    try:
        if not argv or "-h" in argv or "--help" in argv:
            print(HELP, end="")
            return 0 if argv else RequestError.exit_code
        if "--version" in argv:
            print(f"compressor {__version__}")
            return 0
        return _run(argv)
    except CompressorError as problem:
        if debug:
            traceback.print_exc()
        console.error(str(problem))
        return problem.exit_code
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        console.error("interrupted; the same command goes on from what is done, inside a training from its last save.")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as problem:  # a bug of ours: the traceback is what a report of it needs
        traceback.print_exc()
        console.error(f"{type(problem).__name__}: {problem} (this is a bug; please report it with the lines above)")
        return 1


def _run(argv: Sequence[str]) -> int:
    from compressor.verbs import VERBS

    arguments = sort_arguments(argv, VERBS)
    quieten()
    return VERBS[arguments.verb](arguments)
