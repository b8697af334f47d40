"""MLflow as a view of the ledger: shipped in the background, rebuilt from the record at any time."""

from study.tracking.address import check_tracking, comparison_url, prepare_environment, redact
from study.tracking.shipping import Backlog
from study.tracking.tracker import Tracker

__all__ = ["Backlog", "Tracker", "check_tracking", "comparison_url", "prepare_environment", "redact"]
