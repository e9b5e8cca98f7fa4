import pytest

from laneway.bench.plan import SECTIONS
from tests.bench.peers.definitions import PEERS, Peer
from tests.bench.peers.services import REQUIREMENTS
from tests.bench.peers.subject import APPS


@pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))
def test_a_peer_is_whole(peer: Peer) -> None:
    assert (APPS / f"{peer.name}_peer.py").exists()
    pins = [line for line in (REQUIREMENTS / f"{peer.name}.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins
    assert all("==" in pin for pin in pins)
    assert set(peer.sections) <= set(SECTIONS)
    assert {variant for variants in peer.sections.values() for variant in variants} == set(peer.variants)
    for variant in peer.variants.values():
        assert len(variant.each) in {0, len(variant.commands)}
