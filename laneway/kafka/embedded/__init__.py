"""The parts of the embedded broker: its jars, its configuration, and the processes that run and guard it."""
