"""What MLflow's runs carry, by name: the one place where a name of a metric or a tag is explained.

The names are an interface: people sort, filter and chart by them, and notebooks read them. docs/mlflow.md prints these
tables, and the tests hold both against what is shipped. A name may begin with a place for what varies: `<claim>`.
"""

from collections.abc import Mapping
from types import MappingProxyType

PARENT_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "trials_planned": "trials that are planned",
        "trials_ended": "trials that have ended, in whatever way",
        "trials_<outcome>": "trials by outcome: finished, stopped, diverged, out_of_memory, infra_failed, cancelled",
        "diverged_frac": "diverged trials, as a fraction of those that finished, were stopped or diverged",
        "device_s": "seconds of a device that the ended trials took",
    }
)
"""On studies, families and configurations."""
FAMILY_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "tuned_report_loss_nats": "the tuned configuration's report loss, mean over the confirmation's seeds; a "
        "diverged seed counts with its loss at initialisation",
        "tuned_report_loss_nats_low": "lower end of its 95 % t-interval, from the newest report",
        "tuned_report_loss_nats_high": "upper end of it",
        "tuned_report_accuracy": "report accuracy, mean over the same seeds",
        "tuned_report_accuracy_low": "lower end of its 95 % t-interval, from the newest report",
        "tuned_report_accuracy_high": "upper end of it",
        "tuned_seeds": "seeds that these means are over",
        "space_diverged_frac": "diverged trials of the space's own design, which nothing stops, as a fraction",
        "lr_width_decades": "decades of the learning rate on which the target loss is reached, from the report",
        "lr_width_decades_low": "lower end of its 95 % t-interval over seeds, where a claim asks for the width",
        "lr_width_decades_high": "upper end of it",
        "search_best_select_loss_nats": "lowest select loss of the search: a minimum, therefore too low",
        "search_mean_select_loss_nats": "mean select loss of the search's trials at full budget",
    }
)
"""On families; on the study's run, too, where they make sense over all families."""
CLAIM_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "claim.<claim>.<metric>.estimate": "the estimated difference, in the metric's unit; above its value of no "
        "difference it speaks for the claimed family",
        "claim.<claim>.<metric>.ci_low": "lower end of its interval",
        "claim.<claim>.<metric>.ci_high": "upper end of its interval",
    }
)
"""On the study and on the claimed families."""
CONFIGURATION_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "mean_select_loss_nats": "final select loss, mean over the configuration's seeds",
        "mean_report_loss_nats": "report loss, mean over the seeds; a diverged one counts with its initial loss",
        "mean_report_accuracy": "report accuracy, mean over the seeds",
    }
)
"""On configurations."""
TRIAL_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "report_loss_nats": "loss on the report split at the last step",
        "report_accuracy": "accuracy there",
        "final_select_loss_nats": "loss on the select split at the last step done",
        "final_select_accuracy": "accuracy there",
        "init_loss_nats": "loss on the report split before the first step",
        "total_device_s": "seconds of a device",
        "steps_done": "optimizer steps done",
        "perturbed.<perturbation>.loss": "report loss in nats of a confirmed adapter that is disturbed",
        "perturbed.<perturbation>.accuracy": "report accuracy of it",
    }
)
"""Final figures of trials; their curves over steps (`select_loss_nats`, `train_loss_nats`, …) stand beside them."""
TAGS: Mapping[str, str] = MappingProxyType(
    {
        "kind": "study, family, configuration or trial: which level of the tree a run is",
        "family": "the family, below the study",
        "state": "the study's state, on its own run",
        "verdicts": "every claim on this family, in a line; on the study, of all families",
        "claim.<claim>.verdict": "supported, refuted, equivalent, inconclusive or not evaluable",
        "claim.<claim>.grade": "how strongly, or which way",
        "claim.<claim>.title": "the claim in its author's words",
        "claim.<claim>.compared_with": "the family that the claimed one is compared with",
        "lr_width_target": "which loss `lr_width_decades` asks to be reached",
        "configuration": "digest of family and parameters, the same for every seed; on configurations and trials",
        "phase": "search, sensitivity, lr_slice, factor_slice, confirmation; a configuration may have several",
        "slice": "what a slice varies, or what stands beside a phase's own trials",
        "trial": "the trial's name in the ledger",
        "replicate": "which repeat, the same for all families of a pair",
        "point": "which point of the replicate's design",
        "seed": "what everything random in the trial derives from",
        "attempt": "how often the trial was started",
        "outcome": "how it ended, or running, or interrupted",
        "reason": "why it ended early",
        "adapter": "the trial whose adapter is attached, on families",
    }
)
"""On runs; `mlflow.…` are MLflow's own, `trialwright.…` identify a run."""
