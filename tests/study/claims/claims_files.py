"""Claims files for the tests: the shortest one, the specification's own example, and ways to change them."""

from pathlib import Path

from study.claims import ClaimsFile, load_claims

SHA = "0123456789abcdef" * 4

MINIMAL = """\
claims_version: 1
design:
  sensitivity: {replicates: 10, points: 16}
  confirmation: {seeds_max: 30}
claims:
  - id: C1
    title: grsgd beats rsgd
    compare: {a: grsgd, b: rsgd}
    metric: tuned_loss
    direction: less
    sesoi: 0.1
    plan: {sd: 0.1}
"""

EXAMPLE = f"""\
claims_version: 1
study: moe-lora-riemannian
registered: {{at: 2026-11-22T16:00:00Z, commit: 9a1bfcb, sha256: {SHA}}}
families:                       # id -> search space id (versioned, hashed)
  adamw:        {{space: adamw@1,  defaults: {{lr: 3e-4}}}}
  gradamw:     {{space: gradamw@1, inclusion_of: adamw, reduces_when: {{gate_exponent: 1, precondition: false}}}}
workloads: [tiny-moe-lm, moe-cls]
design:
  pilot:        {{seeds: 5}}
  search:       {{scheduler: asha, per_family: true, trials: 64, rf: 3, grace: 0.11, budget: equal_device_seconds, audit_epsilon: 0.1}}
  sensitivity:  {{replicates: 10, points: 16, sampler: sobol_owen, stop: none, lr_slice: {{step_decades: 0.25, window: full_basin, offset: per_seed}}, factor_slices: [experts, top_k, rank]}}
  confirmation: {{seeds_max: 30, looks: [10, 20, 30], spending: obf, extra_seeds: e_process}}
outcome: {{report: test/loss, select: val/loss, cap: init_loss, direction: min, diverged: {{nan: true, loss_ge: init_loss, for_evals: 3}}, infra_failure: retry_same_seed}}
alpha: 0.05
correction: {{primary: holm, secondary: bh}}
claims:
  - id: C1
    title: gradamw tolerates a wider learning-rate range than adamw
    role: primary
    compare: {{a: gradamw, b: adamw}}
    all_of:                                     # intersection-union: every part must hold
      - {{metric: lr_width, tau: {{ref: adamw.confirmed, within: 0.05}}, direction: greater, margin: 0.0, sesoi: 0.25, unit: decades}}
      - {{metric: tuned_loss, direction: noninferior, margin: 0.02, unit: relative}}
    equivalence: {{lr_width: 0.25}}
    workloads: each                             # each | any | aggregate(iqm)
    plan: {{power: 0.8, n_unit: replicate}}
  - id: C2
    title: robust to expert count
    all_of: [{{metric: factor_sd, factor: experts, direction: less, margin: 0.0, sesoi: 0.01}}, {{metric: tuned_loss, direction: noninferior, margin: 0.02}}]
  - {{id: C3, title: diverges less often over its space, metric: divergence_rate, direction: less, sesoi: 0.10}}
  - {{id: C4, title: less seed variance, metric: seed_abs_dev, direction: less, sesoi: 0.2, unit: relative}}
  - {{id: C5, title: cheaper to tune, metric: tuning_curve, k: 4, direction: greater, sesoi: 0.02, role: secondary}}
exploratory: allowed_but_labelled
"""  # noqa: E501 -- as the specification has it


def write(folder: Path, text: str) -> Path:
    path = folder / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> ClaimsFile:
    return load_claims(write(folder, text))


def changed(old: str, new: str, text: str = MINIMAL) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)
