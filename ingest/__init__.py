"""The ingest API: takes tasks in over HTTP, appends them to the log, and answers from a view of it."""
