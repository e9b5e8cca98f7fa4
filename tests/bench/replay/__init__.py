"""Replays at size, with a broker and an API and no worker: how fast they append, and how fast shadows are compared."""
