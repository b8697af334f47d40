"""Tables of what describes and decides nothing, as blocks of print. A table without data is None."""

from study.report import cells, words
from study.report.accounting import PHASE_TITLES
from study.report.blocks import Column, Table
from study.report.estimates import Estimate
from study.report.model import ReportModel
from study.report.variations import VARIANTS

DASH = "\u2013"
INTERVAL = "95 % interval"


def variations_table(model: ReportModel) -> Table | None:
    """The tuned configuration beside defaults and shifted learning rates."""
    if not model.variations:
        return None
    places = words.decimals([one.loss for one in model.variations])
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            VARIANTS[one.kind],
            *_mean(one.loss, places),
            str(one.num_diverged),
        )
        for one in model.variations
    )
    columns = (
        *who(model),
        Column(title="Configuration"),
        Column(title="Report loss, nats", numeric=True),
        Column(title=INTERVAL, numeric=True),
        Column(title="Diverged", numeric=True),
    )
    return Table(title="Beside the tuned configuration", columns=columns, rows=rows)


def perturbations_table(model: ReportModel) -> Table | None:
    """What the tuned trials lose when they are perturbed."""
    if not model.perturbations:
        return None
    places = words.decimals([one.drop for one in model.perturbations])
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            one.name,
            *_mean(one.loss, places),
            *_mean(one.drop, places),
        )
        for one in model.perturbations
    )
    columns = (
        *who(model),
        Column(title="Perturbation"),
        Column(title="Report loss, nats", numeric=True),
        Column(title=INTERVAL, numeric=True),
        Column(title="More than unperturbed, nats", numeric=True),
        Column(title=INTERVAL, numeric=True),
    )
    return Table(title="Perturbed at inference", columns=columns, rows=rows)


def sensitivities_table(model: ReportModel) -> Table | None:
    """Wortsman's learning-rate sensitivity, which describes and decides nothing."""
    found = model.descriptive.lr_sensitivities
    if not found:
        return None
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            words.number(one.plug_in),
            words.number(one.plug_in_se),
            words.number(one.cross_fit),
            words.number(one.cross_fit_se),
            str(one.num_replicates),
        )
        for one in found
    )
    columns = (
        *who(model),
        Column(title="Plug-in, nats", numeric=True),
        Column(title="Standard error", numeric=True),
        Column(title="Cross-fit, nats", numeric=True),
        Column(title="Standard error", numeric=True),
        Column(title="Replicates", numeric=True),
    )
    note = " ".join(dict.fromkeys(one.note for one in found))
    return Table(title="Learning-rate sensitivity", columns=columns, rows=rows, note=note)


def rope_table(model: ReportModel) -> Table | None:
    """Bayesian readings of the endpoints, with a region of practical equivalence."""
    rows = tuple(
        (
            one.claim,
            f"{one.title}; {one.workload}" if len(model.workloads) > 1 else one.title,
            words.percent(one.a_better, 0),
            words.percent(one.equal, 0),
            words.percent(one.b_better, 0),
            f"{one.rope:.3g} {one.unit}",
            words.number(one.epsilon_min, 2),
        )
        for one in model.descriptive.rope
    )
    columns = (
        Column(title="Claim"),
        Column(title="Endpoint", wide=True),
        Column(title="Claimed better", numeric=True),
        Column(title="Practically equal", numeric=True),
        Column(title="Other better", numeric=True),
        Column(title="Region", numeric=True),
        Column(title="Least epsilon", numeric=True),
    )
    note = (
        "Probability that each answer is the likeliest, by a Bayesian signed-rank test with a region of practical "
        "equivalence (Benavoli et al. 2017). Between equal families one side exceeds 95 % in 8 to 19 % of studies, so "
        "it decides nothing. Least epsilon: almost stochastic order (del Barrio et al. 2018), 0 is dominance."
    )
    return Table(title="Bayesian reading", columns=columns, rows=rows, note=note) if rows else None


def mixed_table(model: ReportModel) -> Table | None:
    """A mixed model of all trials of the space design, as a cross-check."""
    found = model.descriptive.mixed
    rows = tuple(
        (
            f"{one.a} against {one.b}",
            *((one.workload,) if len(model.workloads) > 1 else ()),
            words.number(one.estimate),
            f"[{words.number(one.low)}, {words.number(one.high)}]",
            cells.p_value(one.p),
            f"{one.num_trials:,}",
            "converged" if one.converged else "did not converge",
        )
        for one in found
    )
    columns = (
        Column(title="Families"),
        *((Column(title="Workload"),) if len(model.workloads) > 1 else ()),
        Column(title="Difference, nats", numeric=True),
        Column(title=INTERVAL, numeric=True),
        Column(title="p", numeric=True),
        Column(title="Trials", numeric=True),
        Column(title="Fit"),
    )
    if not rows:
        return None
    note = (
        f"A mixed model of all trials of the space design (Baayen et al. 2008): {found[0].formula}. Loss of the second "
        "family minus the first's; it only has to agree."
    )
    return Table(title="Mixed model", columns=columns, rows=rows, note=note)


def divergences_table(model: ReportModel) -> Table | None:
    """How often each family diverged over its space."""
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            words.percent(one.rate.mean),
            words.percent_interval(one.rate),
            str(round(one.rate.mean * one.rate.num_units)),
            str(one.rate.num_units),
            PHASE_TITLES[one.phase].lower(),
        )
        for one in model.divergence_maps
        if one.rate is not None
    )
    columns = (
        *who(model),
        Column(title="Rate", numeric=True),
        Column(title=f"{INTERVAL}, %", numeric=True),
        Column(title="Diverged", numeric=True),
        Column(title="Trials", numeric=True),
        Column(title="Phase"),
    )
    note = "Wilson's interval, which treats trials as independent; points of one replicate are not quite."
    return Table(title="Divergence over the space", columns=columns, rows=rows, note=note) if rows else None


def audits_table(model: ReportModel) -> Table | None:
    """What the search's first rung would have stopped in the space design."""
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            words.percent(one.false_stop.mean if one.false_stop else None),
            words.percent_interval(one.false_stop),
            str(one.false_stop.num_units if one.false_stop else 0),
            words.number(one.correlation, 2),
            str(len(one.points)),
        )
        for one in model.audits
    )
    columns = (
        *who(model),
        Column(title="False stops", numeric=True),
        Column(title=f"{INTERVAL}, %", numeric=True),
        Column(title="Best trials", numeric=True),
        Column(title="Rank correlation", numeric=True),
        Column(title="Trials", numeric=True),
    )
    note = (
        "On trials of the space design, which nothing stopped: the share of the best ones at full budget that the "
        "search's first rung would have stopped, with Wilson's interval. The search itself cannot show this."
    )
    return Table(title="False stops", columns=columns, rows=rows, note=note) if rows else None


def rungs_table(model: ReportModel) -> Table | None:
    """ASHA's decisions, rung by rung."""
    rows = tuple(
        (
            *whose(model, one.family, one.workload),
            f"{rung.rung:,}",
            str(rung.arrived),
            str(rung.continued),
            str(rung.stopped),
            words.number(rung.last_cutoff),
        )
        for one in model.survival
        for rung in one.rungs
    )
    columns = (
        *who(model),
        Column(title="Rung, steps", numeric=True),
        Column(title="Arrived", numeric=True),
        Column(title="Continued", numeric=True),
        Column(title="Stopped", numeric=True),
        Column(title="Last cutoff, nats", numeric=True),
    )
    return Table(title="Rungs of the search", columns=columns, rows=rows) if rows else None


def _mean(estimate: Estimate | None, places: int) -> tuple[str, str]:
    return words.number(estimate.mean if estimate else None, places), words.interval(estimate, places)


def who(model: ReportModel) -> tuple[Column, ...]:
    """Columns for the family, and for the workload where there are several."""
    several = (Column(title="Workload"),) if len(model.workloads) > 1 else ()
    return (Column(title="Family"), *several)


def whose(model: ReportModel, family: str, workload: str) -> tuple[str, ...]:
    """The cells under `who`."""
    return (family, workload) if len(model.workloads) > 1 else (family,)
