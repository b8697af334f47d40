"""Progress of a report that takes more than a moment."""

from study.report.telling import countdown


def test_time_left_follows_from_the_claims_done_and_is_said_every_two_seconds():
    said: list[str] = []
    times = iter([0.0, 0.1, 1.0, 3.0, 3.5, 8.0])
    tell = countdown(8, said.append, clock=lambda: next(times))
    for number in range(5):
        tell(number)
    assert said == [
        "Judged 2 of 8 claims under other choices too; about 9 s left.",
        "Judged 4 of 8 claims under other choices too; about 8 s left.",
    ]
