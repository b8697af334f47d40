"""Log lines that nobody can forge: one record is one line, and a traceback's lines are indented below it."""

import logging

from search_spaces.errors import one_line

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
_INDENT = "    "


class OneLineFormatter(logging.Formatter):
    """Escapes whatever a record holds that could begin a line or steer a terminal."""

    def __init__(self) -> None:
        """Write time, logger, level and message."""
        super().__init__(FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and its traceback below, which is not taken from what another formatter made of it."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        below = [] if record.exc_info is None else self.formatException(record.exc_info).splitlines()
        below += (record.stack_info or "").splitlines()
        return "\n".join(
            [one_line(self.formatMessage(record)), *(_INDENT + one_line(line) for line in below)]
        )


def log_to_stderr() -> None:
    """Have every logger of this process write such lines, from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
