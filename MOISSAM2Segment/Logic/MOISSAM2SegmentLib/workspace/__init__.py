"""One scan being worked on: its session, what each button does, report and saving."""
