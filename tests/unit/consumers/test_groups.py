import struct

from consumers.groups import Place, assigned_topics


def _assignment(*topics: tuple[str, list[int]]) -> bytes:
    parts = [struct.pack(">hi", 1, len(topics))]
    for name, partitions in topics:
        parts.append(struct.pack(">h", len(name)) + name.encode())
        parts.append(struct.pack(f">i{len(partitions)}i", len(partitions), *partitions))
    return b"".join([*parts, struct.pack(">i", -1)])


def test_topics_of_an_assignment() -> None:
    assert assigned_topics(_assignment(("results.a", [0, 3]), ("results.a.b", [1]))) == {"results.a", "results.a.b"}
    assert assigned_topics(_assignment()) == set()
    assert assigned_topics(b"") == set()


def test_lag_leaves_out_what_retention_removed() -> None:
    assert Place(0, None, 5, 12, in_sink=False).lag == 7
    assert Place(0, 2, 5, 12, in_sink=False).lag == 7
    assert Place(0, 10, 5, 12, in_sink=False).lag == 2
    assert Place(0, 20, 5, 12, in_sink=False).lag == 0
