"""The rows of the table: which graph, at which setting of its depth dial."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.graph.dial import NEVER

LAYERS = 6
TAUS = (3e-2, 1e-1)
PAPER, PAPER_TAU = "dact-paper", 1e-2
FEW, FEW_TAU, FEW_EXITS = "dact-few", 3e-2, [2, 4]
MARGINS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
ENTROPIES = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0, 9.0)
LABEL_ENTROPIES = (0.01, 0.03, 0.05, 0.08, 0.1, 0.13, 0.2, 9.0)
"""The mean of many labels' entropies is smaller."""
PATIENCES = (1.0, 2.0, 3.0, 4.0)


SHAPES = ((1, 12), (1, 32), (1, 64), (1, 128), (16, 12), (16, 32))
"""Batches, rows x tokens, at which a run of all layers is held against the plain graph."""


@dataclass(frozen=True)
class Row:
    """One line: `graph` is the key of its file, `setting` what its dial is given; None: it has none."""

    method: str
    graph: str
    label: str
    setting: float | None = None

    @property
    def runs_all(self) -> bool:
        """Whether its dial is set so that every layer runs."""
        return any(self.method.startswith(method) and self.setting == never for method, never in NEVER.items())

    @property
    def name(self) -> str:
        """Key in the result files."""
        return self.graph if self.setting is None else f"{self.graph}@{self.setting:g}"


def dact_graph(tau: float) -> str:
    """Key of the model that was trained at this price of a layer."""
    return f"dact-{tau:g}"


def rows(several: bool) -> list[Row]:
    """All rows for data with one label a text, or `several`."""
    listed = [Row("plain", "teacher", f"all {LAYERS} layers, no exits")]
    listed += [Row("plain", f"plain-{count}", f"{count} layers, no exits") for count in range(1, LAYERS)]
    for method, key, name in [
        *(("dact", dact_graph(tau), f"DACT, tau {tau:g}") for tau in TAUS),
        ("dact_few", FEW, f"DACT, exits behind layers 2 and 4, tau {FEW_TAU:g}"),
        ("dact_paper", PAPER, f"DACT as in the paper, tau {PAPER_TAU:g}"),
    ]:
        listed.append(Row(method, key, f"{name}, all layers", NEVER["dact"]))
        listed += [Row(method, key, f"{name}, margin {margin:g}", margin) for margin in MARGINS]
    listed.append(Row("deebert", "deebert", "DeeBERT, all layers", NEVER["deebert"]))
    for entropy in LABEL_ENTROPIES if several else ENTROPIES:
        listed.append(Row("deebert", "deebert", f"DeeBERT, entropy below {entropy:g}", entropy))
    listed.append(Row("pabee", "pabee", "PABEE, all layers", NEVER["pabee"]))
    listed += [Row("pabee", "pabee", f"PABEE, patience {patience:g}", patience) for patience in PATIENCES]
    return listed
