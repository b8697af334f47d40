"""A study, its report carried elsewhere, and the study run again from that report alone.

The rerun begins on a cluster of two nodes, is interrupted there, and ends on this machine.
"""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import SpecError
from study.home import open_home
from study.progress import TerminalView
from study.records import Ending
from study.reproduction.record import FILE_NAME, read_record
from study.reproduction.reproducing import Reproduction, Wanted, reproduce
from tests.end_to_end.command import (
    STUDY,
    STUDY_FILE,
    Ended,
    Started,
    ledger_of,
    make_place,
    num_ended,
    run,
    wait_until,
)
from tests.end_to_end.nodes import two_nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SHORT = re.sub(r"  sensitivity: .*\n", "", STUDY_FILE).replace("trials: 6", "trials: 3")
SHORT = SHORT.replace("dtype: float32}", "dtype: float32, matmul_tolerance: 0}")
SHORT = SHORT.replace("packs: 1, lanes: 2", "packs: 1, lanes: 2, gpus_per_pack: 0")
"""Ten trials, of which some diverge and some are stopped."""


@dataclass
class Story:
    """A study, and what `reproduce` said of its report."""

    place: Path
    report: Path
    """The report, in a folder that knows nothing of the study's home."""
    again: Path
    """Home of the rerun."""
    before: bytes
    """The study's ledger before anything was reproduced."""
    ends: dict[str, Ended] = field(default_factory=dict)
    ended_on_the_cluster: dict[str, Ending] = field(default_factory=dict)
    """Trials of the rerun, and how they ended before it was interrupted."""

    def reproduce(self, name: str, *arguments: str) -> Ended:
        self.ends[name] = run(self.place, *self._command(*arguments))
        return self.ends[name]

    def interrupt_on_a_cluster(self, name: str, *arguments: str) -> None:
        """Reproduce on two nodes until two trials have ended, and interrupt it then."""
        with two_nodes() as nodes:
            command = self._command(*arguments, "--address", nodes.address)
            started = Started(self.place, *command, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
            try:
                wait_until(lambda: num_ended(self.again) >= 2, started)
                started.interrupt()
                self.ends[name] = started.wait()
            finally:
                started.clean_up()
        self.ended_on_the_cluster = self.endings()

    def endings(self) -> dict[str, Ending]:
        """Of the rerun, by trial."""
        with ledger_of(self.again) as ledger:
            trials = ledger.trials(STUDY)
        return {one.planned.key: one.ending for one in trials if one.ending is not None}

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return ("reproduce", *arguments, "--home", str(self.place / "elsewhere"), "--json")

    def here(self, **wanted: Any) -> Reproduction:
        """The same in this process, which has loaded everything already."""
        home = open_home(self.place / "elsewhere")
        view = TerminalView(quiet=True)
        return reproduce(read_record(self.report), home, Wanted(**wanted), view=view, tell=lambda *_: None)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = make_place(tmp_path_factory.mktemp("place"))
    (place / "study.yaml").write_text(SHORT)
    launched = run(place, "launch", "study.yaml", "--home", "home")
    assert launched.code == 0, launched.err
    report = place / "carried"
    shutil.copytree(place / "home" / "studies" / STUDY / "report", report)
    before = (place / "home" / "ledger.db").read_bytes()
    story = Story(place=place, report=report, again=place / "again", before=before)
    whole = (str(report), "--into", str(story.again))
    story.interrupt_on_a_cluster("interrupted", *whole)
    story.reproduce("whole", *whole)
    return story


def test_every_figure_is_the_same_to_the_bit(story):
    ended = story.ends["whole"]
    assert ended.code == 0, ended.out + ended.err
    document = json.loads(ended.out)
    found = document["comparison"]
    assert (document["verdict"], document["promise"]["exact"]) == ("reproduced", True)
    assert found["trials"] == len(read_record(story.report).trials)
    assert (found["within"], found["differ"], found["missing_then"], found["missing_now"]) == (0, 0, 0, 0)
    assert found["equal"] > 10 * found["trials"]
    assert {"select_loss_nats", "train_loss_nats", "ending.value"} <= found["metrics"].keys()


def test_an_interrupted_rerun_says_so_and_goes_on_where_it_was(story):
    interrupted = story.ends["interrupted"]
    assert interrupted.code == 130, interrupted.err
    document = json.loads(interrupted.out)
    assert (document["verdict"], document["comparison"]) == ("interrupted", None)
    assert document["reason"]
    assert "Traceback" not in interrupted.err
    before, after = story.ended_on_the_cluster, story.endings()
    assert 2 <= len(before) < len(after)
    assert {key: after[key] for key in before} == before


def test_the_rerun_is_a_study_of_its_own(story):
    assert (story.place / "home" / "ledger.db").read_bytes() == story.before
    with ledger_of(story.again) as ledger, ledger_of(story.place / "home") as original:
        assert ledger.study(STUDY).uid != original.study(STUDY).uid
        ours, theirs = ([t.planned for t in one.trials(STUDY)] for one in (ledger, original))
    assert ours == theirs


def test_a_measurement_that_was_changed_is_named(story):
    record = json.loads((story.report / FILE_NAME).read_text())
    changed = next(trial for trial in record["trials"] if trial["key"] == "confirmation/sgd/r01")
    place = changed["measured_steps"].index(4)
    changed["measurements"]["select_loss_nats"][place] *= 1 + 1e-9
    folder = story.place / "changed"
    folder.mkdir()
    (folder / FILE_NAME).write_text(json.dumps(record))
    ended = story.reproduce("changed", str(folder), "--into", str(story.again))
    found = json.loads(ended.out)["comparison"]
    assert ended.code == 1
    assert found["differ"] == 1
    worst = found["largest"]
    assert (worst["trial"], worst["step"], worst["metric"]) == ("confirmation/sgd/r01", 4, "select_loss_nats")
    assert worst["relative"] == pytest.approx(1e-9, rel=1e-3)


def test_a_sample_compares_its_trials_alone_and_runs_none_that_was_run(story):
    before = (story.again / "ray").stat().st_mtime_ns
    result = story.here(num_trials=3, into=story.again)
    assert (result.verdict, result.promise.exact) == ("reproduced", True)
    assert result.comparison is not None
    assert result.sample is not None
    assert result.comparison.trials == len(result.sample) == 3
    assert {key.split("/")[0] for key in result.sample} == {"search", "confirmation"}
    assert (story.again / "ray").stat().st_mtime_ns == before


def test_other_data_are_refused_before_anything_is_started(story):
    rows = (story.place / "rows.jsonl").read_text()
    (story.place / "other.jsonl").write_text(rows.replace("Item 7 ", "Item seven "))
    with pytest.raises(
        SpecError,
        match=r"The data of study 'tiny' is not the same here \([0-9a-f]{12}… then, [0-9a-f]{12}… now\): ",
    ):
        story.here(data=story.place / "other.jsonl", into=story.place / "none")
    assert not (story.place / "none" / "ledger.db").exists()


def test_the_home_of_the_study_itself_is_never_taken_for_the_rerun(story):
    with pytest.raises(SpecError, match="is the home of the study itself, which is not touched"):
        story.here(into=story.place / "home")
    assert (story.place / "home" / "ledger.db").read_bytes() == story.before


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("carried/none", r"The folder 'carried/none' holds no readable record.json \(No such file .*\): .*"),
        ("tinny", r"No study was ever launched in the home .*|Unknown study 'tinny'.*"),
    ],
)
def test_what_is_no_record_is_one_sentence(story, source, sentence):
    ended = story.reproduce("mistake", source)
    assert ended.code == 2
    assert re.fullmatch(rf"trialwright: (?:{sentence})\n", ended.err)
