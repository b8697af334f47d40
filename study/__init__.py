"""What a study is: its file, plan, record, runner, tracker and report."""
