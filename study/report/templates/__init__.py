"""Page templates of the report, read by `study.report.html`."""
