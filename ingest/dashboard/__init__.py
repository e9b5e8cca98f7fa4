"""The operator's window: pages at ``/``, rendered on the server from the log and the view."""
