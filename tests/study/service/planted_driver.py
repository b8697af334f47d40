"""A driver that trains nothing: it claims the study that it was sent and writes trials as fast as it is told.

PLANTED_TRIALS and PLANTED_PAUSE_S say how many and how fast; PLANTED_FAILS has it refuse the study as a driver does.
"""

import os
import sys
import time
from itertools import count

from study.bundle import unpack_bundle
from study.home import home_at
from study.ledger import Ledger, StudyState
from tests.study.samples import finished, measured, planned

OWNER = f"planted-{os.getpid()}"


def main() -> int:
    if os.environ.get("PLANTED_FAILS"):
        sys.stderr.write("Getting ready.\ntrialwright: The part is not there: fetch it.\n")
        return 2
    with Ledger.open(home_at(None).ledger_url) as ledger:
        return drive(ledger, _study())


def _study() -> str:
    if sys.argv[1] == "resume":
        return sys.argv[2]
    return unpack_bundle(os.environ["TRIALWRIGHT_BUNDLE"]).name


def drive(ledger: Ledger, study: str) -> int:
    number, pause_s = int(os.environ["PLANTED_TRIALS"]), float(os.environ.get("PLANTED_PAUSE_S", "0"))
    ledger.claim_study(study, OWNER)
    ledger.set_study_state(study, StudyState.RUNNING)
    trials = [planned("rsgd", point) for point in range(number)]
    ledger.plan_trials(study, trials)
    known = {record.planned.key: record.ending for record in ledger.trials(study)}
    try:
        for beat, trial in zip(count(), trials, strict=False):
            if known[trial.key] is not None:
                continue
            ledger.start_attempt(study, trial.key)
            for step in (0, 20, 40):
                ledger.record_measurement(study, measured(trial.key, step))
                time.sleep(pause_s)
            if ledger.study(study).state is StudyState.STOPPED:
                return 130
            ledger.end_trial(study, trial.key, finished())
            if beat % 10 == 0:
                ledger.heartbeat(study, OWNER)
        ledger.set_study_state(study, StudyState.FINISHED)
        return 0
    finally:
        ledger.release_study(study, OWNER)


if __name__ == "__main__":
    sys.exit(main())
