"""The scan that is being worked on: its session, the commands on it, report and saving."""
