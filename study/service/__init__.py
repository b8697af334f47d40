"""The service: an HTTP API and pages over a ledger, to plan, start, watch and read studies."""
