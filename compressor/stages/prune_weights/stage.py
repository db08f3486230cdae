"""The stage `prune_weights`: a model of which most weights are zero.

Magnitude (Gordon et al. 2020): the smallest weights go. Movement (Sanh et al. 2020): those go that training moves
towards zero. Soft movement pays for scores, and lets every weight go whose score falls below a threshold.

In Sanh et al. the threshold decides alone, so that how many weights go comes of the penalty and is known afterwards.
Here `sparsity` is a promise that a gate can rely on: at least as many go, those of the lowest scores, and the threshold
takes more. With a `sparsity` near 0 the threshold decides alone, as there. Two more things differ: the threshold stands
from the beginning (theirs rises with the schedule; scores start at 0.5, far above it), and the gradient of a score
passes the sigmoid (theirs goes straight to the score).

The zeros save space in a checkpoint, not time: ONNX graphs hold dense matrices, which standard hardware multiplies as
fast as any others.
"""

from __future__ import annotations

from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.kinds.sparse import make_sparse, zero_share
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.lesson import lesson
from compressor.stages.distill.student import load_student
from compressor.stages.prune_weights.masked import MaskedWeights, with_weights
from compressor.stages.prune_weights.objective import Pruning
from compressor.stages.prune_weights.settings import PruneWeightsSettings
from compressor.stages.prune_weights.shape import pruned_names, shape, sparse_after
from compressor.training import task_loss, train, updates


def run(source: Checkpoint, settings: PruneWeightsSettings, context: StageContext) -> Checkpoint:
    """Prune while training, and write the checkpoint without its zeros to `context.output`.

    Raises:
        RequestError: A pattern that fits no matrix, or a teacher that the model cannot learn from.
        CheckpointError: The checkpoint cannot be loaded for the task.
        TrainingError: The loss is no longer a number.
    """
    config = checkpoints.read_config(source.path)
    shape(config, checkpoints.read_config(context.teacher.path), settings)
    losses = settings.losses()
    if losses is None:
        model: nn.Module = checkpoints.load(source.path, context.task)
        tokenizer = checkpoints.load_tokenizer(source.path)
        learner, learned = model, task_loss(context.task)
    else:
        model, tokenizer = load_student(source, context)
        learner, learned = lesson(model, losses, context, tokenizer=tokenizer)
    weights = MaskedWeights(with_weights(model, _names(model, config, settings)), settings)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    objective = Pruning(learned, weights, settings, updates(len(features), settings))
    train(learner, features, context.task, settings, objective, context, tokenizer, title="prune_weights")
    weights.choose(settings.sparsity)
    share = zero_share(weights.apply())
    make_sparse(model, sparse_after(checkpoints.structure_of(model), settings))
    checkpoints.save(model, tokenizer, context.output)
    size = sum(file.stat().st_size for file in context.output.glob("*.safetensors")) / 1e6
    context.progress.line(
        f"prune_weights: {100 * share:.1f} % of the pruned matrices' weights are zero; the checkpoint has {size:.1f} "
        "MB, graphs stay dense"
    )
    return Checkpoint(context.output, source.key)


def _names(model: nn.Module, config: dict[str, object], settings: PruneWeightsSettings) -> list[str]:
    family = family_of_model(model)
    words = [f"{family.backbone}.{family.embeddings}.word_embeddings"] if settings.embeddings else []
    return [*pruned_names(config, settings), *words]
