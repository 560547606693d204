"""What a job's log says to people: cost, savings, evidence, reasons, tables. Pure and light."""
