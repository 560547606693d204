"""The use cases: plan, submit, drive, watch, stop, resume. `connect()` gives them to the CLI and to notebooks."""
