"""What is shown beside the verdicts and never decides one."""
