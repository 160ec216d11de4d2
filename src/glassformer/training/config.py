"""What a recipe chooses of its training; beside trainer.py and optimisers.py, which need torch."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from glassformer.config import Config

Auto = Literal["auto"]


class InitFrom(Config):
    """Weights to begin with, instead of random ones. In a recipe a path alone says `run`."""

    run: str = Field(description="a run directory of ours, or a Hugging Face folder")
    tokenizer: Literal["keep", "own"] = Field(
        "keep", description="keep: the tokenizer that is there; own: the recipe's, and embeddings are matched by token"
    )
    take: tuple[str, ...] = Field(("*",), description="patterns of the tensors that are taken, such as encoder.*")
    freeze: tuple[str, ...] = Field((), description="an older name of training.freeze: both are frozen")

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, given: Any) -> Any:
        return {"run": given} if isinstance(given, str) else given


class OptimizerConfig(Config):
    """How gradients become updates."""

    name: Literal["adamw", "muon"] = Field("adamw", description="muon: Muon for hidden matrices, AdamW for the rest")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's peak learning rate")
    muon_learning_rate: float = Field(0.02, gt=0, description="Muon's peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled decay; never on norms and biases")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW: memory of the mean gradient")
    beta2: float = Field(0.98, ge=0, lt=1, description="AdamW: memory of the squared gradient")
    epsilon: float = Field(1e-8, gt=0, description="AdamW: keeps the division finite")


class TrainingConfig(Config):
    """How long, how often, on what. `auto` is decided by a short measured probe or by the data, and recorded."""

    steps: int | None = Field(None, ge=1, description="optimiser steps; or give epochs or minutes")
    epochs: float | None = Field(None, gt=0, description="passes over the training units")
    minutes: float | None = Field(
        None, gt=0, description="wall-clock budget of the whole command, turned into steps by a short probe"
    )
    max_epochs: float | None = Field(
        None, gt=0, description="with minutes: no more passes than these, though there be time; a small text needs few"
    )
    accumulate: int = Field(1, ge=1, description="micro-batches in a step, of each process")
    devices: int = Field(
        1,
        ge=1,
        description="processes that train together on this machine's CPU; a step then has devices * accumulate "
        "micro-batches, and is that of one process with so many",
    )
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; none: never clipped")
    best: str = Field(
        "auto",
        description="what decides on the validation texts which weights are better: loss, or a metric of the objective "
        "(a file in metrics), such as accuracy; of a mixture NAME/accuracy. auto: of labels their metric, else loss",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after so many evaluations without a better loss (or other training.best), where each asks at "
        "least 100 questions",
    )
    evaluate_every: int | None = Field(None, ge=1, description="steps between evaluations; none: at most 20 in all")
    evaluate_units: int | None = Field(
        None,
        ge=1,
        description="validation units asked, a fixed draw; none: all. Of few units every word is asked in turn",
    )
    evaluate_training_units: int = Field(
        500, ge=0, description="training units asked likewise, so that what is learned by heart shows; 0: none"
    )
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints; none: as evaluations")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept; older ones are removed")
    log_every: int | None = Field(
        None, ge=1, description="steps between lines in metrics.jsonl; none: at most 200 in all"
    )
    weights: Literal["best", "last"] = Field(
        "best",
        description="the weights the run answers with: those of the best evaluation (see training.best), or the "
        "newest; where an evaluation asks too little to tell (under 100 questions), always the newest",
    )
    samples: int = Field(6, ge=0, description="fixed validation texts whose guesses are logged at each evaluation")
    probes: tuple[str, ...] = Field(
        (),
        description="texts that are asked again and again while the model learns; with how every component changes "
        "they become the film of a run (glassformer look film). A pair: source, tab, target",
    )
    probe_every: int | None = Field(None, ge=1, description="steps between probes; none: at every evaluation")
    freeze: tuple[str, ...] = Field(
        (),
        description="what training does not change: embeddings; blocks:2, the first two blocks of each stack; or "
        "patterns of parameters such as encoder.blocks.0.*",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="what the learning rates are multiplied by from each layer to the one below it: heads and the last "
        "norm have them whole, the last block once, the embeddings most often; for fine-tuning, about 0.8",
    )
    head_learning_rate: float | None = Field(
        None, gt=0, description="AdamW's peak learning rate in the heads; none: optimizer.learning_rate"
    )
    nonfinite: Literal["skip", "stop"] = Field("skip", description="what a loss or gradient that is NaN does")
    device: Auto | Literal["cpu", "cuda", "mps"] = Field("auto", description="where to train")
    precision: Auto | Literal["32-true", "bf16-mixed", "bf16-true"] = Field("auto", description="number format")
    compile: Auto | bool = Field("auto", description="compile the model (long runs only, when it was seen to pay)")
    threads: Auto | Annotated[int, Field(ge=1)] = Field("auto", description="CPU threads")
    tensorboard: bool = Field(False, description="write TensorBoard files too (needs the extra `tensorboard`)")

    @field_validator("probes", "freeze", mode="before")
    @classmethod
    def _one_text_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
