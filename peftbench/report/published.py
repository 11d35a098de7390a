"""The study's published figures, as far as they are known here. What is not known is absent: nothing is filled in.

Source: Ryu, "task-specific LoRA/DoRA for multitask BERT", Stanford CS224N. Memory: Table 2 (`anatomy.study`,
nvidia-smi's, the CUDA context in it). Energy of an iteration: Table 2's power over its throughput, rounded; the two
themselves are not known here. Scores: of its best row alone, with their leaderboard score. Of Figure 2 the ranks are
known, not the curves.
"""

from __future__ import annotations

from collections.abc import Mapping

from peftbench.analysis.study_groups import BEST, FULL, HEADS, LORA
from peftbench.anatomy.study import CONTEXT_ROW, ROWS

SOURCE = 'Ryu, "task-specific LoRA/DoRA for multitask BERT", Stanford CS224N'
WORKLOAD, ENCODER = "paper", "google-bert/bert-base-uncased"
UNKNOWN = (
    "Of the study's figures these are known here: Table 2's memory, the energy of an iteration of four rows (its power "
    "over its throughput), and the scores of its best row. A dash in its columns is a figure that is not known here; "
    "Figure 2's curves are not."
)
VRAM_MIB: Mapping[str, int] = {HEADS if row.preset == CONTEXT_ROW else row.preset: row.vram_mib for row in ROWS}
J_PER_STEP: Mapping[str, float] = {HEADS: 2.8, FULL: 14.4, LORA: 11.0, BEST: 11.7}
BEST_ROW: Mapping[str, float] = {"sst": 0.524, "paraphrase": 0.892, "sts": 0.862, "leaderboard": 0.782}
