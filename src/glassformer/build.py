"""Build what training runs on from a recipe and its parts: the order of batches, the questions, the engine."""

from glassformer.assemble import Parts, model_for
from glassformer.data.batch import BatchConfig, Shapes
from glassformer.errors import UsageError
from glassformer.objectives import Dataset, Objective
from glassformer.recipe import Recipe
from glassformer.training.engine import Engine
from glassformer.training.evaluation import EvaluationSet, evaluation_batch_config
from glassformer.training.order import TrainingOrder
from glassformer.training.places import Rates, freeze


def fixed_shapes(batch: BatchConfig, max_length: int, asked_share: float) -> Shapes:
    """The shapes that compiled training pads to: four lengths, each with room for what is asked.

    Raises UsageError for a token budget, under which the number of rows has no limit.
    """
    if batch.tokens is not None:
        raise UsageError("a compiled model needs fixed shapes", "use batch.size instead of batch.tokens")
    lengths = tuple(sorted({-(-max_length * quarter // 32) * 8 for quarter in (1, 2, 3, 4)} | {max_length}))
    fitting = tuple(n for n in lengths if n <= max_length)
    return Shapes(batch.size, fitting, asked_share, batch.layout == "packed")


def _shapes(recipe: Recipe, objective: Objective, dataset: Dataset) -> Shapes | None:
    if recipe.training.compile is not True:
        return None
    return fixed_shapes(recipe.batch, objective.row_length, objective.asked_share(dataset, recipe.seed))


def training_order(recipe: Recipe, parts: Parts) -> TrainingOrder:
    """The recipe's sequence of training batches."""
    dataset, objective = parts.train_dataset, parts.objective
    shapes = _shapes(recipe, objective, dataset)
    per_step = recipe.training.devices * recipe.training.accumulate
    return TrainingOrder(dataset, objective, recipe.batch, recipe.seed, per_step, shapes)


def validation_set(recipe: Recipe, parts: Parts) -> EvaluationSet:
    """The recipe's validation units with fixed corruption."""
    dataset, objective = parts.validation_dataset, parts.objective.for_evaluation()
    shapes = _shapes(recipe, objective, dataset)
    return EvaluationSet(dataset, objective, _batch(recipe, objective), recipe.training.evaluate_units, shapes)


def _batch(recipe: Recipe, objective: Objective) -> BatchConfig:
    """What questions are laid into; a compiled model knows the shapes of its training batches only."""
    compiled = recipe.training.compile is True
    return recipe.batch if compiled else evaluation_batch_config(recipe.batch, objective.row_length)


def training_set(recipe: Recipe, parts: Parts) -> EvaluationSet | None:
    """Some training units with fixed corruption, asked just as the validation units are: what has been learned by
    heart is the difference."""
    limit = recipe.training.evaluate_training_units
    if limit == 0:
        return None
    objective = parts.objective.for_evaluation()
    dataset = objective.dataset(parts.train)
    shapes = _shapes(recipe, objective, parts.validation_dataset)  # the same as there, so that nothing recompiles
    return EvaluationSet(dataset, objective, _batch(recipe, objective), limit, shapes)


def all_evaluation_sets(recipe: Recipe, parts: Parts) -> list[EvaluationSet]:
    """Everything that one evaluation asks."""
    learned = training_set(recipe, parts)
    return [validation_set(recipe, parts), *([] if learned is None else [learned])]


def engine_for(recipe: Recipe, objective: Objective) -> Engine:
    """A fresh model with its optimisers on the recipe's device; the optimisers hold nothing that is frozen."""
    training = recipe.training
    model = model_for(recipe, objective)
    if recipe.init_from is not None:
        freeze(model, recipe.init_from.freeze, "init_from.freeze")
    freeze(model, training.freeze)
    return Engine(
        model,
        objective,
        recipe.optimizer,
        device=training.device,
        precision=training.precision,
        compiled=training.compile is True,
        clip=training.clip,
        rates=Rates(training.layer_decay, training.head_learning_rate),
    )
