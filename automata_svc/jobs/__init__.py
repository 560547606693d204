"""The use cases: plan, submit, drive, stop, resume. `connect()` gives them to CLI and notebooks."""
