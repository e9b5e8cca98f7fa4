"""How long-running processes have the garbage collector work."""

import gc


def tame_garbage_collector() -> None:
    """Have it look rarely, and never at what the process is made of; called once everything is up.

    Tasks and requests make no cycles, so nearly all that the collector does by default, up to a third of a busy
    process's time, is to look at what waits again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
