"""The status view: the compacted ``status`` topic in an SQLite file, written by one process and read by many."""
