"""The command of `planted_command`, whose driver gives idle packs back, looks around, and asks again within seconds."""

import sys

from study.cli import main
from tests.end_to_end.planted_command import LateActor

if __name__ == "__main__":
    sys.modules["study.packs.actor"] = LateActor("study.packs.actor")
    from study.packs import desk, sizing

    sizing.LOOK_EVERY_S, desk.IDLE_S, desk.PAUSE_S = 0.5, 2.0, 2.0
    main()
